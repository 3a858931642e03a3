//! Limits as properties of a unit.

use std::collections::HashMap;

use spec::oci::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::Error;
use super::bus::Value;
use crate::cgroup::{DeviceRule, device_rules, swap_max, weight};

type Properties = Vec<(String, Value)>;

/// Without a limit.
const INFINITY: u64 = u64::MAX;
/// The kernel's own period, in microseconds.
const PERIOD: u64 = 100_000;
/// What annotations of properties begin with.
const ANNOTATION: &str = "org.systemd.property.";

fn invalid(field: &str, reason: impl Into<String>) -> Error {
    Error::Invalid { field: field.to_owned(), reason: reason.into() }
}

/// Properties for all limits that systemd knows.
pub(super) fn limits(resources: &LinuxResources, v2: bool) -> Result<Properties, Error> {
    let mut list = Vec::new();
    let mut add = |name: &str, value: Value| list.push((name.to_owned(), value));
    if let Some(memory) = resources.memory() {
        self::memory(memory, v2, &mut add)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, v2, &mut add)?;
    }
    match resources.pids().map(|pids| pids.limit()) {
        None | Some(0) => {}
        Some(limit) => add("TasksMax", Value::U64(bytes(limit))),
    }
    let block = resources.block_io().as_ref().and_then(spec::oci::runtime::LinuxBlockIo::weight);
    if let Some(weight @ 1..) = block.filter(|_| !v2) {
        add("BlockIOWeight", Value::U64(weight.into()));
    }
    for (file, value) in resources.unified().iter().flatten() {
        unified(file, value.trim(), &mut add)?;
    }
    Ok(list)
}

/// A negative number is no limit.
fn bytes(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(INFINITY)
}

fn memory(memory: &LinuxMemory, v2: bool, add: &mut impl FnMut(&str, Value)) -> Result<(), Error> {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let limit = set(memory.limit());
    if let Some(limit) = limit {
        add(if v2 { "MemoryMax" } else { "MemoryLimit" }, Value::U64(bytes(limit)));
    }
    if !v2 {
        return Ok(());
    }
    if let Some(low) = set(memory.reservation()) {
        add("MemoryLow", Value::U64(bytes(low)));
    }
    let swap = swap_max(limit, set(memory.swap()));
    let swap = swap.map_err(|error| invalid("linux.resources.memory", error.to_string()))?;
    if let Some(swap) = swap {
        add("MemorySwapMax", Value::U64(bytes(swap)));
    }
    Ok(())
}

fn cpu(cpu: &LinuxCpu, v2: bool, add: &mut impl FnMut(&str, Value)) -> Result<(), Error> {
    if let Some(shares @ 1..) = cpu.shares() {
        match (v2, cpu.idle()) {
            // An idle group has no weight.
            (true, Some(1)) => {}
            (true, _) => add("CPUWeight", Value::U64(weight(shares))),
            (false, _) => add("CPUShares", Value::U64(shares)),
        }
    }
    quota(cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), add);
    for (value, name, field) in [
        (cpu.cpus(), "AllowedCPUs", "linux.resources.cpu.cpus"),
        (cpu.mems(), "AllowedMemoryNodes", "linux.resources.cpu.mems"),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            let set = bits(value).ok_or_else(|| invalid(field, format!("{value:?} is no list")))?;
            add(name, Value::Bytes(set));
        }
    }
    Ok(())
}

/// systemd counts microseconds of each second, and takes whole percents: rounded up.
fn quota(quota: i64, period: u64, add: &mut impl FnMut(&str, Value)) {
    if period != 0 {
        add("CPUQuotaPeriodUSec", Value::U64(period));
    }
    if quota == 0 && period == 0 {
        return;
    }
    let period = if period == 0 { PERIOD } else { period };
    let each_second = match u64::try_from(quota) {
        Ok(0) | Err(_) => INFINITY,
        Ok(quota) => (quota.saturating_mul(1_000_000) / period).next_multiple_of(10_000),
    };
    add("CPUQuotaPerSecUSec", Value::U64(each_second));
}

