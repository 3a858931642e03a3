//! The caller's own terminal, and the socket that takes a container's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr};

/// Connects to the socket that `--console-socket` names.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The caller's terminal in raw mode until dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Sets standard input raw; `None` when it is no terminal.
    pub(crate) fn set() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that went away needs no mode.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Gives the container's terminal the size of the caller's.
pub(crate) fn copy_size(pty: &impl AsFd) {
    let size: Option<Winsize> = tcgetwinsize(stdin()).or_else(|_| tcgetwinsize(stdout())).ok();
    if let Some(size) = size {
        let _ = rustix::termios::tcsetwinsize(pty, size);
    }
}
