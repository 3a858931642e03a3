//! What the host's own rules know a container's packets by.

use std::fs;
use std::path::PathBuf;

use tests::Host;
use tests::command::{Ran, eventually, run};
use tests::host::{Engine, IMAGE};
use tests::programs::program;

/// Has both hierarchies seen, which many hosts have no use for.
const HIERARCHIES: &str = "mount -t tmpfs tmpfs /mnt; for one in net_cls net_prio; do \
    mkdir /mnt/$one; mount -t cgroup -o $one $one /mnt/$one; done";

fn hull(engine: &Engine, words: &[&str]) -> Ran {
    run(engine.other_client(&program("hull").to_string_lossy(), words), b"")
}

pub(crate) fn what_a_container_sends_is_known_by_its_marks(host: &mut Host) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    if !mounts.contains("net_cls") {
        let place = "--network=name=bridge,driver-opt=classid=10:1";
        let said = host.docker(&["run", "--isolation=process", place, IMAGE]).fails(125);
        assert!(said.contains("cgroup controller net_cls is not mounted on this host"), "{said}");
    }
    let engine = host.another_engine_among_mounts(HIERARCHIES);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    let marks = ["--network=host", "--network-opt=classid=0x10:1", "--network-opt=priority=lo:3"];
    let words = ["run", "-d", "--isolation=process", "--name=box"];
    let ping = "ping -c 3 -i 0.2 127.0.0.1; exec sleep 1000";
    let count = "add table inet marked; \
        add chain inet marked out { type filter hook output priority 0; }; \
        add rule inet marked out ip daddr 127.0.0.1 meta cgroup 0x100001 counter";
    engine.on_host("nft", &[count]).ok();
    hull(&engine, &[&words[..], &marks, &[IMAGE, "sh", "-c", ping]].concat()).ok();
    let options = "{{.NetworkSettings.Networks.host.DriverOpts}}";
    let told = engine.docker(&["inspect", "-f", options, "box"]).ok();
    assert_eq!(told, "map[classid:10:1 priority:lo:3]");
    assert_eq!(written(&engine, "net_cls", "net_cls.classid"), "1048577");
    let priorities = written(&engine, "net_prio", "net_prio.ifpriomap");
    assert!(priorities.lines().any(|line| line == "lo 3"), "{priorities}");
    eventually("its packets are known", || {
        let rules = engine.on_host("nft", &["list", "table", "inet", "marked"]).ok();
        rules.contains("counter packets") && !rules.contains("counter packets 0 ")
    });
    engine.on_host("nft", &["delete", "table", "inet", "marked"]).ok();
    engine.docker(&["rm", "-f", "box"]).ok();

    // On a bridge it has a class, and no priority on what is the host's.
    let words = ["run", "--rm", "--isolation=process"];
    let said =
        hull(&engine, &[&words[..], &["--network-opt=priority=lo:3", IMAGE]].concat()).fails(125);
    assert!(said.contains("is forwarded and has lost its priority"), "{said}");
    hull(&engine, &[&words[..], &["--network-opt=classid=10:1", IMAGE, "true"]].concat()).ok();
    for hierarchy in ["net_cls", "net_prio"] {
        let own = seen(&engine).join(hierarchy).join("hull");
        fs::remove_dir(&own).unwrap_or_else(|error| panic!("{}: {error}", own.display()));
    }
}

pub(crate) fn a_guest_has_no_marks(host: &mut Host) {
    let place = "--network=name=bridge,driver-opt=classid=10:1";
    let said = host.docker(&["run", "--isolation=hyperv", place, IMAGE]).fails(125);
    assert!(said.contains("the guest of a VM does not have"), "{said}");
    let connect = ["network", "connect", "--driver-opt=classid=1:1", "bridge", "box"];
    host.docker(&["create", "--isolation=hyperv", "--network=none", "--name=box", IMAGE]).ok();
    let said = host.docker(&connect).fails(1);
    assert!(said.contains("classid and priority are for create and run"), "{said}");
    host.docker(&["rm", "box"]).ok();
}

/// The hierarchies as the engine sees them.
fn seen(engine: &Engine) -> PathBuf {
    format!("/proc/{}/root/mnt", engine.pid()).into()
}

fn written(engine: &Engine, hierarchy: &str, file: &str) -> String {
    let id = engine.docker(&["inspect", "-f", "{{.Id}}", "box"]).ok();
    let path = seen(engine).join(hierarchy).join("hull").join(id).join(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}
