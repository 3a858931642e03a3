//! Limits: the OCI spec's `linux.resources`, and what a client may ask of them.
//!
//! Spec: OCI runtime-spec, config-linux.md "Control groups"; Docker's rules for `HostConfig`.

use serde_json::{Map, Value, json};
use spec::sysctl;

use super::devices::rates;
use crate::config::{Blkio, HostConfig, MEMORY_MIN, Resources, Share, Ulimit};
use crate::error::Error;

/// The processor's time is shared out in periods of so many microseconds.
const PERIOD: u64 = 100_000;

/// Resource limits by setrlimit(2)'s names.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Refuses what no host could do.
pub(crate) fn check(host: &HostConfig) -> Result<(), Error> {
    memory(&host.resources)?;
    processors(&host.resources)?;
    others(&host.resources)?;
    host.ulimits.iter().try_for_each(ulimit)?;
    host.sysctls.keys().try_for_each(|name| check_sysctl(name))?;
    if host.openings.network == Share::Host
        && let Some(name) = host.sysctls.keys().find(|name| name.starts_with("net."))
    {
        let problem = format!("sysctl '{name}' not allowed in host network namespace");
        return Err(Error::Invalid { field: "HostConfig.Sysctls", problem });
    }
    match host.oom_score_adj {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Error::Invalid {
            field: "HostConfig.OomScoreAdj",
            problem: format!("{score}: the range is [-1000, 1000]"),
        }),
        _ => Ok(()),
    }
}

fn memory(resources: &Resources) -> Result<(), Error> {
    let invalid = |field, problem: &str| Err(Error::Invalid { field, problem: problem.to_owned() });
    match resources.memory {
        Some(memory) if memory < MEMORY_MIN => {
            return invalid("HostConfig.Memory", "Minimum memory limit allowed is 6MB");
        }
        _ => {}
    }
    match (resources.memory, resources.memory_swap) {
        (None, Some(swap)) if swap >= 0 => {
            return invalid(
                "HostConfig.MemorySwap",
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            );
        }
        (Some(memory), Some(swap)) if swap != -1 && swap < memory => {
            return invalid(
                "HostConfig.MemorySwap",
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            );
        }
        _ => {}
    }
    match (resources.memory, resources.memory_reservation) {
        (_, Some(low)) if low < MEMORY_MIN => {
            invalid("HostConfig.MemoryReservation", "Minimum memory reservation allowed is 6MB")
        }
        (Some(memory), Some(low)) if memory < low => invalid(
            "HostConfig.MemoryReservation",
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        _ => Ok(()),
    }
}

fn processors(resources: &Resources) -> Result<(), Error> {
    let invalid = |field, problem: String| Err(Error::Invalid { field, problem });
    let here = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if let Some(nano) = resources.nano_cpus {
        if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
            let problem = "cannot be combined with CpuQuota or CpuPeriod".to_owned();
            return invalid("HostConfig.NanoCpus", problem);
        }
        let most = i64::try_from(here).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        if !(10_000_000..=most).contains(&nano) {
            let problem = format!(
                "range of CPUs is from 0.01 to {here}.00, as there are only {here} CPUs available"
            );
            return invalid("HostConfig.NanoCpus", problem);
        }
    }
    match resources.cpu_period {
        Some(period) if !(1_000..=1_000_000).contains(&period) => {
            let problem = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s \
                           (i.e. 1000000)";
            return invalid("HostConfig.CpuPeriod", problem.to_owned());
        }
        _ => {}
    }
    match resources.cpu_quota {
        // None at all is asked for by a number below 0.
        Some(quota) if (0..1_000).contains(&quota) => {
            let problem = "CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned();
            invalid("HostConfig.CpuQuota", problem)
        }
        _ => Ok(()),
    }
}

fn others(resources: &Resources) -> Result<(), Error> {
    let invalid = |field, problem: String| Err(Error::Invalid { field, problem });
    match resources.swappiness {
        Some(value) if value > 100 => {
            let problem = format!("Invalid value: {value}, valid memory swappiness range is 0-100");
            return invalid("HostConfig.MemorySwappiness", problem);
        }
        _ => {}
    }
    let weights = resources.blkio.weight_device.iter().map(|device| device.value);
    match weights.chain(resources.blkio.weight).find(|weight| !(10..=1000).contains(weight)) {
        Some(_) => {
            let problem = "Range of blkio weight is from 10 to 1000".to_owned();
            invalid("HostConfig.BlkioWeight", problem)
        }
        None => Ok(()),
    }
}

