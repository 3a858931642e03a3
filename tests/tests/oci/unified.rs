//! What only cgroup v2 has. On a host without it the cases pass; `guest.rs` runs them on one.

use std::path::{Path, PathBuf};

use serde_json::json;
use tests::command::eventually;

use crate::bundle::Bundle;

const MOUNT: &str = "/sys/fs/cgroup";

/// A bundle whose program is `sh -c SCRIPT`; `None` where there is cgroup v1.
fn bundle(script: &str) -> Option<Bundle> {
    if !Path::new(MOUNT).join("cgroup.controllers").exists() {
        println!("skipped: no cgroup v2");
        return None;
    }
    Bundle::sh(script)
}

/// The cgroup of the container's init.
fn directory(bundle: &Bundle) -> PathBuf {
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.state()["pid"]));
    let own = own.expect("alive");
    let path = own.trim().strip_prefix("0::/").expect("one line");
    Path::new(MOUNT).join(path)
}

fn value(bundle: &Bundle, file: &str) -> String {
    let path = directory(bundle).join(file);
    let text = std::fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

#[test]
fn memory_plus_swap_becomes_swap_alone() {
    for (memory, max, swap, low) in [
        (json!({"limit": 33_554_432, "swap": 50_331_648}), "33554432", "16777216", "0"),
        (json!({"limit": 33_554_432, "swap": 33_554_432}), "33554432", "0", "0"),
        (json!({"limit": 33_554_432, "swap": -1}), "33554432", "max", "0"),
        (json!({"limit": -1}), "max", "max", "0"),
        (json!({"reservation": 16_777_216}), "max", "max", "16777216"),
    ] {
        let Some(bundle) = bundle("sleep 100") else { return };
        let bundle = bundle.with("/linux/resources", json!({"memory": memory}));
        bundle.start();
        assert_eq!(value(&bundle, "memory.max"), max);
        assert_eq!(value(&bundle, "memory.swap.max"), swap);
        assert_eq!(value(&bundle, "memory.low"), low);
    }
}

#[test]
fn files_of_unified_are_written_as_they_are() {
    let Some(first) = bundle("sleep 100") else { return };
    let first = first.with(
        "/linux/resources/unified",
        json!({
            "memory.high": "50331648", "memory.min": "8192", "cpu.weight": "42", "pids.max": "17",
            "cpu.max": "20000 100000",
        }),
    );
    first.start();
    for (file, want) in [
        ("memory.high", "50331648"),
        ("memory.min", "8192"),
        ("cpu.weight", "42"),
        ("pids.max", "17"),
        ("cpu.max", "20000 100000"),
    ] {
        assert_eq!(value(&first, file), want, "{file}");
    }
    for (key, want) in [
        ("../memory.max", "no slashes"),
        ("memory", "CONTROLLER.PARAMETER"),
        ("nosuch.max", "nosuch.max"),
        ("memory.nosuch", "memory.nosuch"),
    ] {
        let second =
            bundle("true").expect("v2").with("/linux/resources/unified", json!({key: "1"}));
        let ran = second.run();
        assert_ne!(ran.code, 0, "{key}");
        assert!(ran.err.contains("linux.resources.unified") && ran.err.contains(want), "{ran}");
    }
}

#[test]
fn what_v2_lacks_is_refused_by_name() {
    for (resources, field) in [
        (json!({"memory": {"swappiness": 10}}), "memory.swappiness"),
        (json!({"memory": {"disableOOMKiller": true}}), "memory.disableOOMKiller"),
        (json!({"memory": {"kernel": 1_048_576}}), "memory.kernel"),
        (json!({"cpu": {"realtimeRuntime": 1000}}), "cpu.realtimeRuntime"),
        (json!({"network": {"classID": 7}}), "network.classID"),
    ] {
        let Some(bundle) = bundle("true") else { return };
        let ran = bundle.with("/linux/resources", resources).run();
        assert_ne!(ran.code, 0, "{field}");
        assert!(ran.err.contains(field), "{ran}");
    }
}

#[test]
fn block_devices_are_weighed_and_throttled() {
    let Some(bundle) = bundle("sleep 100") else { return };
    let Ok(device) = std::fs::read_to_string("/sys/block/vda/dev") else {
        println!("skipped: no vda");
        return;
    };
    let device = device.trim();
    let numbers: Vec<i64> = device.split(':').map(|n| n.parse().expect("a number")).collect();
    let one = |rate| json!([{"major": numbers[0], "minor": numbers[1], "rate": rate}]);
    let bundle = bundle.with(
        "/linux/resources/blockIO",
        json!({"weight": 200, "throttleReadBpsDevice": one(1_048_576), "throttleWriteIOPSDevice": one(100)}),
    );
    bundle.start();
    assert_eq!(
        value(&bundle, "io.max"),
        format!("{device} rbps=1048576 wbps=max riops=max wiops=100")
    );
    let weight = directory(&bundle).join("io.bfq.weight");
    let (file, want) =
        if weight.exists() { ("io.bfq.weight", "200") } else { ("io.weight", "default 1919") };
    assert!(value(&bundle, file).ends_with(want), "{}", value(&bundle, file));
    let change = json!({"blockIO": {"throttleReadBpsDevice": one(0)}}).to_string();
    tests::command::run(bundle.command(&["update", "-r", "-", &bundle.id]), change.as_bytes()).ok();
    assert_eq!(value(&bundle, "io.max"), format!("{device} rbps=max wbps=max riops=max wiops=100"));
}

#[test]
fn huge_pages_are_limited() {
    let Some(bundle) = bundle("sleep 100") else { return };
    let bundle = bundle
        .with("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}]));
    bundle.start();
    assert_eq!(value(&bundle, "hugetlb.2MB.max"), "4194304");
    assert_eq!(value(&bundle, "hugetlb.2MB.rsvd.max"), "4194304");
}

#[test]
fn an_idle_container_has_no_weight() {
    let Some(bundle) = bundle("sleep 100") else { return };
    let bundle = bundle.with("/linux/resources/cpu", json!({"shares": 512, "idle": 1}));
    bundle.start();
    assert_eq!(value(&bundle, "cpu.idle"), "1");
    bundle.runtime(&["update", "--cpu-idle", "0", "--cpu-share", "512", &bundle.id]).ok();
    assert_eq!(
        (value(&bundle, "cpu.idle").as_str(), value(&bundle, "cpu.weight").as_str()),
        ("0", "59")
    );
}

#[test]
fn a_limit_below_what_is_used_is_rejected_when_asked_to_check() {
    let Some(bundle) = bundle("head -c 20m /dev/zero > /dev/shm/big; sleep 100") else { return };
    let bundle = bundle
        .with("/linux/resources/memory", json!({"limit": 67_108_864}))
        .mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}));
    bundle.start();
    let used = || value(&bundle, "memory.current").parse::<u64>().expect("a number");
    eventually("it uses memory", || used() > 20_000_000);
    let change = r#"{"memory": {"limit": 1048576, "checkBeforeUpdate": true}}"#;
    let ran =
        tests::command::run(bundle.command(&["update", "-r", "-", &bundle.id]), change.as_bytes());
    assert!(ran.err.contains("rejecting memory limit 1048576 <= usage"), "{ran}");
    assert_eq!(bundle.status(), "running");
}

