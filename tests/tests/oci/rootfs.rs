//! Mounts, devices, namespaces, hidden and read-only paths.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;

#[test]
fn every_namespace_of_the_configuration_is_new_and_no_other() {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user", "time"];
    let script = kinds.map(|kind| format!("readlink /proc/self/ns/{kind}")).join(";");
    let Some(bundle) = Bundle::sh(&script) else { return };
    let said = bundle.run().ok();
    for (kind, inside) in kinds.iter().zip(said.lines()) {
        let here = fs::read_link(format!("/proc/self/ns/{kind}")).expect("proc");
        let shared = here.to_str() == Some(inside);
        assert_eq!(shared, ["user", "time"].contains(kind), "{kind}");
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(first) = Bundle::sh("sleep 100") else { return };
    first.start();
    let pid = first.state()["pid"].to_string();
    let Some(second) = Bundle::sh(
        "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; hostname; ps > /tmp/ps; wc -l < /tmp/ps",
    ) else {
        return;
    };
    let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
    let second = second.with(
        "/linux/namespaces",
        json!([
            {"type": "mount"},
            {"type": "network", "path": path("net")},
            {"type": "ipc", "path": path("ipc")},
            {"type": "uts", "path": path("uts")},
            {"type": "pid", "path": path("pid")},
        ]),
    );
    let second = second.with("/hostname", json!(""));
    let said = second.run().ok();
    let lines: Vec<&str> = said.lines().collect();
    let link = |kind: &str| fs::read_link(path(kind)).expect("alive").display().to_string();
    assert_eq!(lines[..3], [link("net").as_str(), &link("ipc"), "hull"]);
    // ps's head, the other container's program, this shell and ps.
    assert_eq!(lines[3], "4", "{said}");
}

#[test]
fn norelatime_is_the_kernels_default_as_under_runc() {
    let Some(bundle) = Bundle::sh("grep ' /m ' /proc/self/mountinfo") else { return };
    let options = ["noatime", "norelatime"];
    let mount = json!({"destination": "/m", "type": "tmpfs", "source": "m", "options": options});
    let said = bundle.mount(mount).run().ok();
    assert!(said.contains("relatime"), "{said}");
}

#[test]
pub(crate) fn the_default_devices_and_links_are_there() {
    let script = "cd /dev; for f in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' $f; done; \
                  for f in fd stdin stdout stderr ptmx; do readlink $f; done; echo x > null";
    let Some(bundle) = Bundle::sh(script) else { return };
    let said = bundle.run().ok();
    for want in [
        "null character special file 1:3 666",
        "tty character special file 5:0 666",
        "/proc/self/fd/2",
        "pts/ptmx",
    ] {
        assert!(said.lines().any(|line| line == want), "{want} in {said}");
    }
}

#[test]
fn devices_of_the_configuration_are_made() {
    let Some(bundle) = Bundle::sh("stat -c '%F %t:%T %a %u' /dev/a/fuse /dev/fifo") else { return };
    let said = bundle.with("/linux/devices", json!([
        {"path": "/dev/a/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o600},
    ])).run().ok();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["character special file a:e5 640 5", "fifo 0:0 600 0"]
    );
}

#[test]
pub(crate) fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    let Some(bundle) = Bundle::sh("touch /x; touch /dev/shm/x && echo shm") else { return };
    let ran = bundle.with("/root/readonly", json!(true)).run();
    assert!(ran.err.contains("Read-only file system"), "{ran}");
    assert_eq!(ran.out.trim(), "shm");
}

#[test]
pub(crate) fn bind_mounts_of_directories_and_files_with_options() {
    let Some(bundle) = Bundle::sh(
        "cat /made/for/it/file /one; touch /made/for/it/x; grep -E ' (/made/for/it|/one) ' /proc/self/mounts",
    ) else {
        return;
    };
    let source = bundle.path().join("source");
    fs::create_dir(&source).expect("made");
    fs::write(source.join("file"), "content\n").expect("written");
    let bundle = bundle
        .mount(json!({"destination": "/made/for/it", "type": "bind", "source": source,
                      "options": ["rbind", "ro", "nosuid", "nodev", "rprivate"]}))
        .mount(
            json!({"destination": "/one", "source": "source/file", "options": ["bind", "noexec"]}),
        );
    let ran = bundle.run();
    assert_eq!(ran.out.matches("content").count(), 2, "{ran}");
    assert!(ran.err.contains("Read-only file system"), "{ran}");
    let line = ran.out.lines().find(|line| line.contains("/made/for/it")).expect("mounted");
    assert!(line.contains("ro,nosuid,nodev"), "{line}");
    assert!(ran.out.contains("noexec"), "{ran}");
    assert!(bundle.rootfs().join("made/for/it").is_dir());
}

#[test]
pub(crate) fn masked_paths_are_empty_and_readonly_paths_cannot_be_written() {
    let script = "cat /tmp/secret; ls /hidden; echo x > /tmp/secret && echo wrote; touch /fixed/x; \
                  mount | grep -c secret";
    let Some(bundle) = Bundle::sh(script) else { return };
    fs::create_dir_all(bundle.rootfs().join("hidden/inner")).expect("made");
    fs::create_dir_all(bundle.rootfs().join("fixed")).expect("made");
    fs::write(bundle.rootfs().join("tmp/secret"), "secret").expect("written");
    let bundle = bundle
        .with("/linux/maskedPaths", json!(["/tmp/secret", "/hidden", "/no/such/path"]))
        .with("/linux/readonlyPaths", json!(["/fixed", "/no/such/path"]));
    let ran = bundle.run();
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), ["wrote", "1"], "{ran}");
    assert!(ran.err.contains("Read-only file system"), "{ran}");
    let untouched = fs::read_to_string(bundle.rootfs().join("tmp/secret")).expect("there");
    assert_eq!(untouched, "secret");
}

#[test]
fn kernel_parameters_of_own_namespaces_are_set() {
    let Some(bundle) =
        Bundle::sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced; hostname")
    else {
        return;
    };
    let parameters = json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"});
    let said =
        bundle.with("/linux/sysctl", parameters).with("/hostname", json!("web-1")).run().ok();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["1", "1", "web-1"]);
}

#[test]
pub(crate) fn nothing_of_the_hosts_mounts_is_seen() {
    let Some(bundle) = Bundle::sh("cat /proc/self/mountinfo") else { return };
    let said = bundle.run().ok();
    for line in said.lines() {
        let target = line.split(' ').nth(4).unwrap_or("");
        let known = ["/", "/proc", "/dev", "/sys"];
        let within = ["/proc/", "/dev/", "/sys/"];
        let fine = known.contains(&target) || within.iter().any(|start| target.starts_with(start));
        assert!(fine, "{line}");
    }
}
