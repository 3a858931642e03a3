//! Attributes of mounts: the one call of the mount API that rustix lacks.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Changes to make to a mount. See mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
    /// A user namespace's descriptor, for `MOUNT_ATTR_IDMAP`.
    pub userns: u64,
}

/// Changes the mount that `path`, relative to `at`, is the root of; the empty path means `at` itself.
///
/// # Errors
///
/// As mount_setattr(2), Linux 5.12.
pub fn set_attributes(
    at: impl AsFd,
    path: &CStr,
    recursive: bool,
    attributes: &Attributes,
) -> io::Result<()> {
    let mut flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let at = at.as_fd().as_raw_fd();
    let size = std::mem::size_of::<Attributes>();
    // SAFETY: the path is a C string, and `attributes` has the kernel's layout of `size` bytes; both
    // are borrowed for the length of the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size,
        )
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
