//! Entering namespaces.

use std::io;
use std::os::fd::AsRawFd;

/// The `CLONE_NEW*` flag of an open namespace.
///
/// # Errors
///
/// `ENOTTY` when it is not a namespace. See ioctl_ns(2), Linux 4.11.
pub fn kind(namespace: &impl AsRawFd) -> io::Result<u32> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument, and the descriptor is borrowed for the call.
    let ret = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    u32::try_from(ret).map_err(|_| io::Error::last_os_error())
}

/// Moves this thread, or for `CLONE_NEWPID` its future children, into a namespace, or into several of
/// a process when the descriptor is a pidfd.
///
/// # Errors
///
/// As setns(2).
pub fn enter(namespace: &impl AsRawFd, kinds: u32) -> io::Result<()> {
    // SAFETY: takes numbers; the descriptor is borrowed for the call.
    let ret = unsafe { libc::setns(namespace.as_raw_fd(), kinds.cast_signed()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives this process a cgroup namespace whose root is where it is now.
///
/// # Errors
///
/// As unshare(2).
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: takes a number; nothing in this program's memory depends on the namespace.
    let ret = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
