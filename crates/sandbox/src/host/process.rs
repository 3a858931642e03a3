//! A process on the host, from its gate to its exit status.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use container::{Gate, Launched};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use rustix::termios::{Winsize, tcsetwinsize};
use spec::{Exit, Kind, Pid, ProcessId, Signal};

use super::terminal;
use crate::{Stdio, WindowSize};

/// Why a process could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its terminal has no thread.
    #[error("start the terminal of {id}")]
    Terminal {
        /// The process.
        id: ProcessId,
        /// Why.
        source: io::Error,
    },
    /// It has no terminal.
    #[error("{0} has no terminal")]
    NoTerminal(ProcessId),
    /// The terminal refused the size.
    #[error("resize the terminal of {id}")]
    Resize {
        /// The process.
        id: ProcessId,
        /// Why.
        source: io::Error,
    },
    /// It is past its gate.
    #[error("{0} was already started")]
    Started(ProcessId),
    /// It has not ended.
    #[error("{0} has not ended")]
    Alive(ProcessId),
    /// It has ended.
    #[error("{0} has already ended")]
    Ended(ProcessId),
    /// The kernel refused the signal.
    #[error("send {signal} to {id}")]
    Signal {
        /// The process.
        id: ProcessId,
        /// What was to be sent.
        signal: Signal,
        /// Why.
        source: io::Error,
    },
    /// Its exit status cannot be had.
    #[error("wait for {id}")]
    Wait {
        /// The process.
        id: ProcessId,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Terminal { .. } => Kind::Exhausted,
            Self::NoTerminal(_) | Self::Started(_) | Self::Alive(_) => Kind::Conflict,
            Self::Ended(_) => Kind::NotFound,
            Self::Resize { .. } | Self::Signal { .. } | Self::Wait { .. } => Kind::Internal,
        }
    }
}

/// A child of ours that is a container's init or an exec.
#[derive(Debug)]
pub(super) struct Process {
    id: ProcessId,
    pid: Pid,
    pidfd: OwnedFd,
    terminal: Option<Arc<OwnedFd>>,
    /// An exec's gate until it is opened; an init's is the container's.
    gate: Mutex<Option<Gate>>,
    /// Known once it was reaped.
    exit: Mutex<Option<Exit>>,
}

impl Process {
    /// Takes over what was launched; with a terminal, `ends` are where its bytes go.
    pub(super) fn new(
        id: ProcessId,
        launched: Launched,
        gate: Option<Gate>,
        ends: Stdio,
    ) -> Result<Self, Error> {
        let Launched { pid, pidfd, pty, warnings } = launched;
        for warning in warnings {
            tracing::warn!(process = %id, warning, "made with less than was asked");
        }
        let terminal = pty.map(Arc::new);
        let gate = Mutex::new(gate);
        let process = Self { id, pid, pidfd, terminal, gate, exit: Mutex::new(None) };
        if let Some(terminal) = &process.terminal {
            let started = terminal::start(Arc::clone(terminal), ends);
            if let Err(source) = started {
                // It ends with us; an error there would only hide this one.
                let _ = process.signal(Signal::KILL).and_then(|()| process.wait());
                return Err(Error::Terminal { id: process.id, source });
            }
        }
        Ok(process)
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its gate, to be opened; there is one once.
    pub(super) fn gate(&self) -> Result<Gate, Error> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        gate.ok_or_else(|| Error::Started(self.id.clone()))
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Error> {
        match sys::pidfd::signal(self.pidfd.as_fd(), signal.number()) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                Err(Error::Ended(self.id.clone()))
            }
            Err(source) => Err(Error::Signal { id: self.id.clone(), signal, source }),
        }
    }

    pub(super) fn resize(&self, size: WindowSize) -> Result<(), Error> {
        let terminal = self.terminal.as_ref().ok_or_else(|| Error::NoTerminal(self.id.clone()))?;
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal, size)
            .map_err(|error| Error::Resize { id: self.id.clone(), source: error.into() })
    }

    /// Blocks until it ends. The kernel tells the status once; it is kept for all who ask.
    pub(super) fn wait(&self) -> Result<Exit, Error> {
        self.poll(None)?;
        self.reap()
    }

    /// How it ended, without waiting for that.
    pub(super) fn ended(&self) -> Result<Exit, Error> {
        if self.poll(Some(&Timespec::default()))? {
            self.reap()
        } else {
            Err(Error::Alive(self.id.clone()))
        }
    }

    /// Whether it ended within `patience`; `None` is for ever. A pidfd stays readable after reaping.
    fn poll(&self, patience: Option<&Timespec>) -> Result<bool, Error> {
        loop {
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, patience) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.wait_failed(error)),
            }
        }
    }

    fn reap(&self) -> Result<Exit, Error> {
        let mut exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exit) = *exit {
            return Ok(exit);
        }
        let status = loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(status) => break status,
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.wait_failed(error)),
            }
        };
        let code = status.as_ref().map_or(u8::MAX, code);
        Ok(*exit.insert(Exit::now(code)))
    }

    fn wait_failed(&self, error: Errno) -> Error {
        Error::Wait { id: self.id.clone(), source: error.into() }
    }
}

/// What a shell would show: the status, or 128 and the signal.
fn code(status: &WaitIdStatus) -> u8 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or(signalled);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
