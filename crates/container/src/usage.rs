//! What an engine is told of a container's usage: its cgroups' counters beside the system's own, so
//! that a share of the processors can be told from two of them.

use std::fs;

use spec::usage::{Block, Counter, Cpu, Memory, Pids, Usage};

use crate::cgroup::{Blkio, BlkioEntry, Stats};

/// `/proc/stat` counts in hundredths of a second: `USER_HZ` is the same everywhere on Linux.
const TICK_NS: u64 = 10_000_000;
/// user, nice, system, idle, iowait, irq, softirq: what is left is counted in these already.
const COLUMNS: usize = 7;

/// The usage that `stats` tells, read just now.
pub(crate) fn of(stats: Stats) -> Usage {
    let (cpu, memory) = (stats.cpu, stats.memory);
    let all = rustix::system::sysinfo();
    let installed = u64::from(all.mem_unit).saturating_mul(all.totalram);
    Usage {
        cpu: Cpu {
            total: cpu.usage.total,
            kernel: cpu.usage.kernel,
            user: cpu.usage.user,
            each: cpu.usage.percpu,
            system: system(&fs::read_to_string("/proc/stat").unwrap_or_default()),
            online: processors(),
            periods: cpu.throttling.periods,
            throttled_periods: cpu.throttling.throttled_periods,
            throttled_time: cpu.throttling.throttled_time,
        },
        memory: Memory {
            usage: memory.usage.usage,
            max: memory.usage.max,
            limit: memory.usage.limit.min(installed),
            failures: memory.usage.failcnt,
            killed: memory.killed,
            stat: memory.raw,
        },
        pids: Pids { current: stats.pids.current, limit: stats.pids.limit },
        block: block(stats.blkio),
    }
}

/// The first line of `/proc/stat` in nanoseconds; 0 where it cannot be read.
fn system(text: &str) -> u64 {
    let line = text.lines().next().unwrap_or_default();
    let columns = line.split_whitespace().skip(1).take(COLUMNS);
    columns.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>().saturating_mul(TICK_NS)
}

fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn block(counted: Blkio) -> Block {
    let list = |entries: Vec<BlkioEntry>| entries.into_iter().map(counter).collect();
    Block {
        service_bytes: list(counted.io_service_bytes_recursive),
        serviced: list(counted.io_serviced_recursive),
        queued: list(counted.io_queued_recursive),
        service_time: list(counted.io_service_time_recursive),
        wait_time: list(counted.io_wait_time_recursive),
        merged: list(counted.io_merged_recursive),
        time: list(counted.io_time_recursive),
        sectors: list(counted.sectors_recursive),
    }
}

fn counter(entry: BlkioEntry) -> Counter {
    let BlkioEntry { major, minor, op, value } = entry;
    Counter { major, minor, op, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_time_is_the_sum_of_the_first_seven_columns() {
        let text = "cpu  1 2 3 4 5 6 7 800 900 1000\ncpu0 1 1 1 1\n";
        assert_eq!(system(text), 28 * TICK_NS);
        assert_eq!(system(""), 0);
    }
}
