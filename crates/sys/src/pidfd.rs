//! Processes by descriptor, which never mean another process than the one they were opened for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends signal number `signal` to the process; 0 only tests that it exists.
///
/// # Errors
///
/// `ESRCH` when it was already reaped, `EPERM` when it is not ours to signal, `EINVAL` for a number
/// that is no signal. See pidfd_send_signal(2), Linux 5.1.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open while it is borrowed, and a null siginfo is documented to mean
    // "fill it in as kill(2) does".
    let ret = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0)
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
