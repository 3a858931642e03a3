//! Where the kernel takes this thread's memory from, and which execution domain it is in.

use std::io;

/// Sets this thread's memory policy: the mode with its flags, and a bit for each node.
///
/// # Errors
///
/// As set_mempolicy(2): `EINVAL` for nodes that the mode does not take or that have no memory,
/// `ENOSYS` for a kernel without NUMA.
pub fn set_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    // The kernel takes one bit less than it is told of.
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the kernel reads at most `bits - 1` bits, which is what `nodes` holds, or nothing.
    let ret = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the execution domain of this process, which execve(2) keeps.
///
/// # Errors
///
/// As personality(2).
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: takes a number; the domains that change how memory is laid out do so at execve only.
    let ret = unsafe { libc::personality(libc::c_ulong::from(domain)) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
