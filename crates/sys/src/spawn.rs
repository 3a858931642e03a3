//! Starting a program in new namespaces, from any thread.
//!
//! The child is a copy of the caller that makes system calls only, until it has become the program:
//! no allocation, no lock, no signal handler of the caller runs in it.
//!
//! ```text
//!   caller --clone3--> child                                 into new namespaces
//!   caller --clone3--> in between --setns, clone3--> child   into namespaces that exist, see `enter`
//! ```
//!
//! Whoever is in between is alone in its process, as setns(2) demands for a user namespace, and makes
//! the child its sibling: in both cases the child is the caller's.

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
    /// `CLONE_NEW*` and descriptor of each namespace in which the child is made: one of that type, or
    /// a pidfd for several. A user namespace is entered after those that the caller may enter without.
    pub enter: &'a [(i32, BorrowedFd<'a>)],
    /// The number of the descriptor on which the child waits for one byte before it becomes user and
    /// group 0 of its user namespace, which can be mapped meanwhile, and the program.
    pub held: Option<RawFd>,
}

/// A process that was started and not waited for.
#[derive(Debug)]
pub struct Child {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// What the child needs to become the program, all of it made beforehand.
struct Become<'a> {
    file: OwnedFd,
    descriptors: Vec<OwnedFd>,
    argv: Vec<*const libc::c_char>,
    held: Option<RawFd>,
    args: std::marker::PhantomData<&'a CStr>,
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
        let above = |fd: &BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, floor);
        let mut argv: Vec<*const libc::c_char> = self.args.iter().map(|arg| arg.as_ptr()).collect();
        argv.push(std::ptr::null());
        let program = Become {
            file: above(&self.file)?,
            descriptors: self.descriptors.iter().map(above).collect::<Result<_, _>>()?,
            argv,
            held: self.held,
            args: std::marker::PhantomData,
        };
        let _blocked = Blocked::all()?;
        if self.enter.is_empty() {
            self.spawn_directly(&program)
        } else {
            self.spawn_within(&program)
        }
    }

    fn spawn_directly(&self, program: &Become<'_>) -> io::Result<Child> {
        let mut pidfd: RawFd = -1;
        let mut args = self.clone_args(libc::SIGCHLD);
        args.flags |= flag(libc::CLONE_PIDFD);
        args.pidfd = &raw mut pidfd as u64;
        let pid = clone3(&args)?;
        if pid == 0 {
            program.become_it();
        }
        // SAFETY: the kernel stored a new descriptor that nothing else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Child { pid, pidfd })
    }

    /// Through a process in between, which tells the child's number, or what went wrong.
    fn spawn_within(&self, program: &Become<'_>) -> io::Result<Child> {
        let (report, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut args = self.clone_args(0);
        args.flags |= flag(libc::CLONE_PARENT);
        let between =
            clone3(&CloneArgs { exit_signal: flag(libc::SIGCHLD), ..Default::default() })?;
        if between == 0 {
            stand_between(self.enter, &args, theirs.as_raw_fd(), program);
        }
        drop(theirs);
        let mut word = [0; 4];
        let got = rustix::io::retry_on_intr(|| rustix::io::read(&report, &mut word));
        if let Some(between) = rustix::process::Pid::from_raw(between) {
            let options = rustix::process::WaitOptions::empty();
            // Whoever reaps everything that ends may have been faster.
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(between), options));
        }
        match (got?, i32::from_ne_bytes(word)) {
            (4, pid @ 1..) => {
                // It is a child that nobody has waited for: the number is still its own.
                let own = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
                let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())?;
                Ok(Child { pid, pidfd })
            }
            (4, error) => Err(io::Error::from_raw_os_error(-error)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn clone_args(&self, exit_signal: i32) -> CloneArgs {
        let mut args = CloneArgs {
            flags: flag(self.namespaces),
            exit_signal: flag(exit_signal),
            ..CloneArgs::default()
        };
        if let Some(cgroup) = self.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = flag(cgroup.as_raw_fd());
        }
        args
    }
}

