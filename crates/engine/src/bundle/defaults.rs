//! What every container gets: capabilities, mounts, hidden paths, devices.
//!
//! Spec: OCI runtime-spec, config-linux.md "Default Filesystems", "Masked Paths", "Readonly Paths",
//! "Allowed Device list".

use serde_json::{Value, json};

/// `PATH` where neither image nor client has one.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What root in a container may do unless the client says otherwise.
pub(crate) const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Every capability of Linux 6.x, by number. See capabilities(7).
pub(super) const ALL_CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Seen as empty: they tell of the host, or let it be changed. In Docker's order, which clients compare.
pub(crate) const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Seen, but not to be written.
pub(crate) const READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The file systems under every container's programs, in order of mounting.
pub(super) fn mounts(shm_size: Option<u64>) -> Vec<Value> {
    let shm = format!("size={}", shm_size.unwrap_or(crate::shm::SIZE));
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let quiet = ["nosuid", "noexec", "nodev"];
    let readonly = ["nosuid", "noexec", "nodev", "ro"];
    vec![
        mount("/proc", "proc", "proc", &quiet),
        mount("/dev", "tmpfs", "tmpfs", &dev),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/sys", "sysfs", "sysfs", &readonly),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &readonly),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ]
}

/// One entry of the OCI spec's `mounts`.
pub(super) fn mount(destination: &str, fstype: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": fstype, "source": source, "options": options })
}

/// Which devices may be used: none but memory's, the terminals, and making nodes of any.
pub(super) fn device_rules() -> Vec<Value> {
    let rule = |allow, kind: &str, major: Option<u32>, minor: Option<u32>, access: &str| {
        let mut rule = json!({ "allow": allow, "type": kind, "access": access });
        let numbers = [("major", major), ("minor", minor)];
        for (name, number) in numbers.into_iter().filter_map(|(n, v)| v.map(|v| (n, v))) {
            rule[name] = number.into();
        }
        rule
    };
    // null, zero, full, random, urandom; tty, console, ptmx.
    let used = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(["c", "b"].map(|kind| rule(true, kind, None, None, "m")));
    rules.extend(used.map(|(major, minor)| rule(true, "c", Some(major), Some(minor), "rwm")));
    // Pseudo-terminals.
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    rules
}
