//! Keeping one process's standard streams: between its pipes and whoever is attached.
//!
//! One thread a process, blocked in poll(2); nothing else touches the descriptors.
//!
//! ```text
//!   attach socket --> peer --+--> stdin pipe ------> process
//!   fifo ----------> peer ---+
//!                            +<-- stdout, stderr pipes <-- process
//!   json.log <---- journal --+
//! ```
//!
//! Invariants: no byte of the process is dropped while it lives; a peer more than [`LIMIT`] behind
//! stops the reading of the pipes and so the process, but never the journal of what was read. The
//! end of a process is told ([`Keeper::drain`]) only after its last byte is in the journal and in
//! every peer's queue.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::keeper::journal::Journal;
use crate::keeper::peer::{Framing, Peer};
use crate::keeper::pump::Pump;
use crate::keeper::rotate::Rotating;

pub(crate) mod journal;
pub(crate) mod peer;
mod pump;
pub(crate) mod rotate;

/// How far a peer may be behind before the process is held up, in bytes.
const LIMIT: usize = 1 << 20;

/// One of the two output streams. The numbers are those of Docker's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard output, and all that comes from a terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// Our ends of a process's pipes, and where they lead.
pub(crate) struct Streams {
    /// What the process reads.
    pub(crate) stdin: Option<OwnedFd>,
    /// What it writes.
    pub(crate) stdout: Option<OwnedFd>,
    /// What it writes to standard error.
    pub(crate) stderr: Option<OwnedFd>,
    /// How output is wrapped for those who attach.
    pub(crate) framing: Framing,
    /// Where clients attach.
    pub(crate) door: Option<Door>,
    /// Who is attached from the beginning.
    pub(crate) peers: Vec<Peer>,
    /// The container's log.
    pub(crate) journal: Option<Journal<Rotating>>,
}

/// A listening socket whose file goes when it does.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

/// The handle of a process's keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

/// What the keeper's thread and its handle tell each other.
#[derive(Debug)]
struct Shared {
    /// Wakes the thread after `orders` changed.
    wake: OwnedFd,
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Orders {
    /// Asked: end standard input.
    close_stdin: bool,
    /// Told: the process has ended.
    ended: bool,
    /// Answered: its output was read to the end, or a survivor holds the pipes.
    drained: bool,
    /// Answered: every peer has what was for it.
    finished: bool,
}

impl Door {
    /// Listens at `path`, taking the place of what an earlier shim left there.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let door = Self { listener, path };
        door.listener.set_nonblocking(true)?;
        Ok(door)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may be gone already: `delete` and the engine remove whole directories.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Keeper {
    /// Starts to keep `streams`.
    pub(crate) fn spawn(streams: Streams) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let orders = Mutex::new(Orders::default());
        let shared = Arc::new(Shared { wake, orders, changed: Condvar::new() });
        let pump = Pump::new(streams, Arc::clone(&shared))?;
        let keeper = Self { shared };
        thread::Builder::new()
            .name("keeper".into())
            .stack_size(128 << 10)
            .spawn(move || pump.run())?;
        Ok(keeper)
    }

    /// Ends standard input after what was already sent.
    pub(crate) fn close_stdin(&self) {
        self.shared.order(|orders| orders.close_stdin = true);
    }

    /// Tells that the process has ended; returns when its output is read to the end, or when it is
    /// clear that a process which outlived it holds the pipes.
    pub(crate) fn drain(&self) {
        self.shared.order(|orders| orders.ended = true);
        let orders = self.shared.lock();
        let drained = self.shared.changed.wait_while(orders, |orders| !orders.drained);
        drop(drained.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether every peer has received what was for it.
    pub(crate) fn finished(&self) -> bool {
        self.shared.lock().finished
    }

    /// Waits until every peer has received what was for it, at most for `patience`.
    pub(crate) fn finish(&self, patience: Duration) {
        let orders = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(orders, patience, |orders| {
            // Without an end nothing was promised to anyone.
            orders.ended && !orders.finished
        });
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Keeper {
    /// A process that was never made, or is forgotten, has ended for its keeper too.
    fn drop(&mut self) {
        self.shared.order(|orders| orders.ended = true);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the orders and wakes the thread.
    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock());
        // Fails only when the counter is full, and then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Changes the answers and wakes whoever waits for them.
    fn answer(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