fn ulimit(limit: &Ulimit) -> Result<(), Error> {
    let invalid = |problem: String| Err(Error::Invalid { field: "HostConfig.Ulimits", problem });
    let size = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    if !ULIMITS.contains(&limit.name.as_str()) {
        return invalid(format!("invalid ulimit type: {}", limit.name));
    }
    if size(limit.soft) > size(limit.hard) {
        let Ulimit { name, soft, hard } = limit;
        return invalid(format!(
            "{name}: ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(())
}

fn check_sysctl(name: &str) -> Result<(), Error> {
    use spec::oci::runtime::LinuxNamespaceType as Type;
    // Containers have no user namespace of their own.
    if sysctl::owner(name).is_some_and(|owner| owner != Type::User) {
        return Ok(());
    }
    let problem = format!("sysctl {name:?} is not in a separate kernel namespace");
    Err(Error::Invalid { field: "HostConfig.Sysctls", problem })
}

/// The kernel parameters of a container: any user may ping and listen on low ports, unless asked
/// otherwise.
pub(super) fn sysctls(host: &HostConfig) -> Map<String, Value> {
    let defaults = [
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
    ];
    let own = host.openings.network == Share::Own;
    let defaults = defaults.map(|(name, value)| (name.to_owned(), value.into()));
    let asked = host.sysctls.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    defaults.into_iter().filter(|_| own).chain(asked).collect()
}

/// The OCI spec's `linux.resources`, but for its devices.
pub(crate) fn changed(resources: &Resources) -> Result<Value, Error> {
    let mut memory = Map::new();
    if let Some(limit) = resources.memory {
        memory.insert("limit".into(), limit.into());
        // As much swap as memory unless told otherwise: the sum of both is what is limited.
        let swap = resources.memory_swap.unwrap_or_else(|| limit.saturating_mul(2));
        memory.insert("swap".into(), swap.into());
    }
    if let Some(low) = resources.memory_reservation {
        memory.insert("reservation".into(), low.into());
    }
    if let Some(limit) = resources.kernel_tcp {
        memory.insert("kernelTCP".into(), limit.into());
    }
    if let Some(swappiness) = resources.swappiness {
        memory.insert("swappiness".into(), swappiness.into());
    }
    if resources.oom_kill_off {
        memory.insert("disableOOMKiller".into(), true.into());
    }
    let mut all = json!({ "memory": memory, "cpu": cpu(resources) });
    if let Some(limit) = resources.pids_limit {
        // Docker's 0 is the OCI's -1: no limit.
        all["pids"] = json!({ "limit": if limit == 0 { -1 } else { limit } });
    }
    if resources.blkio != Blkio::default() {
        all["blockIO"] = block(&resources.blkio)?;
    }
    Ok(all)
}

fn block(blkio: &Blkio) -> Result<Value, Error> {
    let mut block = json!({
        "weightDevice": rates(&blkio.weight_device, "weight")?,
        "throttleReadBpsDevice": rates(&blkio.read_bps, "rate")?,
        "throttleWriteBpsDevice": rates(&blkio.write_bps, "rate")?,
        "throttleReadIOPSDevice": rates(&blkio.read_iops, "rate")?,
        "throttleWriteIOPSDevice": rates(&blkio.write_iops, "rate")?,
    });
    if let Some(weight) = blkio.weight {
        block["weight"] = weight.into();
    }
    Ok(block)
}

fn cpu(resources: &Resources) -> Map<String, Value> {
    let (quota, period) = match resources.nano_cpus {
        Some(nano) => (Some(nano / (1_000_000_000 / PERIOD.cast_signed())), Some(PERIOD)),
        None => (resources.cpu_quota, resources.cpu_period),
    };
    let set = |text: &String| (!text.is_empty()).then(|| Value::from(text.as_str()));
    [
        ("quota", quota.map(Value::from)),
        ("period", period.map(Value::from)),
        ("shares", resources.cpu_shares.map(Value::from)),
        ("realtimeRuntime", resources.cpu_realtime.map(Value::from)),
        ("realtimePeriod", resources.cpu_realtime_period.map(Value::from)),
        ("cpus", set(&resources.cpuset_cpus)),
        ("mems", set(&resources.cpuset_mems)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_processor_is_half_of_each_period() {
        let half = Resources { nano_cpus: Some(500_000_000), ..Default::default() };
        let cpu = |limits: &Resources| changed(limits).expect("valid")["cpu"].clone();
        assert_eq!(cpu(&half), json!({ "quota": 50_000, "period": 100_000 }));
        assert_eq!(cpu(&Resources::default()), json!({}));
    }

    #[test]
    fn swap_counts_together_with_memory() {
        let cases = [(None, 128 << 20), (Some(-1), -1), (Some(64 << 20), 64 << 20)];
        for (memory_swap, want) in cases {
            let limits = Resources { memory: Some(64 << 20), memory_swap, ..Default::default() };
            let limits = changed(&limits).expect("valid");
            assert_eq!(limits["memory"]["swap"], want, "{memory_swap:?}");
        }
    }

    #[test]
    fn limits_that_nothing_could_run_in_are_refused() {
        let memory = |memory, memory_swap| Resources { memory, memory_swap, ..Default::default() };
        let cpus = |nano_cpus| Resources { nano_cpus: Some(nano_cpus), ..Default::default() };
        let cases = [
            ("least", memory(Some(MEMORY_MIN), None), true),
            ("too little", memory(Some(MEMORY_MIN - 1), None), false),
            ("more than any host", memory(Some(1 << 50), None), true),
            ("swap below memory", memory(Some(64 << 20), Some(32 << 20)), false),
            ("swap alone", memory(None, Some(32 << 20)), false),
            ("no processor", cpus(1), false),
            ("a million processors", cpus(1 << 50), false),
        ];
        for (name, resources, valid) in cases {
            let host = HostConfig { resources, ..Default::default() };
            assert_eq!(check(&host).is_ok(), valid, "{name}");
        }
    }

    #[test]
    fn a_kernel_parameter_of_the_host_is_refused() {
        for (name, mine) in [
            ("net.core.somaxconn", true),
            ("kernel.shmmax", true),
            ("kernel.panic", false),
            ("net.../../kernel/panic", false),
        ] {
            assert_eq!(check_sysctl(name).is_ok(), mine, "{name}");
        }
    }
}
