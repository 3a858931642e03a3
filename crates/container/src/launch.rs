//! Starting the process that becomes a container's init or an exec.

use std::os::fd::OwnedFd;

use spec::Pid;

use crate::Error;

/// One standard stream of the new process.
#[derive(Debug, Default)]
pub enum Stream {
    /// The caller's own stream of the same number.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// This descriptor; the caller's copy is closed once the process has its own.
    Fd(OwnedFd),
}

/// The standard streams of the new process; unused when `process.terminal` is set.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: Stream,
    /// Descriptor 1.
    pub stdout: Stream,
    /// Descriptor 2.
    pub stderr: Stream,
}

/// Where the terminal's master goes when `process.terminal` is set.
#[derive(Debug, Default)]
pub enum Console {
    /// Back to the caller, in [`Launched::pty`].
    #[default]
    Return,
    /// Over this connected unix socket, as runc's `--console-socket` does.
    Socket(OwnedFd),
}

/// A process that was made and waits at its start gate. It is the caller's child, to be reaped by
/// the caller.
#[derive(Debug)]
pub struct Launched {
    /// Its number in the caller's pid namespace.
    pub pid: Pid,
    /// Its pidfd: poll it for the end, `waitid(P_PIDFD)` for the status.
    pub pidfd: OwnedFd,
    /// The terminal's master, for [`Console::Return`] and a process with a terminal.
    pub pty: Option<OwnedFd>,
}

/// The start gate of an exec. Dropping it unopened ends the process, status 1.
#[derive(Debug)]
pub struct Gate(OwnedFd);

impl Gate {
    /// Lets the user's program be executed and returns when it was.
    ///
    /// # Errors
    ///
    /// [`spec::Kind::CommandNotFound`] and [`spec::Kind::CommandNotExecutable`] when execve(2)
    /// refused; the process has then ended.
    pub fn open(self) -> Result<(), Error> {
        todo!("{:?}", self.0)
    }
}
