//! Reaping processes that are the shim's only by adoption.
//!
//! A container in the host's pid namespace, and helpers that fork, leave orphans to the shim. Its own
//! children are reaped by whoever made them, at once; so a child that has been dead for [`GRACE`] is
//! an orphan.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How long our own children may stay unreaped.
const GRACE: Duration = Duration::from_secs(3);

/// Starts the thread. Without it orphans stay until the shim ends, so a failure is only told.
pub(crate) fn start() {
    let thread = thread::Builder::new().name("reaper".into()).stack_size(128 << 10);
    if let Err(error) = thread.spawn(run) {
        tracing::warn!(%error, "orphans will not be reaped");
    }
}

fn run() {
    let mut before = HashSet::new();
    loop {
        // Blocks while all children live. It fails while there are none.
        let _ = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        thread::sleep(GRACE);
        let dead = dead_children();
        for pid in dead.intersection(&before).filter_map(|pid| Pid::from_raw(*pid)) {
            if waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).is_ok() {
                tracing::debug!(pid = pid.as_raw_nonzero().get(), "orphan reaped");
            }
        }
        before = dead;
    }
}

fn dead_children() -> HashSet<i32> {
    let children = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists: Vec<String> = tasks.filter_map(children).collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.filter_map(|pid| pid.parse().ok()).filter(|pid| is_zombie(*pid)).collect()
}

/// Field 3 of `/proc/PID/stat`, after the name in parentheses, which may hold anything.
fn is_zombie(pid: i32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
    after_name == Some(&b'Z')
}
