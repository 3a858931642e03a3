//! Installing a system call filter.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` of linux/seccomp.h.
const NEW_LISTENER: u32 = 1 << 3;

/// One instruction of classic BPF, as in linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a jump's condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Puts this thread, and what it executes, under `filter`. `flags` are `SECCOMP_FILTER_FLAG_*`
/// without `NEW_LISTENER`.
///
/// # Errors
///
/// `EACCES` without no_new_privs and `CAP_SYS_ADMIN`, `EINVAL` for a program that the kernel rejects.
/// See seccomp(2).
pub fn install(filter: &[Instruction], flags: u32) -> io::Result<()> {
    load(filter, flags).map(drop)
}

/// The same with a program that asks whoever holds the descriptor, which this gives. It is closed on
/// execve.
///
/// # Errors
///
/// Those of [`install`]; `EBUSY` when a filter above has a listener. See seccomp_unotify(2), Linux 5.0.
pub fn listen(filter: &[Instruction], flags: u32) -> io::Result<OwnedFd> {
    let fd = load(filter, flags | NEW_LISTENER)?;
    // SAFETY: with NEW_LISTENER the call gives a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn load(filter: &[Instruction], flags: u32) -> io::Result<libc::c_int> {
    let len = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` points to `len` instructions, borrowed for the call; the kernel copies them.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(ret).map_err(io::Error::other)
}

/// Whether the kernel knows an action, `SECCOMP_RET_*` without data. See seccomp(2), Linux 4.14.
pub fn has_action(action: u32) -> bool {
    // SAFETY: GET_ACTION_AVAIL reads one u32, borrowed for the call.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    ret == 0
}

/// Whether the kernel knows these flags, and takes them together. Nothing is installed.
pub fn has_flags(flags: u32) -> bool {
    let none = std::ptr::null::<Program>();
    // SAFETY: the kernel looks at the flags first and then refuses the null program with EFAULT.
    let ret =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, none) };
    ret < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_it_knows() {
        assert!(has_action(libc::SECCOMP_RET_ALLOW));
        assert!(!has_action(0x1234_0000));
        assert!(has_flags(0));
        assert!(!has_flags(1 << 30));
    }
}
