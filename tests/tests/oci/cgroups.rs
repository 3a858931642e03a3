//! Limits hold, and the container sees its own cgroups only.

use serde_json::json;
use tests::command::eventually;

use crate::bundle::Bundle;

/// Whether this host has cgroup v2 alone.
fn unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn limits_are_what_the_container_reads_of_itself() {
    let script = if unified() {
        "cd /sys/fs/cgroup; cat memory.max memory.swap.max pids.max cpu.weight cpu.max"
    } else {
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us"
    };
    let Some(bundle) = Bundle::sh(script) else { return };
    let said = bundle
        .with(
            "/linux/resources",
            json!({
                "memory": {"limit": 33_554_432, "swap": 33_554_432},
                "pids": {"limit": 20},
                "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
            }),
        )
        .run()
        .ok();
    let lines: Vec<&str> = said.lines().collect();
    if unified() {
        assert_eq!(lines, ["33554432", "0", "20", "20", "50000 100000"]);
    } else {
        assert_eq!(lines, ["33554432", "20", "512", "50000"]);
    }
}

#[test]
fn too_many_processes_cannot_be_made() {
    let Some(bundle) = Bundle::sh("for i in 1 2 3 4 5 6 7 8; do sleep 9 & done; echo all") else {
        return;
    };
    let ran = bundle.with("/linux/resources", json!({"pids": {"limit": 4}})).run();
    assert!(ran.err.contains("can't fork"), "{ran}");
}

#[test]
fn memory_beyond_the_limit_is_not_to_be_had() {
    let Some(bundle) = Bundle::sh("head -c 100m /dev/zero > /dev/shm/big; echo lived") else {
        return;
    };
    let ran = bundle
        .with("/linux/resources", json!({"memory": {"limit": 20_971_520, "swap": 20_971_520}}))
        .mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}))
        .run();
    assert!(!ran.out.contains("lived") || ran.err.contains("Killed"), "{ran}");
}

#[test]
fn devices_that_no_rule_allows_cannot_be_opened() {
    let Some(bundle) = Bundle::sh("cat /dev/kmsg-x; head -c 0 /dev/null && echo null") else {
        return;
    };
    let bundle = bundle
        .with(
            "/linux/devices",
            json!([{"path": "/dev/kmsg-x", "type": "c", "major": 1, "minor": 11}]),
        )
        .with("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let ran = bundle.run();
    assert!(ran.err.contains("Operation not permitted"), "{ran}");
    assert_eq!(ran.out.trim(), "null");
}

#[test]
fn a_path_in_the_hierarchy_is_taken_and_removed() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let parent = format!("parent-of-{}", bundle.id);
    let path = format!("/{parent}/{}", bundle.id);
    let bundle = bundle.with("/linux/cgroupsPath", json!(path));
    bundle.start();
    let pid = bundle.state()["pid"].to_string();
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("alive");
    assert!(own.lines().any(|line| line.ends_with(&path)), "{own}");
    bundle.exec(&["sleep", "0"]).ok();
    bundle.runtime(&["delete", "-f", &bundle.id]).ok();
    eventually("no cgroup is left", || bundle.left().is_empty());
    // What is above is other containers' too; here it is known to be nobody's.
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("mounted").flatten();
    let roots = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
    let removed = roots.filter(|root| std::fs::remove_dir(root.join(&parent)).is_ok()).count();
    assert!(removed > 0, "its parent was nowhere");
}

#[test]
fn with_a_namespace_the_container_is_at_the_root_of_its_cgroups() {
    let Some(bundle) = Bundle::sh("cat /proc/self/cgroup") else { return };
    let said = bundle.run().ok();
    assert!(said.lines().all(|line| line.ends_with(":/")), "{said}");
}
