//! Facts of the host that `info` and `version` show.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// The kernel's release.
pub(super) fn kernel() -> String {
    line("/proc/sys/kernel/osrelease")
}

/// The host's name.
pub(super) fn name() -> String {
    line("/proc/sys/kernel/hostname")
}

/// The processor in Go's words.
pub(super) fn architecture() -> String {
    image::Platform::host().architecture
}

/// The distribution's name.
pub(super) fn operating_system() -> String {
    os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned())
}

/// A value of os-release(5).
pub(super) fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

/// Processors that are on line.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory in bytes.
pub(super) fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Files that this process has open.
pub(super) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// What lies beneath the layers, as Docker tells it.
pub(super) fn filesystem(path: &Path) -> Value {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = table.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let at = place.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&at).then(|| (at.len(), kind.split(' ').next().unwrap_or_default()))
    });
    match mounts.max_by_key(|(length, _)| *length) {
        Some((_, kind)) => json!([["Backing Filesystem", kind], ["Supports d_type", "true"]]),
        None => json!([]),
    }
}

/// Which limits containers can have here, and by which cgroups.
pub(super) fn limits() -> Value {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let has = |v1: &str, file: &str| v2 || Path::new("/sys/fs/cgroup").join(v1).join(file).exists();
    let forwarding = line("/proc/sys/net/ipv4/ip_forward") == "1";
    json!({
        "MemoryLimit": has("memory", "memory.limit_in_bytes"),
        "SwapLimit": has("memory", "memory.memsw.limit_in_bytes"),
        "CpuCfsPeriod": has("cpu", "cpu.cfs_period_us"),
        "CpuCfsQuota": has("cpu", "cpu.cfs_quota_us"),
        "CPUShares": has("cpu", "cpu.shares"),
        "CPUSet": has("cpuset", "cpuset.cpus"),
        "PidsLimit": has("pids", "cgroup.procs"),
        "OomKillDisable": !v2 && has("memory", "memory.oom_control"),
        "KernelMemoryTCP": !v2 && has("memory", "memory.kmem.tcp.limit_in_bytes"),
        "IPv4Forwarding": forwarding,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if v2 { "2" } else { "1" },
    })
}

/// The first line of a file; empty when it cannot be read.
fn line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_kernel_and_memory() {
        assert!(!kernel().is_empty());
        assert!(memory() > 0);
        assert!(processors() > 0);
        assert!(limits()["CgroupVersion"].is_string());
    }
}
