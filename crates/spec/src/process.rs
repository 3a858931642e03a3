//! What `top` shows of a process.

use serde::{Deserialize, Serialize};

/// One process of a container, as `/proc` on its side of the wall describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Process number: the host's in process mode, the guest's behind a VM.
    pub pid: i32,
    /// Parent's number on the same side; 0 when the parent is outside the container.
    pub ppid: i32,
    /// Effective user id on that side.
    pub uid: u32,
    /// Effective group id on that side.
    pub gid: u32,
    /// Name of the executable, at most 15 bytes, `/proc/PID/comm`.
    pub comm: String,
    /// Command line; empty for a zombie.
    pub args: Vec<String>,
    /// One letter, `/proc/PID/stat` field 3.
    pub state: char,
    /// Controlling terminal as `ps` prints it (`pts/0`), or `?`.
    pub tty: String,
    /// Start, in seconds since 1970.
    pub started: u64,
    /// CPU time used, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Virtual memory in KiB.
    pub vsz_kib: u64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Number of threads.
    pub threads: u32,
    /// Nice value, -20 to 19.
    pub nice: i32,
}
