//! Files of cgroup v2. Spec: kernel admin-guide/cgroup-v2.rst.

use spec::oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::{Error, Setting, UNIFIED, above, set};

fn absent(field: &'static str, file: &str) -> Error {
    Error::Absent { field, what: format!("cgroup file {file}, which cgroup v2 does not know") }
}

/// Refuses the first field of the table that is set.
fn refuse(table: &[(bool, &'static str, &str)]) -> Result<(), Error> {
    match table.iter().find(|(asked, ..)| *asked) {
        Some((_, field, file)) => Err(absent(field, file)),
        None => Ok(()),
    }
}

pub(super) fn memory(memory: &LinuxMemory, list: &mut Vec<Setting>) -> Result<(), Error> {
    refuse(&[
        (
            memory.swappiness().is_some_and(|value| value <= 100),
            "linux.resources.memory.swappiness",
            "memory.swappiness",
        ),
        (
            memory.disable_oom_killer() == Some(true),
            "linux.resources.memory.disableOOMKiller",
            "memory.oom_control",
        ),
        (
            set(memory.kernel()).is_some(),
            "linux.resources.memory.kernel",
            "memory.kmem.limit_in_bytes",
        ),
        (
            set(memory.kernel_tcp()).is_some(),
            "linux.resources.memory.kernelTCP",
            "memory.kmem.tcp.limit_in_bytes",
        ),
    ])?;
    let limit = set(memory.limit());
    let swap = swap_max(limit, set(memory.swap()))?;
    let text = |bytes: i64| if bytes < 0 { "max".to_owned() } else { bytes.to_string() };
    if let Some(swap) = swap {
        let field = "linux.resources.memory.swap";
        let setting = Setting::new("memory", "memory.swap.max", text(swap), field);
        // A kernel that does not account swap gives neither more nor less than these two.
        list.push(if swap <= 0 { setting.optional() } else { setting });
    }
    let table = [
        (limit, "memory.max", "linux.resources.memory.limit"),
        (set(memory.reservation()), "memory.low", "linux.resources.memory.reservation"),
    ];
    for (value, file, field) in table {
        list.extend(value.map(|value| Setting::new("memory", file, text(value), field)));
    }
    Ok(())
}

/// The value for cgroup v2's `memory.swap.max`, in bytes, negative for no limit; `None` leaves the
/// file as it is.
///
/// The spec's `swap` is memory *plus* swap, as cgroup v1 counts it; v2 counts swap alone, so the
/// memory part is taken off. Memory without a limit and nothing said of swap is both without a limit.
///
/// Spec: OCI runtime-spec, config-linux.md "Memory"; kernel cgroup-v2.rst, `memory.swap.max`.
pub(crate) fn swap_max(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, Error> {
    match (limit, swap) {
        (Some(..0), None) | (_, Some(..0)) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (None | Some(..0), Some(_)) => {
            let reason = "a limit of memory plus swap needs a limit of memory".to_owned();
            Err(Error::Invalid { field: "linux.resources.memory.swap", reason })
        }
        (Some(limit), Some(swap)) => above(limit, swap).map(Some),
    }
}

pub(super) fn cpu(cpu: &LinuxCpu, list: &mut Vec<Setting>) -> Result<(), Error> {
    let realtime = set(cpu.realtime_period()).is_some() || set(cpu.realtime_runtime()).is_some();
    refuse(&[(realtime, "linux.resources.cpu.realtimeRuntime", "cpu.rt_runtime_us")])?;
    let mut idle = cpu.idle().map(|idle| {
        let setting = Setting::new("cpu", "cpu.idle", idle, "linux.resources.cpu.idle");
        if idle == 0 { setting.optional() } else { setting }
    });
    let weight = set(cpu.shares()).map(|shares| {
        Setting::new("cpu", "cpu.weight", weight(shares), "linux.resources.cpu.shares")
    });
    // A group has a weight only while it is not idle.
    if cpu.idle() == Some(0) {
        list.extend(idle.take());
    }
    list.extend(weight);
    list.extend(idle);
    if let Some(burst) = cpu.burst() {
        let setting = Setting::new("cpu", "cpu.max.burst", burst, "linux.resources.cpu.burst");
        list.push(if burst == 0 { setting.optional() } else { setting });
    }
    let (quota, period) = (set(cpu.quota()), set(cpu.period()));
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |q| q.to_string());
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        list.push(Setting::new("cpu", "cpu.max", value, "linux.resources.cpu.quota"));
    }
    Ok(())
}

/// `cpu.weight`, 1 to 10000, for shares of 2 to 262144: the curve through both ends and both
/// defaults, 100 for 1024, that runc 1.3.2 and crun 1.23 use.
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            // Exact: below 2^18.
            let log = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // At most 10000 by the arm above.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to 10000"
            )]
            let weight = 10_f64.powf(exponent).ceil() as u64;
            weight
        }
    }
}

