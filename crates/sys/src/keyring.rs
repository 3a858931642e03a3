//! Kernel keyrings.

use std::ffi::CStr;
use std::io;

/// Gives this process a new session keyring of that name.
///
/// # Errors
///
/// As keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: `ENOSYS` for a kernel without keyrings, `EDQUOT` when
/// the user has too many keys.
pub fn join_session(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is a C string, borrowed for the call.
    let ret = unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
