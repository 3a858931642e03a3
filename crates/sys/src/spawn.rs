//! Starting a program in new namespaces, from any thread.
//!
//! The child is a copy of the caller that makes system calls only, until it has become the program:
//! no allocation, no lock, no signal handler of the caller runs in it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What is started, and how.
#[derive(Debug)]
pub struct Program<'a> {
    /// The executable, opened.
    pub file: BorrowedFd<'a>,
    /// Its arguments, the name first. The environment is empty.
    pub args: &'a [&'a CStr],
    /// Its descriptors 0, 1, 2, …; it has no others.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// `CLONE_NEW*` flags.
    pub namespaces: i32,
    /// The cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A process that was started and not waited for.
#[derive(Debug)]
pub struct Child {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// The kernel's `struct clone_args`, version 2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl Program<'_> {
    /// Starts the program as a child of the caller, with every signal blocked. What goes wrong after
    /// the child was made shows as its end with status 127.
    ///
    /// # Errors
    ///
    /// As clone3(2) and fcntl(2) `F_DUPFD_CLOEXEC`.
    pub fn spawn(&self) -> io::Result<Child> {
        // Sources above all targets, so that no dup2 overwrites a source still to come.
        let floor =
            RawFd::try_from(self.descriptors.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let moved = self
            .descriptors
            .iter()
            .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, floor))
            .collect::<Result<Vec<_>, _>>()?;
        let file = rustix::io::fcntl_dupfd_cloexec(self.file, floor)?;
        let mut argv: Vec<*const libc::c_char> = self.args.iter().map(|arg| arg.as_ptr()).collect();
        argv.push(std::ptr::null());
        let environment = [std::ptr::null()];

        let blocked = Blocked::all()?;
        let (pid, pidfd) = self.clone3()?;
        if pid == 0 {
            become_program(file.as_raw_fd(), &moved, &argv, &environment);
        }
        drop(blocked);
        // SAFETY: the kernel stored a new descriptor that nothing else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Child { pid, pidfd })
    }

    /// clone3(2) without shared memory: 0 and a copy of everything in the child.
    fn clone3(&self) -> io::Result<(i32, RawFd)> {
        let mut pidfd: RawFd = -1;
        let mut args = CloneArgs {
            flags: flag(self.namespaces | libc::CLONE_PIDFD),
            pidfd: &raw mut pidfd as u64,
            exit_signal: flag(libc::SIGCHLD),
            ..CloneArgs::default()
        };
        if let Some(cgroup) = self.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = flag(cgroup.as_raw_fd());
        }
        let size = std::mem::size_of::<CloneArgs>();
        // SAFETY: `args` is a complete clone_args of `size` bytes whose pidfd pointer is live; memory
        // and stack are not shared, so both sides return here independently.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) };
        match i32::try_from(pid) {
            Ok(pid) if pid >= 0 => Ok((pid, pidfd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Absent from libc for this target.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A non-negative C int as the kernel's 64-bit word.
fn flag(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

/// The child's whole life before it is the program.
fn become_program(
    file: RawFd,
    descriptors: &[OwnedFd],
    argv: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> ! {
    for (target, source) in (0..).zip(descriptors) {
        // SAFETY: dup2 takes numbers; every source lies above every target.
        if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
            exit();
        }
    }
    let first = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
    // SAFETY: takes numbers; the descriptors stay open until the program is executed.
    let ret =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if ret < 0 {
        exit();
    }
    // SAFETY: `argv` and `environment` end with null and point to strings that live in this copy of
    // the caller's memory; the empty path is a literal.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file,
            c"".as_ptr(),
            argv.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    exit()
}

/// Ends the child at once, without the caller's exit handlers.
fn exit() -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(127) }
}

/// All signals blocked in this thread until dropped.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> io::Result<Self> {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the set it is given.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: `all` was initialised just above and `old` is writable.
        let ret =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
        if ret != 0 {
            return Err(io::Error::from_raw_os_error(ret));
        }
        // SAFETY: pthread_sigmask succeeded, so it filled `old`.
        Ok(Self(unsafe { old.assume_init() }))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set came from pthread_sigmask; a null old set is allowed.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// Takes over a descriptor that the program was started with, and marks it close-on-exec.
///
/// Meant to be called once for each number, before anything else opens descriptors.
///
/// # Errors
///
/// `EBADF` when the number is not open.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes numbers and fails for one that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by this function's contract nothing in this program owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
