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
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, waitid};
use rustix::stdio::{stdin, stdout};
use sys::signalfd::SignalFd;

use crate::console;

/// Signals of the caller, held back from before the process exists until it is waited for.
pub(crate) struct Foreground {
    signals: SignalFd,
    subreaper: bool,
}

impl Foreground {
    /// Begins to hold signals back. A `subreaper` takes on, and reaps, what the process leaves behind
    /// when it has no pid namespace of its own.
    pub(crate) fn begin(subreaper: bool) -> io::Result<Self> {
        if subreaper {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        }
        Ok(Self { signals: SignalFd::all()?, subreaper })
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
        let mut reaped = None;
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
                reaped = self.pass_on(process)?.or(reaped);
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
                return reaped.map_or_else(|| status(process), Ok);
            }
        }
    }

    /// Passes a signal on; the exit status when it told of the process's end and that was reaped.
    fn pass_on(&self, process: &Launched) -> io::Result<Option<u8>> {
        match self.signals.read()? {
            libc::SIGCHLD if self.subreaper => return reap(process),
            libc::SIGCHLD | libc::SIGURG => {}
            libc::SIGWINCH => {
                if let Some(pty) = &process.pty {
                    console::copy_size(pty);
                }
            }
            signal => match sys::pidfd::signal(process.pidfd.as_fd(), signal) {
                // It has just ended: the next turn sees that.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            },
        }
        Ok(None)
    }
}

/// Reaps every child that has ended; the exit status of the process itself, if it is among them.
fn reap(process: &Launched) -> io::Result<Option<u8>> {
    let own = rustix::process::Pid::from_raw(process.pid.raw());
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == own => {
                code = Some(exit_code(status.exit_status(), status.terminating_signal()));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(error) => return Err(error.into()),
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
    exit_code(status.exit_status(), status.terminating_signal())
}

/// As a shell gives it.
fn exit_code(exited: Option<i32>, signal: Option<i32>) -> u8 {
    let code = exited.or_else(|| signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code & 0xff).ok()).unwrap_or(u8::MAX)
}
