//! Notice of a container that runs out of memory.
//!
//! On cgroup v1 the kernel counts it into an eventfd, which it also wakes when the cgroup is removed.
//! On v2 files change: `memory.events` when a process was killed, `cgroup.events` when the last one is
//! gone.
//!
//! Spec: kernel cgroup-v1/memory.rst "OOM Control"; cgroup-v2.rst, `memory.events`.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;

/// What happened to a watched container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It ran out of memory, and the kernel killed a process of it or holds it back.
    OutOfMemory,
    /// Its last process has ended.
    Ended,
    /// Nothing so far.
    Nothing,
}

/// A watch over a container's memory. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    /// An eventfd or an inotify instance.
    events: OwnedFd,
    source: Source,
    /// The init process: poll it for the end.
    init: OwnedFd,
}

#[derive(Debug)]
enum Source {
    V1 {
        directory: PathBuf,
        /// The kernel counts as long as it is open.
        _control: File,
    },
    V2 {
        directory: PathBuf,
        killed: std::cell::Cell<u64>,
    },
}

impl Watch {
    /// Watches the v1 memory cgroup `directory`.
    pub(crate) fn v1(directory: &Path, init: OwnedFd) -> io::Result<Self> {
        let control = File::open(directory.join("memory.oom_control"))?;
        let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let line = format!("{} {}", events.as_raw_fd(), control.as_raw_fd());
        fs::write(directory.join("cgroup.event_control"), line)?;
        let source = Source::V1 { directory: directory.to_owned(), _control: control };
        Ok(Self { events, source, init })
    }

    /// Watches the v2 cgroup `directory`.
    pub(crate) fn v2(directory: &Path, init: OwnedFd) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let events = inotify::init(flags)?;
        for name in ["memory.events", "cgroup.events"] {
            inotify::add_watch(&events, directory.join(name), inotify::WatchFlags::MODIFY)?;
        }
        let killed = std::cell::Cell::new(killed(directory).unwrap_or(0));
        let source = Source::V2 { directory: directory.to_owned(), killed };
        Ok(Self { events, source, init })
    }

    /// Waits for news, at most for `patience`.
    pub fn wait(&self, patience: Duration) -> io::Result<Notice> {
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut fds =
            [PollFd::new(&self.events, PollFlags::IN), PollFd::new(&self.init, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))?;
        let (news, ended) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        // The end comes last: what killed the init is told before.
        if news && self.is_out_of_memory() {
            return Ok(Notice::OutOfMemory);
        }
        Ok(if ended { Notice::Ended } else { Notice::Nothing })
    }

    fn is_out_of_memory(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        match &self.source {
            Source::V1 { directory, .. } => {
                let count = rustix::io::read(&self.events, &mut buffer[..8]);
                // Removing the cgroup wakes too.
                count.is_ok() && directory.join("cgroup.event_control").exists()
            }
            Source::V2 { directory, killed: before } => {
                let mut reader = inotify::Reader::new(self.events.as_fd(), &mut buffer);
                while reader.next().is_ok() {}
                let Some(now) = killed(directory) else { return false };
                before.replace(now) < now
            }
        }
    }
}

/// How many processes the kernel killed for memory in the v2 cgroup `directory`.
fn killed(directory: &Path) -> Option<u64> {
    let text = fs::read_to_string(directory.join("memory.events")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}
