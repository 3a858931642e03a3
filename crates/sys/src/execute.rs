//! Becoming another program.

use std::ffi::{CStr, CString};
use std::io;

/// Replaces this program by the one at `path`; returns only with the reason why not.
///
/// Every signal is unblocked and has its default action first, as the new program expects.
pub fn execute(path: &CStr, args: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| {
        let mut list: Vec<*const libc::c_char> = strings.iter().map(|s| s.as_ptr()).collect();
        list.push(std::ptr::null());
        list
    };
    let (args, environment) = (pointers(args), pointers(environment));
    // SAFETY: both lists end with null and point to strings borrowed for the length of the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Lets the command begin with default actions and no signal blocked, whatever the caller does.
pub fn with_default_signals(command: &mut std::process::Command) {
    let reset = || {
        reset_signals();
        Ok(())
    };
    // SAFETY: between fork and execve `reset` makes system calls that are async-signal-safe, nothing
    // else: it takes no lock and allocates no memory.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, reset) };
}

/// Gives every signal its default action and unblocks all of them.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code; numbers that may not be changed fail harmlessly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: `none` was initialised just above; a null old set is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
}

/// Marks every descriptor from `first` up close-on-exec.
///
/// # Errors
///
/// As close_range(2) with `CLOSE_RANGE_CLOEXEC`, Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: takes numbers; descriptors stay open, so no owner in this program is surprised.
    let ret =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
