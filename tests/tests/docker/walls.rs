//! What `inspect` tells of a wall is what the host's kernel tells of it.

use std::fs;

use spec::Isolation;
use tests::Host;

use super::{detached, field};

/// A line of `/proc/PID/status`.
fn status(pid: &str, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{key} in {text}")).trim().to_owned()
}

pub(crate) fn inspect_tells_what_a_wall_is_made_of(host: &mut Host) {
    let shared = detached(host, Isolation::Process, &["--name=shared"], &["sleep", "1000"]);
    let all = host.engine.inspect(&shared);
    let facts = &all["Hull"]["Isolation"];
    assert_eq!(
        (facts["Backend"].as_str(), &facts["WorkerPid"]),
        (Some("namespaces"), &serde_json::Value::Null)
    );
    assert_eq!(facts["HardwareIsolation"], false);

    let own = detached(host, Isolation::Vm, &["--name=own"], &["sleep", "1000"]);
    let all = host.engine.inspect(&own);
    let facts = &all["Hull"]["Isolation"];
    let backend = facts["Accelerator"].as_str().expect("an accelerator");
    assert_eq!(facts["Backend"], format!("qemu-{backend}"));
    assert_eq!(facts["HardwareIsolation"], backend == "kvm", "{facts}");
    let release = host.docker(&["exec", &own, "uname", "-r"]).ok();
    assert_eq!(facts["Kernel"], release.as_str());
    assert_eq!(facts["Template"], true);

    let worker = facts["WorkerPid"].to_string();
    assert_eq!(field(host, &own, "{{.State.Pid}}"), worker);
    let walls: Vec<&str> = facts["Walls"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|wall| wall.as_str())
        .collect();
    assert_eq!(walls[..5], ["user", "capabilities", "namespaces", "pivot_root", "seccomp"]);
    // Each of them as the kernel has it.
    let owners = status(&worker, "Uid");
    assert!(owners.split_whitespace().all(|uid| uid != "0"), "{owners}");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(status(&worker, set).trim_start_matches('0'), "", "{set}");
    }
    assert_eq!(status(&worker, "NoNewPrivs"), "1");
    assert_eq!(status(&worker, "Seccomp"), "2");
    for name in ["mnt", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a link");
        assert_ne!(of(&worker), of("self"), "{name}");
    }
    let kernel_has = sys::landlock::version().expect("it answers").is_some();
    assert_eq!(walls.contains(&"landlock"), kernel_has, "{walls:?}");
    for secret in ["etc/shadow", "root", "home", "run"] {
        let path = format!("/proc/{worker}/root/{secret}");
        assert!(!fs::exists(&path).unwrap_or(false), "{path}");
    }
    host.docker(&["rm", "-f", &shared, &own]).ok();
}

/// What [`SECURITY.md`](../../../SECURITY.md) says of it, as the kernel has it. Landlock shows nowhere: its own tests
/// are beside the code.
pub(crate) fn the_server_of_a_guests_files_is_shut_in(host: &mut Host) {
    /// To give files away, get past their modes, set those, keep set-group-id bits and capabilities of files.
    const OVER_FILES: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 31;
    let dir = host.dir().join("shut-in");
    fs::create_dir_all(&dir).expect("a directory");
    let [own, read] = ["/own", "/read:ro"].map(|at| format!("-v={}:{at}", dir.display()));
    let id = detached(host, Isolation::Vm, &[&own, &read], &["sleep", "1000"]);
    let servers = host.engine.processes("hull-share");
    let [server] = servers[..] else { panic!("one server: {servers:?}") };
    let server = server.to_string();
    let owners = status(&server, "Uid");
    assert!(owners.split_whitespace().all(|uid| uid != "0"), "{owners}");
    let set = |name| u64::from_str_radix(&status(&server, name), 16).expect("a set");
    assert_eq!([set("CapEff"), set("CapPrm")], [OVER_FILES; 2]);
    assert_eq!([set("CapInh"), set("CapAmb"), set("CapBnd")], [0; 3]);
    assert_eq!([status(&server, "NoNewPrivs"), status(&server, "Seccomp")], ["1", "2"]);
    assert_eq!(status(&server, "Groups"), "");
    for name in ["mnt", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a link");
        assert_ne!(of(&server), of("self"), "{name}");
    }
    let root = fs::read_dir(format!("/proc/{server}/root")).expect("a directory").flatten();
    let mut root: Vec<_> = root.map(|entry| entry.file_name()).collect();
    root.sort();
    assert_eq!(root, ["0", "1"]);
    let mounts = fs::read_to_string(format!("/proc/{server}/mountinfo")).expect("a table");
    assert_eq!(mounts.lines().count(), 3, "its root and what is shared: {mounts}");
    host.docker(&["rm", "-f", &id]).ok();
}
