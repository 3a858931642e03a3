//! Entering and making namespaces.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

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

/// Gives this process, which must have one thread, a time namespace with these offsets: lines of
/// clock, seconds and nanoseconds as time_namespaces(7) describes them.
///
/// # Errors
///
/// As unshare(2) and setns(2); of a refused offset `EINVAL` or `ERANGE`.
pub fn make_time(offsets: &str) -> io::Result<()> {
    // SAFETY: takes a number; the new namespace is for children, and nothing here depends on it.
    if unsafe { libc::unshare(libc::CLONE_NEWTIME) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if !offsets.is_empty() {
        fs::write("/proc/self/timens_offsets", offsets)?;
    }
    let made = File::open("/proc/self/ns/time_for_children")?;
    enter(&made, libc::CLONE_NEWTIME.cast_unsigned())
}

/// A user namespace with these maps and nobody in it: lines of inside, outside and count, see
/// user_namespaces(7). For `MOUNT_ATTR_IDMAP`.
///
/// # Errors
///
/// As clone3(2), and of a refused map `EINVAL` or `EPERM`.
pub fn user(uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let holder = crate::spawn::hold(libc::CLONE_NEWUSER)?;
    let proc = format!("/proc/{}", holder.pid());
    fs::write(format!("{proc}/uid_map"), uid_map)?;
    fs::write(format!("{proc}/gid_map"), gid_map)?;
    Ok(File::open(format!("{proc}/ns/user"))?.into())
}

/// Whether this process's user namespace is the machine's first; without proc it is taken for another.
pub fn in_first_user() -> bool {
    maps_all(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
}

/// Whether a map gives every id to itself, as the first user namespace's does.
fn maps_all(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_user_namespace_maps_every_id_to_itself() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(!maps_all("         0       1000          1\n"));
        assert!(!maps_all(""));
    }
}
