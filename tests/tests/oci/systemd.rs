//! `--systemd-cgroup`: cgroups by way of systemd. Where none runs the cases see it refused; `guest.rs`
//! runs them where one does.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tests::command::{eventually, run};

use crate::bundle::Bundle;

/// A bundle with a path for systemd; `None` without root.
fn bundle(script: &str) -> Option<Bundle> {
    let bundle = Bundle::sh(script)?;
    let path = format!("hull-test.slice:unit:{}", bundle.id);
    Some(bundle.with("/linux/cgroupsPath", json!(path)))
}

fn is_running() -> bool {
    let running = Path::new("/run/systemd/system").is_dir();
    if !running {
        println!("skipped: no systemd");
    }
    running
}

/// A property of the container's scope.
fn property(bundle: &Bundle, name: &str) -> String {
    let unit = format!("unit-{}.scope", bundle.id);
    let mut command = Command::new("systemctl");
    command.args(["show", "--value", "-p", name, &unit]);
    run(command, b"").ok().trim().to_owned()
}

/// Creates and starts it.
fn start(bundle: &Bundle) {
    let mut create = bundle.command(&["--systemd-cgroup", "create", &bundle.id]);
    let status = create.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("starts");
    assert!(status.success(), "create: {status}");
    bundle.runtime(&["start", &bundle.id]).ok();
}

#[test]
fn without_systemd_there_is_one_clear_error() {
    let Some(bundle) = bundle("true") else { return };
    if Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let ran = bundle.runtime(&["--systemd-cgroup", "run", &bundle.id]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.err.contains("systemd not running on this host"), "{ran}");
    assert_eq!(ran.err.lines().count(), 1, "{ran}");
}

#[test]
fn a_container_is_a_scope_whose_properties_are_its_limits() {
    if !is_running() {
        return;
    }
    let Some(bundle) = bundle("sleep 100") else { return };
    let bundle = bundle
        .with("/annotations", json!({"org.systemd.property.TimeoutStopUSec": "uint64 123000000"}))
        .with(
            "/linux/resources",
            json!({
                "memory": {"limit": 33_554_432, "swap": 50_331_648, "reservation": 16_777_216},
                "cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0"},
                "pids": {"limit": 20},
                "unified": {"memory.high": "25165824"},
            }),
        );
    start(&bundle);
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.state()["pid"]));
    let directory = format!("/hull.slice/hull-test.slice/unit-{}.scope", bundle.id);
    assert_eq!(own.expect("alive").trim(), format!("0::{directory}"));
    let file = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{directory}/{name}"));
        text.unwrap_or_else(|error| panic!("{name}: {error}")).trim().to_owned()
    };
    for (name, want, of_file, want_of_file) in [
        ("MemoryMax", "33554432", "memory.max", "33554432"),
        ("MemorySwapMax", "16777216", "memory.swap.max", "16777216"),
        ("MemoryLow", "16777216", "memory.low", "16777216"),
        ("MemoryHigh", "25165824", "memory.high", "25165824"),
        ("CPUWeight", "59", "cpu.weight", "59"),
        ("CPUQuotaPerSecUSec", "400ms", "cpu.max", "20000 50000"),
        ("AllowedCPUs", "0", "cpuset.cpus", "0"),
        ("TasksMax", "20", "pids.max", "20"),
    ] {
        assert_eq!(property(&bundle, name), want, "{name}");
        assert_eq!(file(of_file), want_of_file, "{of_file}");
    }
    assert_eq!(property(&bundle, "Delegate"), "yes");
    assert_eq!(property(&bundle, "DevicePolicy"), "strict");
    assert_eq!(property(&bundle, "TimeoutStopUSec"), "2min 3s");
    bundle.exec(&["sh", "-c", "echo > /dev/null"]).ok();

    bundle.runtime(&["update", "--memory", "48M", "--memory-swap", "48M", &bundle.id]).ok();
    bundle.runtime(&["update", "--pids-limit", "30", "--cpu-share", "1024", &bundle.id]).ok();
    for (name, want) in [("MemoryMax", "50331648"), ("TasksMax", "30"), ("CPUWeight", "100")] {
        assert_eq!(property(&bundle, name), want, "{name}");
    }
    // systemd writes what it knows once more.
    let mut reload = Command::new("systemctl");
    reload.arg("daemon-reload");
    run(reload, b"").ok();
    for (name, want) in [
        ("memory.max", "50331648"),
        ("memory.swap.max", "0"),
        ("pids.max", "30"),
        ("cpu.weight", "100"),
    ] {
        assert_eq!(file(name), want, "{name}");
    }
    bundle.exec(&["sh", "-c", "echo > /dev/null"]).ok();

    bundle.runtime(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.runtime(&["resume", &bundle.id]).ok();
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert!(!Path::new("/sys/fs/cgroup").join(&directory[1..]).exists(), "its cgroup is left");
    assert_eq!(property(&bundle, "LoadState"), "not-found");
}

#[test]
fn a_name_is_used_again_and_a_wrong_path_is_refused() {
    if !is_running() {
        return;
    }
    let Some(bundle) = bundle("true") else { return };
    for _ in 0..2 {
        bundle.runtime(&["--systemd-cgroup", "run", &bundle.id]).ok();
        eventually("the scope is gone", || property(&bundle, "LoadState") == "not-found");
    }
    for path in ["/a/b", "a--b.slice:x:y"] {
        let bad = Bundle::sh("true").expect("root").with("/linux/cgroupsPath", json!(path));
        let ran = bad.runtime(&["--systemd-cgroup", "run", &bad.id]);
        assert!(ran.err.contains("linux.cgroupsPath"), "{ran}");
    }
}
