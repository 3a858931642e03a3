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
    let said = run(host, Isolation::Vm, &[flags[1], IMAGE, "true"]).fails(125);
    assert!(said.contains("/dev/loop0 is the host's, a VM has disks of its own"), "{said}");
}
