//! Limits as files and values: `linux.resources` translated for cgroup v1 and v2.
//!
//! Zero in `shares`, `quota`, `period`, `limit`, … means unset, as runc takes it.
//!
//! Spec: OCI runtime-spec, config-linux.md "Memory", "CPU", "PIDs"; kernel cgroup-v2.rst.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use spec::oci::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::Error;

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The controller that has the file.
    pub(super) controller: &'static str,
    /// The file's name.
    pub(super) file: String,
    /// What is written.
    pub(super) value: String,
    /// The field of the configuration that asks for it.
    pub(super) field: &'static str,
}

impl Setting {
    fn new(controller: &'static str, file: &str, value: impl Display, field: &'static str) -> Self {
        Self { controller, file: file.to_owned(), value: format!("{value}"), field }
    }

    pub(super) fn absent(&self, what: &str) -> Error {
        Error::Absent { field: self.field, what: format!("{what} cgroup controller") }
    }

    /// Writes the value in the cgroup `directory`.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        match fs::write(directory.join(&self.file), &self.value) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EACCES)) => {
                Err(Error::Absent { field: self.field, what: format!("cgroup file {}", self.file) })
            }
            Err(source) => Err(Error::Rejected {
                field: self.field,
                value: self.value.clone(),
                file: self.file.clone(),
                source,
            }),
        }
    }
}

/// The settings for cgroup v1, in the order in which the kernel accepts them in a new cgroup.
pub(super) fn v1(resources: Option<&LinuxResources>) -> Result<Vec<Setting>, Error> {
    let Some(resources) = resources else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_v1(memory, &mut list)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_v1(cpu, &mut list);
    }
    pids(resources, &mut list);
    if resources.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        let what = "cgroup v2".to_owned();
        return Err(Error::Absent { field: "linux.resources.unified", what });
    }
    Ok(list)
}

/// The settings for cgroup v2.
pub(super) fn v2(resources: Option<&LinuxResources>) -> Result<Vec<Setting>, Error> {
    let Some(resources) = resources else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_v2(memory, &mut list)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_v2(cpu, &mut list)?;
    }
    pids(resources, &mut list);
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') || !file.contains('.') {
            let reason = format!("{file:?} is no file of a cgroup");
            return Err(Error::Invalid { field: "linux.resources.unified", reason });
        }
        list.push(Setting::new("", file, value, "linux.resources.unified"));
    }
    Ok(list)
}

fn pids(resources: &LinuxResources, list: &mut Vec<Setting>) {
    let field = "linux.resources.pids.limit";
    match resources.pids().map(|pids| pids.limit()) {
        None | Some(0) => {}
        Some(limit @ 1..) => list.push(Setting::new("pids", "pids.max", limit, field)),
        Some(_) => list.push(Setting::new("pids", "pids.max", "max", field)),
    }
}

fn memory_v1(memory: &LinuxMemory, list: &mut Vec<Setting>) -> Result<(), Error> {
    let limit = set(memory.limit());
    let swap = set(memory.swap());
    // Checks what the kernel would refuse with a bare EINVAL.
    swap_max(limit, swap)?;
    let table = [
        (limit, "memory.limit_in_bytes", "linux.resources.memory.limit"),
        (swap, "memory.memsw.limit_in_bytes", "linux.resources.memory.swap"),
        (
            set(memory.reservation()),
            "memory.soft_limit_in_bytes",
            "linux.resources.memory.reservation",
        ),
        (
            set(memory.kernel_tcp()),
            "memory.kmem.tcp.limit_in_bytes",
            "linux.resources.memory.kernelTCP",
        ),
    ];
    for (value, file, field) in table {
        list.extend(value.map(|value| Setting::new("memory", file, value, field)));
    }
    if let Some(swappiness) = memory.swappiness() {
        let field = "linux.resources.memory.swappiness";
        if swappiness > 100 {
            return Err(Error::Invalid { field, reason: format!("{swappiness} is not 0 to 100") });
        }
        list.push(Setting::new("memory", "memory.swappiness", swappiness, field));
    }
    if memory.disable_oom_killer() == Some(true) {
        let field = "linux.resources.memory.disableOOMKiller";
        list.push(Setting::new("memory", "memory.oom_control", 1, field));
    }
    Ok(())
}

fn memory_v2(memory: &LinuxMemory, list: &mut Vec<Setting>) -> Result<(), Error> {
    let limit = set(memory.limit());
    let swap = swap_max(limit, set(memory.swap()))?;
    let table = [
        (limit, "memory.max", "linux.resources.memory.limit"),
        (swap, "memory.swap.max", "linux.resources.memory.swap"),
        (set(memory.reservation()), "memory.low", "linux.resources.memory.reservation"),
    ];
    for (value, file, field) in table {
        let text = |bytes: i64| if bytes < 0 { "max".to_owned() } else { bytes.to_string() };
        list.extend(value.map(|value| Setting::new("memory", file, text(value), field)));
    }
    let absent = [
        (memory.swappiness().is_some(), "linux.resources.memory.swappiness", "memory.swappiness"),
        (
            memory.disable_oom_killer() == Some(true),
            "linux.resources.memory.disableOOMKiller",
            "memory.oom_control",
        ),
        (
            set(memory.kernel_tcp()).is_some(),
            "linux.resources.memory.kernelTCP",
            "memory.kmem.tcp.limit_in_bytes",
        ),
    ];
    for (asked, field, file) in absent {
        if asked {
            return Err(Error::Absent { field, what: format!("cgroup file {file}") });
        }
    }
    Ok(())
}

fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// The value for cgroup v2's `memory.swap.max`, in bytes, negative for no limit; `None` leaves the
/// file as it is.
///
/// The spec's `swap` is memory *plus* swap, as cgroup v1 counts it; v2 counts swap alone, so the
/// memory part is taken off.
///
/// Spec: OCI runtime-spec, config-linux.md "Memory"; kernel cgroup-v2.rst, `memory.swap.max`.
pub(super) fn swap_max(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, Error> {
    let field = "linux.resources.memory.swap";
    match (limit, swap) {
        (_, None) => Ok(None),
        (_, Some(..0)) => Ok(Some(-1)),
        (None | Some(..0), Some(_)) => {
            let reason = "a limit of memory plus swap needs a limit of memory".to_owned();
            Err(Error::Invalid { field, reason })
        }
        (Some(limit), Some(swap)) if swap < limit => {
            let reason = format!("{swap} is below the memory limit {limit}, which it includes");
            Err(Error::Invalid { field, reason })
        }
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
    }
}

fn cpu_v1(cpu: &LinuxCpu, list: &mut Vec<Setting>) {
    let mut add = |controller, file, value: Option<String>, field| {
        list.extend(value.map(|value| Setting::new(controller, file, value, field)));
    };
    let text = |value: Option<u64>| set(value).map(|value| value.to_string());
    let signed = |value: Option<i64>| set(value).map(|value| value.to_string());
    add("cpu", "cpu.shares", text(cpu.shares()), "linux.resources.cpu.shares");
    add("cpu", "cpu.cfs_period_us", text(cpu.period()), "linux.resources.cpu.period");
    add("cpu", "cpu.cfs_quota_us", signed(cpu.quota()), "linux.resources.cpu.quota");
    add("cpu", "cpu.cfs_burst_us", text(cpu.burst()), "linux.resources.cpu.burst");
    let (rt_period, rt_runtime) = (text(cpu.realtime_period()), signed(cpu.realtime_runtime()));
    add("cpu", "cpu.rt_period_us", rt_period, "linux.resources.cpu.realtimePeriod");
    add("cpu", "cpu.rt_runtime_us", rt_runtime, "linux.resources.cpu.realtimeRuntime");
    let idle = cpu.idle().map(|idle| idle.to_string());
    add("cpu", "cpu.idle", idle, "linux.resources.cpu.idle");
    add("cpuset", "cpuset.cpus", set(cpu.cpus().clone()), "linux.resources.cpu.cpus");
    add("cpuset", "cpuset.mems", set(cpu.mems().clone()), "linux.resources.cpu.mems");
}

fn cpu_v2(cpu: &LinuxCpu, list: &mut Vec<Setting>) -> Result<(), Error> {
    let shares = set(cpu.shares()).map(|shares| weight(shares).to_string());
    let idle = cpu.idle().map(|idle| idle.to_string());
    let (quota, period) = (set(cpu.quota()), set(cpu.period()));
    let max = (quota.is_some() || period.is_some()).then(|| {
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |q| q.to_string());
        format!("{quota} {}", period.unwrap_or(100_000))
    });
    let burst = set(cpu.burst()).map(|burst| burst.to_string());
    let table = [
        ("cpu", "cpu.idle", idle, "linux.resources.cpu.idle"),
        ("cpu", "cpu.weight", shares, "linux.resources.cpu.shares"),
        ("cpu", "cpu.max", max, "linux.resources.cpu.quota"),
        ("cpu", "cpu.max.burst", burst, "linux.resources.cpu.burst"),
        ("cpuset", "cpuset.cpus", set(cpu.cpus().clone()), "linux.resources.cpu.cpus"),
        ("cpuset", "cpuset.mems", set(cpu.mems().clone()), "linux.resources.cpu.mems"),
    ];
    for (controller, file, value, field) in table {
        list.extend(value.map(|value| Setting::new(controller, file, value, field)));
    }
    if set(cpu.realtime_period()).is_some() || set(cpu.realtime_runtime()).is_some() {
        let field = "linux.resources.cpu.realtimeRuntime";
        return Err(Error::Absent { field, what: "cgroup file cpu.rt_runtime_us".into() });
    }
    Ok(())
}

/// `cpu.weight`, 1 to 10000, for shares of 2 to 262144, as runc and systemd convert them.
pub(super) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}
