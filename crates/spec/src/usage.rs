//! What a container uses, as the engine is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counters of a container and of the system it runs on: the host's, or those of its VM. Times are
/// nanoseconds, sizes bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub block: Block,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// What the container used.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// Outside it.
    pub user: u64,
    /// By each processor, on cgroup v1.
    pub each: Vec<u64>,
    /// What the whole system used and idled.
    pub system: u64,
    /// How many processors the system has.
    pub online: u32,
    /// Periods of the quota that passed.
    pub periods: u64,
    /// Those in which it was used up.
    pub throttled_periods: u64,
    /// How long it was.
    pub throttled_time: u64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// How much there is.
    pub usage: u64,
    /// How much there was at most, on cgroup v1.
    pub max: u64,
    /// How much there may be; without a limit, all that the system has.
    pub limit: u64,
    /// How often it was not enough, on cgroup v1.
    pub failures: u64,
    /// How many processes the kernel killed for want of it.
    #[serde(default)]
    pub killed: u64,
    /// `memory.stat`.
    pub stat: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for any number.
    pub limit: u64,
}

/// Block devices; all but the first two on cgroup v1 alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct Block {
    pub service_bytes: Vec<Counter>,
    pub serviced: Vec<Counter>,
    pub queued: Vec<Counter>,
    pub service_time: Vec<Counter>,
    pub wait_time: Vec<Counter>,
    pub merged: Vec<Counter>,
    pub time: Vec<Counter>,
    pub sectors: Vec<Counter>,
}

/// A counter of a block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The device's major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
    /// `Read`, `Write`, …; empty where the kernel does not tell them apart.
    pub op: String,
    /// The count.
    pub value: u64,
}
