//! What a container uses, in the shape of runc's `events`: engines read it from there.
//!
//! Times are nanoseconds, sizes bytes. Without a limit a limit is `u64::MAX`, but for `pids`, where it
//! is 0.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Error, Hierarchy, View, find};

/// Everything that is counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// The cpuset's settings, on cgroup v1.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages by size, such as `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Intel RDT, of which Hull counts nothing.
    pub intel_rdt: BTreeMap<String, String>,
    /// Interfaces that the runtime made: none.
    pub network_interfaces: Option<()>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// What was used.
    pub usage: CpuUsage,
    /// How the quota held it back.
    pub throttling: Throttling,
    /// How long processes waited for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processor time that was used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// In all.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By each processor, on cgroup v1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// The same in the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// The same outside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside it.
    pub user: u64,
}

/// How the quota held processes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Those in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// How long it was.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Pressure stall information. Spec: kernel accounting/psi.rst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some task was stalled.
    pub some: Stall,
    /// All tasks were.
    pub full: Stall,
}

/// Shares of time in percent, and the time in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// Over ten seconds.
    pub avg10: f64,
    /// Over a minute.
    pub avg60: f64,
    /// Over five minutes.
    pub avg300: f64,
    /// Since the beginning.
    pub total: u64,
}

/// The files of a v1 cpuset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Cpuset {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Pages of files.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory alone.
    pub usage: MemoryEntry,
    /// Memory plus swap.
    pub swap: MemoryEntry,
    /// The kernel's on behalf of the container, on cgroup v1.
    pub kernel: MemoryEntry,
    /// Its network buffers, on cgroup v1.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// How many processes the kernel killed for want of it; runc's `events` does not tell.
    #[serde(skip)]
    pub killed: u64,
    /// `memory.stat`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// How long processes waited for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A kind of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryEntry {
    /// How much there may be.
    pub limit: u64,
    /// How much there is.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// How much there was at most.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often it was not enough.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; 0 for any number.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A counter of a block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Its minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The count.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hugetlb {
    /// Bytes in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Bytes that were in use at most, on cgroup v1.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often they were not to be had.
    pub failcnt: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl View {
    /// What is used now.
    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        match self {
            Self::V1(list) => {
                for hierarchy in list {
                    if hierarchy.unified {
                        v2::hugetlb(&hierarchy.directory, &mut stats)?;
                    }
                }
                v1::read(&|name| v1_directory(list, name), &mut stats)?;
            }
            Self::V2 { directory, .. } => v2::read(directory, &mut stats)?,
        }
        Ok(stats)
    }
}

fn v1_directory<'a>(list: &'a [Hierarchy], controller: &str) -> Option<&'a Path> {
    find(list, controller).filter(|one| !one.unified).map(|one| one.directory.as_path())
}

/// A file's text; `None` when there is no such file, as without its controller.
fn text(directory: &Path, name: &str) -> Result<Option<String>, Error> {
    let path = directory.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        // A pressure file of a kernel without psi=1 is there but cannot be read.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::EOPNOTSUPP) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// A file of one number; `max` is the greatest there is.
fn number(directory: &Path, name: &str) -> Result<Option<u64>, Error> {
    Ok(text(directory, name)?.map(|text| parse(&text)))
}

fn parse(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        // Counters that the kernel lets go below zero for a moment.
        text => text.parse().unwrap_or(0),
    }
}

/// A file of lines `NAME NUMBER`.
fn table(directory: &Path, name: &str) -> Result<BTreeMap<String, u64>, Error> {
    let text = text(directory, name)?.unwrap_or_default();
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), parse(value)))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Sizes of huge pages as cgroup files name them.
fn page_sizes() -> Vec<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let name = |kib: u64| match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    };
    entries
        .filter_map(|entry| {
            let file = entry.file_name();
            let kib = file.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            kib.parse().ok().map(name)
        })
        .collect()
}

#[cfg(test)]
mod tests;
