//! Installing a system call filter.

use std::io;

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
    let len = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` points to `len` instructions, borrowed for the call; the kernel copies them.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
