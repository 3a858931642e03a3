//! Locks of open file descriptions, on parts of files: held by who opened it, not by a process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A lock on a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub kind: libc::c_int,
    /// The first byte.
    pub start: u64,
    /// The last one; from `i64::MAX` on the end of the file, wherever it will be.
    pub end: u64,
}

/// Sets or clears a lock, without waiting.
///
/// # Errors
///
/// `EAGAIN` when another stands in the way; else as fcntl(2), `F_OFD_SETLK`.
pub fn set(file: BorrowedFd<'_>, range: Range) -> io::Result<()> {
    call(file, libc::F_OFD_SETLK, &mut lock(range)?)
}

/// The lock that stands in the way of `range`; one of kind `F_UNLCK` when none does.
///
/// # Errors
///
/// As fcntl(2), `F_OFD_GETLK`.
pub fn get(file: BorrowedFd<'_>, range: Range) -> io::Result<Range> {
    let mut found = lock(range)?;
    call(file, libc::F_OFD_GETLK, &mut found)?;
    let start = u64::try_from(found.l_start).unwrap_or_default();
    let length = u64::try_from(found.l_len).unwrap_or_default();
    let end = if length == 0 { i64::MAX.cast_unsigned() } else { start + length - 1 };
    Ok(Range { kind: found.l_type.into(), start, end })
}

fn lock(range: Range) -> io::Result<libc::flock> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let start = libc::off_t::try_from(range.start).map_err(|_| invalid())?;
    let length = if range.end >= i64::MAX.cast_unsigned() {
        0
    } else {
        let length = range.end.checked_sub(range.start).ok_or_else(invalid)? + 1;
        libc::off_t::try_from(length).map_err(|_| invalid())?
    };
    let kind = libc::c_short::try_from(range.kind).map_err(|_| invalid())?;
    let whence = libc::c_short::try_from(libc::SEEK_SET).expect("zero");
    // The process must be 0 for locks that no process holds.
    Ok(libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: length, l_pid: 0 })
}

fn call(file: BorrowedFd<'_>, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: both commands read and write one `struct flock`, which `lock` is and which is borrowed for
    // the length of the call; the descriptor is open as long as `file` is borrowed.
    let ret = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
