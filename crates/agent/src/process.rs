//! One process that the shim knows: a container's init or an exec.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use container::{Gate, Launched};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};
use rustix::termios::Winsize;

/// A process from its gate to its end and beyond, until it is deleted.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
    pty: Option<OwnedFd>,
    /// An exec's, until it is opened; an init's is in its container's state.
    gate: Mutex<Option<Gate>>,
    code: Mutex<Option<u8>>,
    ended: Condvar,
}

impl Process {
    /// A process that is to be [reaped](Self::reap).
    pub(crate) fn new(launched: Launched, gate: Option<Gate>) -> Arc<Self> {
        Arc::new(Self {
            pidfd: launched.pidfd,
            pty: launched.pty,
            gate: Mutex::new(gate),
            code: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    /// Takes its exit code when it ends.
    pub(crate) fn reap(&self) {
        let code = loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
            {
                Ok(Some(status)) => break exit_code(&status),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                // Somebody else reaped it: the kernel no longer knows how it ended.
                Err(_) => break u8::MAX,
            }
        };
        *lock(&self.code) = Some(code);
        self.ended.notify_all();
        reap_orphans();
    }

    /// Blocks until it ends; gives its exit code.
    pub(crate) fn wait(&self) -> u8 {
        let mut code = lock(&self.code);
        loop {
            match *code {
                Some(code) => return code,
                None => code = self.ended.wait(code).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.code).is_some()
    }

    /// Its terminal.
    pub(crate) fn pty(&self) -> Option<&OwnedFd> {
        self.pty.as_ref()
    }

    /// Its gate, once.
    pub(crate) fn take_gate(&self) -> Option<Gate> {
        lock(&self.gate).take()
    }

    /// Sends it a signal; `ESRCH` when it has ended.
    pub(crate) fn signal(&self, signal: spec::Signal) -> io::Result<()> {
        sys::pidfd::signal(self.pidfd.as_fd(), signal.number())
    }

    /// Sets its terminal's size; nothing to do without one.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        match &self.pty {
            Some(pty) => Ok(rustix::termios::tcsetwinsize(pty, size)?),
            None => Ok(()),
        }
    }
}

/// What a shell would show as `$?`.
fn exit_code(status: &WaitIdStatus) -> u8 {
    let signalled = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(signalled);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Reaps children that nobody started: processes whose parents ended in a container without a pid
/// namespace of its own. A zombie of our own is told from them by waiting: its starter reaps it soon.
fn reap_orphans() {
    let before = zombies();
    if before.is_empty() {
        return;
    }
    thread::sleep(std::time::Duration::from_secs(1));
    for pid in zombies().into_iter().filter(|pid| before.contains(pid)) {
        // It may be gone, which is what is wanted.
        let _ = rustix::process::waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
    }
}

fn zombies() -> Vec<Pid> {
    let zombie = |entry: io::Result<fs::DirEntry>| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        (fields.next() == Some("Z") && fields.next() == Some("1")).then_some(pid)
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(zombie)
        .filter_map(Pid::from_raw)
        .collect()
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
