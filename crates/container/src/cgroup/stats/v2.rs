//! Counters of cgroup v2.

use std::path::Path;

use super::{BlkioEntry, Error, Hugetlb, MemoryEntry, Pressure, Stall, Stats};
use super::{number, page_sizes, parse, table, text};

pub(super) fn read(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let cpu = table(directory, "cpu.stat")?;
    let get = |name: &str| cpu.get(name).copied().unwrap_or(0);
    let usage = &mut stats.cpu.usage;
    usage.total = get("usage_usec") * 1000;
    (usage.user, usage.kernel) = (get("user_usec") * 1000, get("system_usec") * 1000);
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = get("nr_periods");
    throttling.throttled_periods = get("nr_throttled");
    throttling.throttled_time = get("throttled_usec") * 1000;
    stats.cpu.psi = pressure(directory, "cpu.pressure")?;

    memory(directory, stats)?;

    stats.pids.current = number(directory, "pids.current")?.unwrap_or(0);
    let limit = number(directory, "pids.max")?.unwrap_or(0);
    stats.pids.limit = if limit == u64::MAX { 0 } else { limit };

    let io = text(directory, "io.stat")?.unwrap_or_default();
    for (bytes, entry) in io.lines().flat_map(entries) {
        let list = if bytes {
            &mut stats.blkio.io_service_bytes_recursive
        } else {
            &mut stats.blkio.io_serviced_recursive
        };
        list.push(entry);
    }
    stats.blkio.psi = pressure(directory, "io.pressure")?;
    hugetlb(directory, stats)
}

/// Swap is reported as memory plus swap, as cgroup v1 counts it.
fn memory(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let memory = &mut stats.memory;
    memory.raw = table(directory, "memory.stat")?;
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.killed = table(directory, "memory.events")?.remove("oom_kill").unwrap_or(0);
    memory.psi = pressure(directory, "memory.pressure")?;
    let get = |name: &str| number(directory, name);
    let Some(usage) = get("memory.current")? else { return Ok(()) };
    memory.usage = MemoryEntry {
        usage,
        limit: get("memory.max")?.unwrap_or(u64::MAX),
        max: get("memory.peak")?.unwrap_or(0),
        failcnt: 0,
    };
    let swap = get("memory.swap.current")?.unwrap_or(0);
    let limit = get("memory.swap.max")?.unwrap_or(0);
    memory.swap = MemoryEntry {
        usage: usage + swap,
        limit: limit.saturating_add(memory.usage.limit),
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 …`: whether it is bytes, and the entry.
pub(super) fn entries(line: &str) -> Vec<(bool, BlkioEntry)> {
    let Some((device, fields)) = line.split_once(' ') else { return Vec::new() };
    let Some((major, minor)) = device.split_once(':') else { return Vec::new() };
    let (major, minor) = (parse(major), parse(minor));
    let field = |field: &str| {
        let (name, value) = field.split_once('=')?;
        let (bytes, op) = match name {
            "rbytes" => (true, "Read"),
            "wbytes" => (true, "Write"),
            "rios" => (false, "Read"),
            "wios" => (false, "Write"),
            _ => return None,
        };
        Some((bytes, BlkioEntry { major, minor, op: op.to_owned(), value: parse(value) }))
    };
    fields.split_whitespace().filter_map(field).collect()
}

pub(super) fn hugetlb(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    for size in page_sizes() {
        let reserved = number(directory, &format!("hugetlb.{size}.rsvd.current"))?;
        let usage = match reserved {
            Some(usage) => usage,
            None => match number(directory, &format!("hugetlb.{size}.current"))? {
                Some(usage) => usage,
                None => continue,
            },
        };
        let events = table(directory, &format!("hugetlb.{size}.events"))?;
        let failcnt = events.get("max").copied().unwrap_or(0);
        stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    Ok(())
}

fn pressure(directory: &Path, name: &str) -> Result<Option<Pressure>, Error> {
    Ok(text(directory, name)?.map(|text| stalls(&text)))
}

/// Lines such as `some avg10=0.12 avg60=0.00 avg300=0.00 total=1234`.
pub(super) fn stalls(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let stall = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        *stall = Stall::default();
        for (name, value) in fields.filter_map(|field| field.split_once('=')) {
            let share = value.parse().unwrap_or(0.0);
            match name {
                "avg10" => stall.avg10 = share,
                "avg60" => stall.avg60 = share,
                "avg300" => stall.avg300 = share,
                "total" => stall.total = parse(value),
                _ => {}
            }
        }
    }
    pressure
}
