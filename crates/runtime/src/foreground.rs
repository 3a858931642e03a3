//! Waiting for a process in the foreground: its terminal and the caller's signals are passed on.
//!
//! ```text
//!   poll: signalfd -> to the process     stdin -> pty -> stdout     pidfd -> exit status
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use container::Launched;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use rustix::stdio::{stdin, stdout};
use sys::signalfd::SignalFd;

use crate::console;

/// Signals of the caller, held back from before the process exists until it is waited for.
pub(crate) struct Foreground {
    signals: SignalFd,
}

impl Foreground {
    /// Begins to hold signals back.
    pub(crate) fn begin() -> io::Result<Self> {
        Ok(Self { signals: SignalFd::all()? })
    }

    /// Waits for the end, and gives the exit status as a shell does.
    pub(crate) fn wait(&self, process: &Launched) -> io::Result<u8> {
        let pty = process.pty.as_ref().map(AsFd::as_fd);
        let _raw = pty.and_then(|_| console::Raw::set());
        if let Some(pty) = pty {
            console::copy_size(&pty);
        }
        let mut input = pty.is_some();
        let mut output = pty.is_some();
        loop {
            let mut fds = vec![
                PollFd::new(&process.pidfd, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            if let Some(pty) = pty.filter(|_| output) {
                fds.push(PollFd::from_borrowed_fd(pty, PollFlags::IN));
            }
            if input {
                fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
            }
            rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready[1] {
                self.pass_on(process)?;
            }
            if let Some(pty) = pty {
                if output && ready[2] {
                    output = copy(pty, stdout())?;
                }
                if input && ready[2 + usize::from(output || ready.len() > 3)] {
                    input = copy(stdin(), pty)?;
                }
            }
            if ready[0] {
                if let Some(pty) = pty.filter(|_| output) {
                    drain(pty)?;
                }
                return status(process);
            }
        }
    }

    fn pass_on(&self, process: &Launched) -> io::Result<()> {
        match self.signals.read()? {
            libc::SIGCHLD | libc::SIGURG => Ok(()),
            libc::SIGWINCH => {
                if let Some(pty) = &process.pty {
                    console::copy_size(pty);
                }
                Ok(())
            }
            signal => match sys::pidfd::signal(process.pidfd.as_fd(), signal) {
                // It has just ended: the next turn sees that.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                result => result,
            },
        }
    }
}

/// Copies what is there; false at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let got = match rustix::io::read(from, &mut buffer) {
        // A terminal whose other end is closed.
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        Ok(got) => got,
        Err(error) => return Err(error.into()),
    };
    let mut rest = &buffer[..got];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            // Nobody reads any more; the process need not be stopped for that.
            Err(Errno::IO | Errno::PIPE) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Copies what an ended process left in its terminal.
fn drain(pty: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(pty, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))? == 0 || !copy(pty, stdout())? {
            return Ok(());
        }
    }
}

/// Reaps the process: its exit status, or 128 and the signal that ended it.
fn status(process: &Launched) -> io::Result<u8> {
    let wait = || waitid(WaitId::PidFd(process.pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = rustix::io::retry_on_intr(wait)?;
    Ok(status.as_ref().map_or(u8::MAX, code))
}

fn code(status: &WaitIdStatus) -> u8 {
    let exited = status.exit_status();
    let code = exited.or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(u8::MAX)
}
