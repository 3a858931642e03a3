//! Removing what a VM left on the host when its shim was killed.
//!
//! The worker normally died with its shim, and it has no files. What can be left is the redirection
//! in the container's network namespace, the console's socket, control groups, and a worker whose death signal was
//! lost.

use std::fs;
use std::io;
use std::path::Path;

use container::cgroup::Group;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, Signal};
use spec::options::Options;
use spec::{ContainerId, Pid, annotation};

use super::{console, network, translate};
use crate::Facts;

/// The worker's name, which tells it from a process that got its number later.
const WORKER: &str = "hull-vmwp";
/// How long a killed worker may take to end.
const DEATH: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The worker could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("kill VM worker {pid}")]
pub struct Error {
    pid: Pid,
    source: io::Error,
}

/// Removes it, as far as there is any. A container in another's VM has left nothing: the VM is the other's.
pub fn clean(
    options: &Options,
    container: &ContainerId,
    bundle: &Path,
) -> Result<(), super::Error> {
    options.vm.console.as_deref().into_iter().for_each(console::clean);
    let bytes = std::fs::read(bundle.join("config.json")).unwrap_or_default();
    let spec = spec::config::spec(&bytes).ok().map(|spec| spec.value);
    if spec.as_ref().and_then(annotation::sandbox).is_some() {
        return Ok(());
    }
    let worker = Facts::read(bundle).and_then(|facts| facts.worker_pid);
    let killed = worker.map_or(Ok(()), |pid| kill(pid).map_err(|source| Error { pid, source }));
    let path = spec.as_ref().and_then(super::cgroup);
    let unbound = Group::clean(path.as_deref(), container.as_str()).map_err(super::Error::Bounds);
    if let (Some(_), Some(netns)) = (worker, spec.and_then(|spec| translate::netns(&spec))) {
        network::clean(&netns);
    }
    killed?;
    unbound
}

/// Kills the worker with this number, if that is what it is, and waits for its end.
fn kill(pid: Pid) -> io::Result<()> {
    let Some(raw) = rustix::process::Pid::from_raw(pid.raw()) else { return Ok(()) };
    let pidfd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    // The name is read after the descriptor was opened: both are of the same process.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim_end() != WORKER {
        return Ok(());
    }
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        sent => sent?,
    }
    match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&DEATH))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
