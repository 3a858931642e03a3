//! The init of containers that ask for one, for programs that do not want to be PID 1.
//!
//! This program's second use, on both sides of the wall: it is mounted in the container, and is told by
//! the name it is called.
//!
//! ```text
//!   docker-init -- PROGRAM ARG…
//!     |-- holds signals back, starts  docker-init --start PROGRAM ARG…
//!     |                                 its own process group, the terminal's foreground, PROGRAM
//!     '-- reaps whatever ends, passes signals on; PROGRAM has ended: ends as it did
//! ```
//!
//! Between the two is another execution rather than a fork: the terminal must be the program's before
//! its first instruction, and only the program's own process can see to that.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};
use rustix::stdio::stdin;
use sys::signalfd::SignalFd;

/// The name by which this is called.
const NAME: &str = "docker-init";
/// In front of the program's words: PID 1, and the process that becomes the program.
const WATCH: &str = "--";
const START: &str = "--start";

/// The exit codes for a program that is not there, and for one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Why a container's program was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is called by the engine alone.
    #[error("usage: {NAME} -- PROGRAM [ARG...]")]
    Usage,
    /// A step that is one system call or little more.
    #[error("{step}")]
    Step { step: &'static str, source: io::Error },
    /// The user's program.
    #[error("exec {}", program.display())]
    Exec { program: OsString, source: io::Error },
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Exec { .. } => NOT_EXECUTABLE,
            Self::Usage | Self::Step { .. } => 1,
        }
    }
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |source| Error::Step { step, source: source.into() }
}

/// Whether this program was started as a container's init.
pub(crate) fn is_called(name: &OsStr) -> bool {
    Path::new(name).file_name() == Some(OsStr::new(NAME))
}

/// Does what it was started for; gives the status to end with.
pub(crate) fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let what = words.next();
    let (program, rest) = (words.next(), words.collect());
    let done = match (what.as_deref().and_then(OsStr::to_str), program) {
        (Some(WATCH), Some(program)) => watch(program, rest),
        (Some(START), Some(program)) => Err(start(program, rest)),
        _ => Err(Error::Usage),
    };
    ExitCode::from(done.unwrap_or_else(|error| {
        eprintln!("{NAME}: {}", spec::chain(&error));
        error.code()
    }))
}

/// PID 1: gives how the program ended.
fn watch(program: OsString, rest: Vec<OsString>) -> Result<u8, Error> {
    // One that is not PID 1, as among the host's processes, gets orphans all the same.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(step("become a subreaper"))?;
    let signals = SignalFd::all().map_err(step("hold signals back"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).arg(START).arg(program).args(rest);
    let started = command.spawn().map_err(step("start the program's process"))?;
    let number = i32::try_from(started.id()).ok().and_then(Pid::from_raw);
    let child = number.expect("a child has a number");
    let pidfd = rustix::process::pidfd_open(child, PidfdFlags::empty());
    let pidfd = pidfd.map_err(step("open the program's process"))?;
    // The program has them, and whoever reads their other ends waits for the last one.
    let _ = close_streams();
    loop {
        match signals.read().map_err(step("wait for a signal"))? {
            libc::SIGCHLD => {
                if let Some(code) = reap(child)? {
                    return Ok(code);
                }
            }
            signal => pass_on(&pidfd, signal)?,
        }
    }
}

/// Lets go of the standard streams, but for the last, which errors go to.
fn close_streams() -> rustix::io::Result<()> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)
}

fn pass_on(pidfd: &OwnedFd, signal: i32) -> Result<(), Error> {
    match sys::pidfd::signal(pidfd.as_fd(), signal) {
        // It has ended, or has become another user's: its own way to refuse signals.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EPERM)) => Ok(()),
        passed => passed.map_err(step("pass a signal on")),
    }
}

/// Waits for all that have ended; gives the status of `child` if it is among them.
fn reap(child: Pid) -> Result<Option<u8>, Error> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => code = Some(code_of(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(error) => return Err(step("reap")(error)),
        }
    }
}

/// As a shell tells it: the exit status, or 128 and the signal's number.
fn code_of(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Becomes the program; comes back with the reason why not.
fn start(program: OsString, rest: Vec<OsString>) -> Error {
    if let Err(error) = rustix::process::setpgid(None, None) {
        return step("make a process group")(error);
    }
    let own = rustix::process::getpid();
    // This stops whoever is in the background, unless that signal is held back, as all are still.
    match rustix::termios::tcsetpgrp(stdin(), own) {
        Ok(()) | Err(Errno::NOTTY | Errno::NXIO | Errno::BADF) => {}
        Err(error) => return step("take the terminal")(error),
    }
    if let Err(error) = sys::signalfd::release() {
        return step("let signals through")(error);
    }
    let source = Command::new(&program).args(rest).exec();
    Error::Exec { program, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_told_by_its_name() {
        let called = |name: &str| is_called(OsStr::new(name));
        assert!(called("/sbin/docker-init") && called("docker-init"));
        assert!(!called("/init") && !called("docker-init2"));
    }

    #[test]
    fn a_program_that_is_not_there_has_a_code_of_its_own() {
        let exec =
            |kind: io::ErrorKind| Error::Exec { program: "x".into(), source: kind.into() }.code();
        assert_eq!(exec(io::ErrorKind::NotFound), 127);
        assert_eq!(exec(io::ErrorKind::PermissionDenied), 126);
    }
}