#[test]
fn a_frozen_container_is_frozen_by_its_cgroup() {
    let Some(bundle) = bundle("while :; do :; done") else { return };
    bundle.start();
    bundle.runtime(&["pause", &bundle.id]).ok();
    assert_eq!(value(&bundle, "cgroup.freeze"), "1");
    assert!(value(&bundle, "cgroup.events").contains("frozen 1"));
    bundle.runtime(&["update", "--pids-limit", "9", &bundle.id]).ok();
    assert_eq!((value(&bundle, "pids.max").as_str(), bundle.status().as_str()), ("9", "paused"));
    bundle.runtime(&["resume", &bundle.id]).ok();
    assert_eq!(value(&bundle, "cgroup.freeze"), "0");
    bundle.runtime(&["pause", &bundle.id]).ok();
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn pressure_is_told() {
    let Some(bundle) = bundle("while :; do :; done") else { return };
    let bundle = bundle.with("/linux/resources/cpu", json!({"quota": 10_000, "period": 100_000}));
    bundle.start();
    let event = || {
        let said = bundle.runtime(&["events", "--stats", &bundle.id]).ok();
        serde_json::from_str::<serde_json::Value>(&said).expect("json")
    };
    if !directory(&bundle).join("cpu.pressure").exists() {
        println!("skipped: no pressure files");
        return;
    }
    eventually("it waits for its quota", || {
        event()["data"]["cpu"]["psi"]["some"]["total"].as_u64() > Some(0)
    });
    let data = &event()["data"];
    for part in ["cpu", "memory", "blkio"] {
        assert!(data[part]["psi"]["full"]["avg10"].is_number(), "{part}: {data}");
    }
    assert!(data["cpu"]["throttling"]["periods"].as_u64() > Some(0), "{data}");
    assert!(data["hugetlb"]["2MB"].is_object(), "{data}");
}

#[test]
fn cgroups_made_inside_go_with_the_container() {
    let script = "mkdir -p /sys/fs/cgroup/a/b && echo 0 > /sys/fs/cgroup/a/b/cgroup.procs && \
                  cat /proc/self/cgroup > /tmp/where; sleep 100";
    let Some(bundle) = bundle(script) else { return };
    let mut bundle = bundle;
    for mount in bundle.config["mounts"].as_array_mut().expect("a list") {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime"]);
        }
    }
    bundle.start();
    let said = bundle.rootfs().join("tmp/where");
    eventually("it has moved", || {
        std::fs::read_to_string(&said).is_ok_and(|text| text == "0::/a/b\n")
    });
    let own = bundle.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(own.trim(), "0::/a/b", "an exec follows the init");
    let pids = bundle.runtime(&["ps", "--format", "json", &bundle.id]).ok();
    assert!(pids.contains(&bundle.state()["pid"].to_string()), "{pids}");
    bundle.runtime(&["kill", "--all", &bundle.id, "KILL"]).ok();
    eventually("it has stopped", || bundle.status() == "stopped");
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn beneath_a_cgroup_with_processes_only_threads_can_be() {
    let Some(above) = bundle("sleep 100") else { return };
    let path = format!("/{}", above.id);
    let above = above.with("/linux/cgroupsPath", json!(path));
    above.start();
    let beneath = |resources| {
        bundle("true")
            .expect("v2")
            .with("/linux/cgroupsPath", json!(format!("{path}/beneath")))
            .with("/linux/resources", resources)
            .run()
    };
    let ran = beneath(json!({"memory": {"limit": 33_554_432}}));
    assert!(ran.err.contains("with domain controllers"), "{ran}");
    assert!(!Path::new(MOUNT).join(&path[1..]).join("beneath").exists(), "it is left");
}
