//! What a container uses, and limits that change while it runs.

use serde_json::Value;
use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field, run};

pub(crate) fn stats_tell_what_a_container_uses(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["-m", "64m"], &["sh", "-c", "while :; do :; done"]);
    let format = "{{json .}}";
    let line = host.docker(&["stats", "--no-stream", "--format", format, &id]).ok();
    let seen: Value = serde_json::from_str(&line).expect("JSON");
    let text = |name: &str| seen[name].as_str().unwrap_or_default();
    let number = |name: &str| text(name).trim_end_matches('%').parse::<f64>().unwrap_or(0.0);
    assert!(number("CPUPerc") > 1.0, "{seen}");
    assert!(text("MemUsage").ends_with("/ 64MiB"), "{seen}");
    assert!(number("MemPerc") > 0.0, "{seen}");
    assert_eq!(text("PIDs"), "1", "{seen}");
    assert_ne!(text("NetIO"), "0B / 0B", "{seen}");
    host.docker(&["rm", "-f", &id]).ok();
}

pub(crate) fn limits_change_while_it_runs(host: &mut Host, isolation: Isolation) {
    let flags = ["-m", "64m", "--pids-limit", "50"];
    let id = detached(host, isolation, &flags, &["sleep", "1000"]);
    host.docker(&["update", "-m", "32m", "--memory-swap", "64m", "--restart=always", &id]).ok();
    let seen =
        "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(field(host, &id, seen), "33554432 50 always");
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null \
                  || cat /sys/fs/cgroup/memory.max";
    assert_eq!(host.docker(&["exec", &id, "sh", "-c", script]).ok(), "33554432");
    let said = host.docker(&["update", "-m", "1m", &id]).fails(1);
    assert!(said.contains("Minimum memory limit allowed is 6MB"), "{said}");
    assert_eq!(field(host, &id, "{{.HostConfig.Memory}}"), "33554432");
}

pub(crate) fn a_vm_does_not_grow(host: &mut Host) {
    let id = detached(host, Isolation::Vm, &["-m", "64m"], &["sleep", "1000"]);
    let said = host.docker(&["update", "-m", "8g", "--memory-swap", "-1", &id]).fails(1);
    assert!(said.contains("do not fit into the VM"), "{said}");
}

pub(crate) fn block_devices_are_slowed_down(host: &mut Host) {
    let process = Isolation::Process;
    let flags = [
        "--blkio-weight=300",
        "--device-read-bps=/dev/loop0:1mb",
        "--device-write-bps=/dev/loop0:2mb",
        "--device-read-iops=/dev/loop0:30",
        "--device-write-iops=/dev/loop0:40",
    ];
    let id = detached(host, process, &flags, &["sleep", "1000"]);
    let read = |file: &str| {
        let path = format!("/sys/fs/cgroup/blkio/{file}");
        host.docker(&["exec", &id, "cat", &path]).ok()
    };
    for (file, want) in [
        ("blkio.throttle.read_bps_device", "7:0 1048576"),
        ("blkio.throttle.write_bps_device", "7:0 2097152"),
        ("blkio.throttle.read_iops_device", "7:0 30"),
        ("blkio.throttle.write_iops_device", "7:0 40"),
        ("blkio.bfq.weight", "300"),
    ] {
        assert_eq!(read(file), want, "{file}");
    }
    host.docker(&["update", "--blkio-weight=500", &id]).ok();
    assert_eq!(read("blkio.bfq.weight"), "500");
    for (flag, want) in [
        ("--blkio-weight=5", "Range of blkio weight is from 10 to 1000"),
        ("--device-read-bps=/dev/null:1mb", "/dev/null is no block device"),
        ("--device-read-bps=/dev/absent:1mb", "/dev/absent"),
    ] {
        let said = run(host, process, &[flag, IMAGE, "true"]).fails(125);
        assert!(said.contains(want), "{said}");
    }
}

/// Beside what the guest is told, which a guest that was taken over need not heed.
pub(crate) fn the_host_holds_a_vm_to_its_limits(host: &mut Host) {
    let dir = host.dir().join("bounded");
    std::fs::create_dir_all(&dir).expect("a directory");
    let flags = [
        "--name=bounded",
        "--cpus=0.5",
        "--cpu-shares=512",
        "--cpuset-cpus=1",
        "--blkio-weight=300",
        "--device-read-bps=/dev/loop0:1mb",
        &format!("-v={}:/b", dir.display()),
    ];
    let id = detached(host, Isolation::Vm, &flags, &["sleep", "1000"]);
    let path = |file: &str| {
        let controller = file.split_once('.').expect("a controller").0;
        format!("/sys/fs/cgroup/{controller}/hull/{id}/{file}")
    };
    let read = |file: &str| std::fs::read_to_string(path(file)).expect("its file");
    let holds = |file: &str, want: &str| assert_eq!(read(file).trim(), want, "{file}");
    let memory = ((256 + 512) << 20).to_string();
    for (file, want) in [
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.shares", "512"),
        ("cpuset.cpus", "1"),
        ("blkio.bfq.weight", "300"),
        ("blkio.throttle.read_bps_device", "7:0 1048576"),
        ("memory.limit_in_bytes", &memory),
        ("pids.max", "256"),
    ] {
        holds(file, want);
    }
    assert!(!read("devices.list").contains("a *:*"), "the host's devices are not the worker's");
    let members = std::fs::read_to_string(format!("/sys/fs/cgroup/cpu/hull/{id}/cgroup.procs"));
    let mut members: Vec<_> = members.expect("members").lines().map(named).collect();
    members.sort();
    assert_eq!(members, ["hull-share", "hull-vmwp"]);

    host.docker(&["update", "--cpus=0.75", "--cpuset-cpus=0-1", &id]).ok();
    holds("cpu.cfs_quota_us", "75000");
    holds("cpuset.cpus", "0-1");
    holds("cpu.shares", "512");
    let second = |flags: &[&str]| {
        let join = ["run", "-d", "--isolation=hyperv", "--network=container:bounded"];
        host.docker(&[&join, flags, &[IMAGE, "sleep", "1000"]].concat())
    };
    let said = second(&["--cpuset-cpus=1"]).fails(125);
    assert!(said.contains("is said with its first container"), "{said}");
    let other = second(&["--cpus=1"]).ok();
    holds("cpu.cfs_quota_us", "175000");
    holds("cpu.shares", "1536");
    host.docker(&["rm", "-f", &other]).ok();
    holds("cpu.cfs_quota_us", "75000");
    host.docker(&["rm", "-f", &id]).ok();
    assert!(!std::path::Path::new(&path("cpu.shares")).exists(), "the groups are gone");
}

/// A process by its name.
fn named(pid: &str) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}
