//! Files of cgroup v1. Spec: kernel admin-guide/cgroup-v1.

use spec::oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork};

use super::{Error, Setting, above, set};

pub(super) fn memory(memory: &LinuxMemory, list: &mut Vec<Setting>) -> Result<(), Error> {
    let (limit, swap) = (set(memory.limit()), set(memory.swap()));
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (limit, swap) {
        // The kernel would refuse it with a bare EINVAL.
        above(limit, swap)?;
    }
    let table = [
        (limit, "memory.limit_in_bytes", "linux.resources.memory.limit"),
        (swap, "memory.memsw.limit_in_bytes", "linux.resources.memory.swap"),
        (
            set(memory.reservation()),
            "memory.soft_limit_in_bytes",
            "linux.resources.memory.reservation",
        ),
        (set(memory.kernel()), "memory.kmem.limit_in_bytes", "linux.resources.memory.kernel"),
        (
            set(memory.kernel_tcp()),
            "memory.kmem.tcp.limit_in_bytes",
            "linux.resources.memory.kernelTCP",
        ),
    ];
    for (value, file, field) in table {
        list.extend(value.map(|value| Setting::new("memory", file, value, field)));
    }
    if (limit, swap) == (Some(-1), None) {
        // Unlimited memory means unlimited swap, where swap is accounted at all.
        let field = "linux.resources.memory.swap";
        list.push(Setting::new("memory", "memory.memsw.limit_in_bytes", -1, field).optional());
    }
    if memory.use_hierarchy() == Some(true) {
        // It is the only way since Linux 5.11, and fine to ask for.
        let field = "linux.resources.memory.useHierarchy";
        list.push(Setting::new("memory", "memory.use_hierarchy", 1, field).optional());
    }
    if memory.disable_oom_killer() == Some(true) {
        let field = "linux.resources.memory.disableOOMKiller";
        list.push(Setting::new("memory", "memory.oom_control", 1, field));
    }
    if let Some(swappiness @ 0..=100) = memory.swappiness() {
        let field = "linux.resources.memory.swappiness";
        list.push(Setting::new("memory", "memory.swappiness", swappiness, field));
    }
    Ok(())
}

pub(super) fn cpu(cpu: &LinuxCpu, list: &mut Vec<Setting>) -> Result<(), Error> {
    let field = "linux.resources.cpu.shares";
    let shares = set(cpu.shares());
    // Written as they are, the kernel would silently take others.
    let reason = match shares {
        Some(..2) => "the minimum allowed cpu-shares is 2",
        Some(262_145..) => "the maximum allowed cpu-shares is 262144",
        _ => "",
    };
    if !reason.is_empty() {
        return Err(Error::Invalid { field, reason: reason.to_owned() });
    }
    list.extend(shares.map(|shares| Setting::new("cpu", "cpu.shares", shares, field)));
    let mut add = |file: &'static str, value: Option<String>, field, optional| {
        let setting = value.map(|value| Setting::new("cpu", file, value, field));
        list.extend(setting.map(|one| if optional { one.optional() } else { one }));
    };
    let text = |value: Option<u64>| value.map(|value| value.to_string());
    let signed = |value: Option<i64>| value.map(|value| value.to_string());
    add("cpu.cfs_period_us", text(set(cpu.period())), "linux.resources.cpu.period", false);
    // Zero is a burst; kernels before 5.14 have none at all.
    add("cpu.cfs_burst_us", text(cpu.burst()), "linux.resources.cpu.burst", cpu.burst() == Some(0));
    add("cpu.cfs_quota_us", signed(set(cpu.quota())), "linux.resources.cpu.quota", false);
    add("cpu.idle", signed(cpu.idle()), "linux.resources.cpu.idle", cpu.idle() == Some(0));
    let (period, runtime) = (set(cpu.realtime_period()), set(cpu.realtime_runtime()));
    add("cpu.rt_period_us", text(period), "linux.resources.cpu.realtimePeriod", false);
    add("cpu.rt_runtime_us", signed(runtime), "linux.resources.cpu.realtimeRuntime", false);
    Ok(())
}

pub(super) fn blkio(block: &LinuxBlockIo, list: &mut Vec<Setting>) {
    let weight = "linux.resources.blockIO.weight";
    let leaf = "linux.resources.blockIO.leafWeight";
    let device = "linux.resources.blockIO.weightDevice";
    list.extend(
        set(block.weight())
            .map(|w| Setting::new("blkio", "blkio.weight", w, weight).or("blkio.bfq.weight", w)),
    );
    list.extend(
        set(block.leaf_weight()).map(|w| Setting::new("blkio", "blkio.leaf_weight", w, leaf)),
    );
    for one in block.weight_device().iter().flatten() {
        let number = format!("{}:{}", one.major(), one.minor());
        list.extend(set(one.weight()).map(|w| {
            let value = format!("{number} {w}");
            Setting::new("blkio", "blkio.weight_device", &value, device)
                .or("blkio.bfq.weight_device", &value)
        }));
        list.extend(set(one.leaf_weight()).map(|w| {
            Setting::new("blkio", "blkio.leaf_weight_device", format!("{number} {w}"), device)
        }));
    }
    let throttles = [
        (
            block.throttle_read_bps_device(),
            "read_bps",
            "linux.resources.blockIO.throttleReadBpsDevice",
        ),
        (
            block.throttle_write_bps_device(),
            "write_bps",
            "linux.resources.blockIO.throttleWriteBpsDevice",
        ),
        (
            block.throttle_read_iops_device(),
            "read_iops",
            "linux.resources.blockIO.throttleReadIOPSDevice",
        ),
        (
            block.throttle_write_iops_device(),
            "write_iops",
            "linux.resources.blockIO.throttleWriteIOPSDevice",
        ),
    ];
    for (devices, name, field) in throttles {
        for one in devices.iter().flatten() {
            let value = format!("{}:{} {}", one.major(), one.minor(), one.rate());
            let file = format!("blkio.throttle.{name}_device");
            list.push(Setting::new("blkio", &file, value, field));
        }
    }
}

/// Only cgroup v1 has these controllers.
pub(super) fn network(network: &LinuxNetwork, list: &mut Vec<Setting>) {
    let class = "linux.resources.network.classID";
    list.extend(
        set(network.class_id()).map(|id| Setting::new("net_cls", "net_cls.classid", id, class)),
    );
    for one in network.priorities().iter().flatten() {
        let value = format!("{} {}", one.name(), one.priority());
        let field = "linux.resources.network.priorities";
        list.push(Setting::new("net_prio", "net_prio.ifpriomap", value, field));
    }
}
