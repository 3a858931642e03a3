//! The process's terminal: a pair from the container's own devpts.
//!
//! The other end is made from the master by `TIOCGPTPEER`, never by name: what an image puts at
//! `/dev/pts/0` or `/dev/console` is not followed (CVE-2025-52565).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use spec::oci::runtime::Process;

use super::Error;
use crate::rootfs::Tree;

/// The magic number of a devpts filesystem.
const DEVPTS: i64 = 0x1cd1;

/// The master of the container's terminal, whose other end is standard input, output, error and
/// `/dev/console`; `None` when the process has none.
pub(super) fn for_container(process: &Process, tree: &Tree) -> Result<Option<OwnedFd>, Error> {
    if process.terminal() != Some(true) {
        return Ok(None);
    }
    let (master, peer) = pair(process, tree)?;
    console(tree, &peer).map_err(Error::step("mount the terminal on /dev/console"))?;
    adopt(&peer)?;
    Ok(Some(master))
}

/// The same for a process in a container that has its console already.
pub(super) fn for_exec(process: &Process) -> Result<Option<OwnedFd>, Error> {
    if process.terminal() != Some(true) {
        return Ok(None);
    }
    let root = Tree::at("/").map_err(Error::step("open the root directory"))?;
    let (master, peer) = pair(process, &root)?;
    adopt(&peer)?;
    Ok(Some(master))
}

fn pair(process: &Process, tree: &Tree) -> Result<(OwnedFd, OwnedFd), Error> {
    let step = "open a terminal on the container's devpts";
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = tree.open("/dev/pts/ptmx", flags).map_err(Error::step(step))?;
    if rustix::fs::fstatfs(&master).map_err(Error::step(step))?.f_type != DEVPTS {
        let reason = io::Error::new(io::ErrorKind::InvalidData, "/dev/pts is no devpts");
        return Err(Error::step(step)(reason));
    }
    rustix::pty::unlockpt(&master).map_err(Error::step(step))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let peer = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(Error::step(step))?;
    if let Some(size) = process.console_size() {
        let cells = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: cells(size.height()),
            ws_col: cells(size.width()),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size)
            .map_err(Error::step("set process.consoleSize"))?;
    }
    Ok((master, peer))
}

/// Mounts the terminal on `/dev/console`, a file of its own that is made when it is missing.
fn console(tree: &Tree, peer: &OwnedFd) -> io::Result<()> {
    let dev = tree.directory("/dev")?;
    let create =
        OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match rustix::fs::openat(&dev, "console", create, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(&dev, "console", only, Mode::empty())?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(peer, "", clone)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", &target, "", empty)?;
    Ok(())
}

/// Makes the terminal the session's, and all three streams.
fn adopt(peer: &OwnedFd) -> Result<(), Error> {
    let step = "take the terminal";
    rustix::process::ioctl_tiocsctty(peer).map_err(Error::step(step))?;
    rustix::stdio::dup2_stdin(peer.as_fd()).map_err(Error::step(step))?;
    rustix::stdio::dup2_stdout(peer.as_fd()).map_err(Error::step(step))?;
    rustix::stdio::dup2_stderr(peer.as_fd()).map_err(Error::step(step))
}
