//! Openings in a container's wall: privileges, devices, namespaces of the host.

use std::fs;

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field, run};

/// The line of `/proc/self/status` that begins so.
const STATUS: &str = "grep $0 /proc/self/status | cut -f2";

pub(crate) fn a_privileged_container_may_do_everything(host: &mut Host, isolation: Isolation) {
    let script = "grep CapBnd /proc/self/status | cut -f2; grep -c '^Seccomp:.0' /proc/self/status; \
                  touch /sys/kernel/x 2>&1 | grep -c 'Read-only'; mkdir /mine; mount -t tmpfs x /mine && echo mounted";
    let out = run(host, isolation, &["--privileged", IMAGE, "sh", "-c", script]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(everything(lines[0]), "{out}");
    assert_eq!(lines[1..], ["1", "0", "mounted"], "{out}");
    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    let bounding = |flags: &[&str]| {
        let exec = [&["exec"], flags, &[&id, "sh", "-c", STATUS, "CapEff"]].concat();
        host.docker(&exec).ok()
    };
    assert_eq!(bounding(&[]), "00000000a80425fb");
    assert!(everything(&bounding(&["--privileged"])));
}

/// Whether these are all capabilities, but for one that the machine may lack itself.
pub(crate) fn everything(set: &str) -> bool {
    matches!(set, "000001ffffffffff" | "000001fffeffffff")
}

pub(crate) fn devices_and_rules_are_those_that_were_asked_for(host: &mut Host) {
    let script = "stat -c '%t:%T' /dev/mine; echo x >/dev/mine && echo written";
    let process = Isolation::Process;
    let device = ["--device=/dev/null:/dev/mine:w", IMAGE, "sh", "-c", script];
    assert_eq!(run(host, process, &device).ok(), "1:3\nwritten");
    let said = run(host, process, &["--device=/dev/nope", IMAGE, "true"]).fails(125);
    assert!(said.contains("gathering device information"), "{said}");
}

pub(crate) fn a_profile_filters_system_calls(host: &mut Host, isolation: Isolation) {
    let profile = host.dir().join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    fs::write(&profile, text).expect("a file");
    let option = format!("--security-opt=seccomp={}", profile.display());
    let said = run(host, isolation, &[&option, IMAGE, "mkdir", "/x"]).fails(1);
    assert!(said.contains("No space left"), "{said}");
    let open =
        ["--security-opt=systempaths=unconfined", IMAGE, "sh", "-c", "wc -c </proc/timer_list"];
    assert_ne!(run(host, isolation, &open).ok(), "0");
}

pub(crate) fn namespaces_of_the_host_are_shared_where_there_is_no_wall(host: &mut Host) {
    for (flag, name) in [
        ("--pid=host", "pid"),
        ("--uts=host", "uts"),
        ("--ipc=host", "ipc"),
        ("--cgroupns=host", "cgroup"),
    ] {
        let link = format!("/proc/self/ns/{name}");
        let seen = run(host, Isolation::Process, &[flag, IMAGE, "readlink", &link]).ok();
        let own = fs::read_link(&link).expect("a link").display().to_string();
        assert_eq!(seen, own, "{flag}");
    }
    let said = run(host, Isolation::Vm, &["--pid=host", IMAGE, "true"]).fails(125);
    assert!(said.contains("cannot cross the wall of a VM"), "{said}");
}

pub(crate) fn what_was_asked_is_shown(host: &mut Host, isolation: Isolation) {
    let flags = [
        "--annotation=a.b=c",
        "--cgroup-parent=/mine",
        "--userns=host",
        "--ipc=none",
        "--device-cgroup-rule=c 1:3 r",
    ];
    let id = detached(host, isolation, &flags, &["sleep", "1000"]);
    let template = "{{.HostConfig.Annotations}} {{.HostConfig.CgroupParent}} \
                    {{.HostConfig.UsernsMode}} {{.HostConfig.IpcMode}} \
                    {{.HostConfig.DeviceCgroupRules}}";
    assert_eq!(field(host, &id, template), "map[a.b:c] /mine host none [c 1:3 r]");
    let bad = ["--annotation=dev.hull.isolation=process", IMAGE, "true"];
    let said = run(host, isolation, &bad).fails(125);
    assert!(said.contains("Hull's own"), "{said}");
}

pub(crate) fn a_network_can_be_the_hosts_or_anothers(host: &mut Host) {
    let process = Isolation::Process;
    let link = ["readlink", "/proc/self/ns/net"];
    let hosts = host.engine.on_host(link[0], &link[1..]).ok();
    assert_eq!(run(host, process, &[&["--network=host", IMAGE], &link[..]].concat()).ok(), hosts);
    let id = detached(host, process, &["--name=web"], &["sleep", "1000"]);
    let seen = host.docker(&[&["exec", &id], &link[..]].concat()).ok();
    let flags = ["--network=container:web", "--pid=container:web", IMAGE];
    assert_eq!(run(host, process, &[&flags[..], &link[..]].concat()).ok(), seen);
    let listed = run(host, process, &[&flags[..], &["ps", "-o", "args"]].concat()).ok();
    assert!(listed.contains("sleep 1000"), "{listed}");
    let said = run(host, Isolation::Vm, &["--network=container:web", IMAGE, "true"]).fails(125);
    assert!(said.contains("is outside, and a VM has its own wall around it"), "{said}");
    let said = run(host, Isolation::Vm, &["--network=host", IMAGE, "true"]).fails(125);
    assert!(said.contains("cannot cross the wall of a VM"), "{said}");
    host.docker(&["kill", "web"]).ok();
    let said = run(host, process, &["--network=container:web", IMAGE, "true"]).fails(125);
    assert!(said.contains("cannot join network of a non running container"), "{said}");
}