/// `0-1,8` as bits, the lowest first.
pub(super) fn bits(list: &str) -> Option<Vec<u8>> {
    let mut set = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        if from > to {
            return None;
        }
        for number in from..=to {
            let byte = usize::from(number / 8);
            if set.len() <= byte {
                set.resize(byte + 1, 0);
            }
            set[byte] |= 1 << (number % 8);
        }
    }
    (!set.is_empty()).then_some(set)
}

/// A file of `linux.resources.unified`; those that systemd does not know are written by us alone.
fn unified(file: &str, value: &str, add: &mut impl FnMut(&str, Value)) -> Result<(), Error> {
    let wrong = || invalid("linux.resources.unified", format!("{file}: invalid value {value:?}"));
    let number = |text: &str| match text {
        "max" => Ok(INFINITY),
        text => text.parse::<u64>().map_err(|_| wrong()),
    };
    let name = match file {
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpuset.cpus" | "cpuset.mems" => {
            let name = if file.ends_with("cpus") { "AllowedCPUs" } else { "AllowedMemoryNodes" };
            add(name, Value::Bytes(bits(value).ok_or_else(wrong)?));
            return Ok(());
        }
        "cpu.max" => {
            let (most, period) = value.split_once(' ').unwrap_or((value, "100000"));
            let most = if most == "max" { -1 } else { most.parse().map_err(|_| wrong())? };
            quota(most, period.trim().parse().map_err(|_| wrong())?, add);
            return Ok(());
        }
        _ => return Ok(()),
    };
    // systemd does not take zero for a number of tasks.
    let least = u64::from(name == "TasksMax");
    add(name, Value::U64(number(value)?.max(least)));
    Ok(())
}

/// Which devices there are: systemd would allow all of them again on its next reload.
pub(super) fn devices(resources: Option<&LinuxResources>) -> Result<Properties, Error> {
    let rules = device_rules(resources);
    let rules = rules.map_err(|error| invalid("linux.resources.devices", error.to_string()))?;
    let clear = ("DeviceAllow".to_owned(), Value::Pairs(Vec::new()));
    let policy = |name: &str| ("DevicePolicy".to_owned(), Value::Text(name.to_owned()));
    let path = |rule: &DeviceRule| {
        let kind = if rule.block { "block" } else { "char" };
        match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
            (Some(major), None) => Some(format!("{kind}-{major}")),
            (None, None) => Some(format!("{kind}-*")),
            // systemd has no word for it; our own rules do.
            (None, Some(_)) => None,
        }
    };
    Ok(match rules {
        None => vec![clear, policy("auto")],
        Some(rules) => {
            let pairs = rules.iter().filter_map(|rule| Some((path(rule)?, rule.access.clone())));
            let allow = ("DeviceAllow".to_owned(), Value::Pairs(pairs.collect()));
            vec![clear, policy("strict"), allow]
        }
    })
}

/// Properties that annotations set: `org.systemd.property.NAME` with a value as `gdbus` writes it.
pub(super) fn annotated(annotations: &HashMap<String, String>) -> Result<Properties, Error> {
    let mut list = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(invalid(key, "not the name of a property"));
        }
        let value = typed(text).ok_or_else(|| invalid(key, format!("{text:?} is no value")))?;
        match (name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')), value) {
            // Seconds become what systemd counts.
            (Some(stem), Value::U64(seconds)) => {
                list.push((format!("{stem}USec"), Value::U64(seconds.saturating_mul(1_000_000))));
            }
            (_, value) => list.push((name.to_owned(), value)),
        }
    }
    Ok(list)
}

fn typed(text: &str) -> Option<Value> {
    let text = text.trim();
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Some(Value::Text(inner.to_owned()));
        }
    }
    match text.split_once(' ') {
        Some(("uint64", number)) => number.parse().ok().map(Value::U64),
        Some(("int64", number)) => number.parse().ok().map(Value::I64),
        Some(("uint32", number)) => number.parse().ok().map(Value::U32),
        Some(("int32", number)) => number.parse().ok().map(Value::I32),
        Some(_) => None,
        None if text == "true" || text == "false" => Some(Value::Bool(text == "true")),
        None => text.parse().ok().map(Value::I32),
    }
}
