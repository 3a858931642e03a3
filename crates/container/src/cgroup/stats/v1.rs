//! Counters of cgroup v1.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    BlkioEntry, Error, Hugetlb, MemoryEntry, Stats, number, page_sizes, parse, table, text,
};

/// Clock ticks, in which `cpuacct.stat` counts, as nanoseconds.
const TICK: u64 = 1_000_000_000 / 100;

/// Reads what `directory` has for each controller.
pub(super) fn read<'a>(
    directory: &dyn Fn(&str) -> Option<&'a Path>,
    stats: &mut Stats,
) -> Result<(), Error> {
    if let Some(directory) = directory("cpu") {
        let table = table(directory, "cpu.stat")?;
        let get = |name: &str| table.get(name).copied().unwrap_or(0);
        let throttling = &mut stats.cpu.throttling;
        throttling.periods = get("nr_periods");
        throttling.throttled_periods = get("nr_throttled");
        throttling.throttled_time = get("throttled_time");
    }
    if let Some(directory) = directory("cpuacct") {
        cpuacct(directory, stats)?;
    }
    if let Some(directory) = directory("cpuset") {
        cpuset(directory, stats)?;
    }
    if let Some(directory) = directory("memory") {
        memory(directory, stats)?;
    }
    if let Some(directory) = directory("pids") {
        stats.pids.current = number(directory, "pids.current")?.unwrap_or(0);
        let limit = number(directory, "pids.max")?.unwrap_or(0);
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
    if let Some(directory) = directory("blkio") {
        blkio(directory, stats)?;
    }
    if let Some(directory) = directory("hugetlb") {
        hugetlb(directory, &mut stats.hugetlb)?;
    }
    Ok(())
}

fn cpuacct(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let usage = &mut stats.cpu.usage;
    let table = table(directory, "cpuacct.stat")?;
    let get = |name: &str| table.get(name).copied().unwrap_or(0) * TICK;
    (usage.user, usage.kernel) = (get("user"), get("system"));
    usage.total = number(directory, "cpuacct.usage")?.unwrap_or(0);
    let percpu = text(directory, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().map(parse).collect();
    // A header, then `cpu user system` in each line.
    for line in text(directory, "cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1).map(parse);
        usage.percpu_user.extend(fields.next());
        usage.percpu_kernel.extend(fields.next());
    }
    Ok(())
}

fn cpuset(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let set = &mut stats.cpuset;
    let get = |name: &str| number(directory, &format!("cpuset.{name}"));
    set.cpus = ranges(&text(directory, "cpuset.cpus")?.unwrap_or_default());
    set.mems = ranges(&text(directory, "cpuset.mems")?.unwrap_or_default());
    for (name, field) in [
        ("cpu_exclusive", &mut set.cpu_exclusive),
        ("mem_hardwall", &mut set.mem_hardwall),
        ("mem_exclusive", &mut set.mem_exclusive),
        ("memory_migrate", &mut set.memory_migrate),
        ("memory_spread_page", &mut set.memory_spread_page),
        ("memory_spread_slab", &mut set.memory_spread_slab),
        ("memory_pressure", &mut set.memory_pressure),
        ("sched_load_balance", &mut set.sched_load_balance),
    ] {
        *field = get(name)?.unwrap_or(0);
    }
    let level = text(directory, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    set.sched_relax_domain_level = level.trim().parse().unwrap_or(0);
    Ok(())
}

/// `0-2,5` as 0, 1, 2, 5.
pub(super) fn ranges(text: &str) -> Vec<u16> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u16>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn memory(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let memory = &mut stats.memory;
    memory.raw = table(directory, "memory.stat")?;
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.killed = table(directory, "memory.oom_control")?.remove("oom_kill").unwrap_or(0);
    let entry = |name: &str| -> Result<MemoryEntry, Error> {
        let get =
            |file| Ok::<u64, Error>(number(directory, &format!("{name}.{file}"))?.unwrap_or(0));
        Ok(MemoryEntry {
            usage: get("usage_in_bytes")?,
            max: get("max_usage_in_bytes")?,
            failcnt: get("failcnt")?,
            limit: get("limit_in_bytes")?,
        })
    };
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

/// The first family of files that the host's scheduler fills: BFQ, CFQ, or the throttling layer.
fn blkio(directory: &Path, stats: &mut Stats) -> Result<(), Error> {
    let io = &mut stats.blkio;
    for (prefix, suffix) in
        [("bfq.", "_recursive"), ("", "_recursive"), ("throttle.", "_recursive"), ("throttle.", "")]
    {
        let read = |name: &str| -> Result<Option<Vec<BlkioEntry>>, Error> {
            let text = text(directory, &format!("blkio.{prefix}{name}{suffix}"))?;
            Ok(text.map(|text| entries(&text)).filter(|list| !list.is_empty()))
        };
        let Some(bytes) = read("io_service_bytes")? else { continue };
        io.io_service_bytes_recursive = bytes;
        for (name, field) in [
            ("io_serviced", &mut io.io_serviced_recursive),
            ("io_queued", &mut io.io_queued_recursive),
            ("io_service_time", &mut io.io_service_time_recursive),
            ("io_wait_time", &mut io.io_wait_time_recursive),
            ("io_merged", &mut io.io_merged_recursive),
            ("time", &mut io.io_time_recursive),
            ("sectors", &mut io.sectors_recursive),
        ] {
            *field = read(name)?.unwrap_or_default();
        }
        break;
    }
    Ok(())
}

/// Lines `MAJOR:MINOR [OPERATION] COUNT`; a total over all devices is not one of them.
pub(super) fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| -> Option<BlkioEntry> {
        let mut fields = line.split_whitespace();
        let (major, minor) = fields.next()?.split_once(':')?;
        let (op, value) = match (fields.next()?, fields.next()) {
            (op, Some(value)) => (op.to_owned(), value),
            (value, None) => (String::new(), value),
        };
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(BlkioEntry { major, minor, op, value: parse(value) })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(directory: &Path, sizes: &mut BTreeMap<String, Hugetlb>) -> Result<(), Error> {
    for size in page_sizes() {
        let reserved = number(directory, &format!("hugetlb.{size}.rsvd.usage_in_bytes"))?;
        let kind = if reserved.is_some() { ".rsvd" } else { "" };
        let get = |file| number(directory, &format!("hugetlb.{size}{kind}.{file}"));
        let entry = Hugetlb {
            usage: get("usage_in_bytes")?.unwrap_or(0),
            max: get("max_usage_in_bytes")?.unwrap_or(0),
            failcnt: get("failcnt")?.unwrap_or(0),
        };
        sizes.insert(size, entry);
    }
    Ok(())
}