/// clone3(2) without shared memory: 0 and a copy of everything in the child.
fn clone3(args: &CloneArgs) -> io::Result<i32> {
    let size = std::mem::size_of::<CloneArgs>();
    // SAFETY: `args` is a complete clone_args of `size` bytes whose pidfd pointer, if any, is live;
    // memory and stack are not shared, so both sides return here independently.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::from_ref(args), size) };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enters the namespaces, makes the child as a sibling, and reports its number or a negative errno.
fn stand_between(
    enter: &[(i32, BorrowedFd<'_>)],
    args: &CloneArgs,
    report: RawFd,
    program: &Become<'_>,
) -> ! {
    let made = enter_all(enter).and_then(|()| clone3(args));
    if let Ok(0) = made {
        program.become_it();
    }
    let errno = |error: io::Error| -error.raw_os_error().unwrap_or(libc::EIO);
    let word = made.unwrap_or_else(errno).to_ne_bytes();
    // SAFETY: writes four bytes of a live array to a number that is open.
    unsafe { libc::write(report, word.as_ptr().cast(), word.len()) };
    exit()
}

/// Whoever is privileged outside may enter all but the user namespace first; whoever is not may
/// enter the others only from within it.
fn enter_all(enter: &[(i32, BorrowedFd<'_>)]) -> io::Result<()> {
    let setns = |kinds: i32, fd: &BorrowedFd<'_>| {
        // SAFETY: takes numbers; the descriptor is borrowed for the call.
        if unsafe { libc::setns(fd.as_raw_fd(), kinds) } < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    let user = |kinds: i32| kinds & libc::CLONE_NEWUSER != 0;
    let mut late = 0_u32;
    for (index, (kinds, fd)) in enter.iter().enumerate().filter(|(_, (kinds, _))| !user(*kinds)) {
        match setns(*kinds, fd) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => late |= 1 << index,
            result => result?,
        }
    }
    for (kinds, fd) in enter.iter().filter(|(kinds, _)| user(*kinds)) {
        setns(*kinds, fd)?;
    }
    for (index, (kinds, fd)) in enter.iter().enumerate() {
        if late & 1 << index != 0 {
            setns(*kinds, fd)?;
        }
    }
    Ok(())
}

/// Absent from libc for this target.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A non-negative C int as the kernel's 64-bit word.
fn flag(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

impl Become<'_> {
    /// The child's whole life before it is the program.
    fn become_it(&self) -> ! {
        for (target, source) in (0..).zip(&self.descriptors) {
            // SAFETY: dup2 takes numbers; every source lies above every target.
            if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
                exit();
            }
        }
        // All else is closed for good, the caller's end of `held` too: or its end would not be seen.
        let last = RawFd::try_from(self.descriptors.len()).unwrap_or(RawFd::MAX);
        let file = self.file.as_raw_fd();
        // SAFETY: takes numbers; what `last` was is not needed any more.
        if file != last && unsafe { libc::dup3(file, last, libc::O_CLOEXEC) } < 0 {
            exit();
        }
        // SAFETY: takes numbers; nothing in this copy of the caller uses the descriptors.
        let ret = unsafe { libc::syscall(libc::SYS_close_range, last + 1, RawFd::MAX, 0) };
        if ret < 0 {
            exit();
        }
        if let Some(held) = self.held {
            become_root_once_told(held);
        }
        let environment = [std::ptr::null::<libc::c_char>()];
        // SAFETY: `argv` and `environment` end with null and point to strings that live in this copy
        // of the caller's memory; the empty path is a literal.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                last,
                c"".as_ptr(),
                self.argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            )
        };
        exit()
    }
}

/// Whoever is nobody in its user namespace would lose all capabilities by execve(2).
fn become_root_once_told(told: RawFd) {
    let mut byte = 0_u8;
    loop {
        // SAFETY: reads at most the one byte that `byte` holds.
        match unsafe { libc::read(told, (&raw mut byte).cast(), 1) } {
            1 => break,
            -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
            _ => exit(),
        }
    }
    // The library's own calls would ask the caller's other threads, which are not here, to join in.
    // SAFETY: takes numbers.
    let group = unsafe { libc::syscall(libc::SYS_setresgid, 0, 0, 0) };
    // SAFETY: takes numbers.
    let user = unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) };
    if group < 0 || user < 0 {
        exit();
    }
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

/// A process that does nothing in new namespaces until this is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: i32,
    /// Whose end tells the process that the caller is gone.
    _open: OwnedFd,
}

impl Holder {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return };
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let options = rustix::process::WaitOptions::empty();
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), options));
    }
}

/// Makes new namespaces of these types with a process to hold them.
pub(crate) fn hold(namespaces: i32) -> io::Result<Holder> {
    let (waits, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let _blocked = Blocked::all()?;
    let flags = flag(namespaces);
    let exit_signal = flag(libc::SIGCHLD);
    match clone3(&CloneArgs { flags, exit_signal, ..Default::default() })? {
        0 => sit(waits.as_raw_fd(), ours.as_raw_fd()),
        pid => Ok(Holder { pid, _open: ours }),
    }
}

/// Waits for the end of the caller, or to be killed by it.
fn sit(waits: RawFd, theirs: RawFd) -> ! {
    // SAFETY: takes a number; this copy of the caller's descriptor has no other user.
    unsafe { libc::close(theirs) };
    let mut byte = 0_u8;
    // SAFETY: reads at most the one byte that `byte` holds.
    unsafe { libc::read(waits, (&raw mut byte).cast(), 1) };
    exit()
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