pub(super) fn io(block: &LinuxBlockIo, list: &mut Vec<Setting>) -> Result<(), Error> {
    let leaves = block.weight_device().iter().flatten().any(|d| set(d.leaf_weight()).is_some());
    refuse(&[
        (
            set(block.leaf_weight()).is_some(),
            "linux.resources.blockIO.leafWeight",
            "blkio.leaf_weight",
        ),
        (leaves, "linux.resources.blockIO.weightDevice.leafWeight", "blkio.leaf_weight_device"),
    ])?;
    let field = "linux.resources.blockIO.weight";
    let device = "linux.resources.blockIO.weightDevice";
    list.extend(
        set(block.weight())
            .map(|w| Setting::new("io", "io.bfq.weight", w, field).or("io.weight", io_weight(w))),
    );
    for one in block.weight_device().iter().flatten() {
        let number = format!("{}:{}", one.major(), one.minor());
        list.extend(set(one.weight()).map(|w| {
            Setting::new("io", "io.bfq.weight", format!("{number} {w}"), device)
                .or("io.weight", format!("{number} {}", io_weight(w)))
        }));
    }
    let throttles = [
        (block.throttle_read_bps_device(), "rbps", "linux.resources.blockIO.throttleReadBpsDevice"),
        (
            block.throttle_write_bps_device(),
            "wbps",
            "linux.resources.blockIO.throttleWriteBpsDevice",
        ),
        (
            block.throttle_read_iops_device(),
            "riops",
            "linux.resources.blockIO.throttleReadIOPSDevice",
        ),
        (
            block.throttle_write_iops_device(),
            "wiops",
            "linux.resources.blockIO.throttleWriteIOPSDevice",
        ),
    ];
    for (devices, name, field) in throttles {
        for one in devices.iter().flatten() {
            // Zero takes a limit away, as on v1.
            let rate = set(Some(one.rate())).map_or("max".to_owned(), |rate| rate.to_string());
            let value = format!("{}:{} {name}={rate}", one.major(), one.minor());
            list.push(Setting::new("io", "io.max", value, field));
        }
    }
    Ok(())
}

/// `io.weight`, 1 to 10000, for the spec's 10 to 1000, as runc converts it.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

pub(super) fn unified(resources: &LinuxResources, list: &mut Vec<Setting>) -> Result<(), Error> {
    let field = "linux.resources.unified";
    let invalid = |reason| Err(Error::Invalid { field, reason });
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') {
            return invalid(format!("{file:?} must be a file name (no slashes)"));
        }
        if !file.contains('.') || file.starts_with('.') {
            return invalid(format!("{file:?} must be in the form CONTROLLER.PARAMETER"));
        }
        // A file of many lines takes them one by one.
        for line in value.trim_end_matches('\n').split('\n') {
            list.push(Setting::new(UNIFIED, file, line, field));
        }
    }
    Ok(())
}
