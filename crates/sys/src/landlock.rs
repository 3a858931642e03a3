//! Landlock: what of the filesystem a thread, and what it executes, may reach from now on.
//!
//! What no rule names is refused, whatever its mode says: files cannot be opened, made or removed; TCP ports
//! neither taken nor called; abstract sockets and processes outside not reached. Descriptors that are open
//! already stay what they are. Where a kernel knows only a part of it, that part holds.
//!
//! Spec: landlock(7); linux/landlock.h, ABI 1 (Linux 5.13) to 6.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What may be done beneath a file, `LANDLOCK_ACCESS_FS_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u64);

impl Access {
    /// Files are executed.
    pub const EXECUTE: Self = Self(1);
    /// Files are read.
    pub const READ: Self = Self(1 << 2);
    /// Files are written, and made shorter.
    pub const WRITE: Self = Self((1 << 1) | (1 << 14));
    /// Directories are listed.
    pub const LIST: Self = Self(1 << 3);
    /// Devices are told what to do.
    pub const IOCTL: Self = Self(1 << 15);
    /// Names come, go and move, of all but devices.
    pub const RENAME: Self = Self(0b11_0111_1011_0000);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that mean something for what is no directory.
    const OF_FILES: Self = Self::EXECUTE.and(Self::READ).and(Self::WRITE).and(Self::IOCTL);
}

/// The kernel's `struct landlock_ruleset_attr`.
#[repr(C)]
struct Attributes {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// The kernel's `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// `LANDLOCK_CREATE_RULESET_VERSION`, `LANDLOCK_RULE_PATH_BENEATH`.
const VERSION: u32 = 1;
const PATH_BENEATH: i32 = 1;
/// The newest ABI that this module knows.
const NEWEST: u32 = 6;

/// The ABI of the kernel's Landlock; `None` where it has none, or it is switched off.
///
/// # Errors
///
/// Those that say neither. See landlock_create_ruleset(2).
pub fn version() -> io::Result<Option<u32>> {
    let none = std::ptr::null::<Attributes>();
    // SAFETY: with VERSION the kernel reads no attributes, and gives a number.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    if ret >= 0 {
        return u32::try_from(ret).map(Some).map_err(io::Error::other);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP) => Ok(None),
        _ => Err(error),
    }
}

/// Shuts the calling thread in: of the filesystem it keeps `rules`, and no more. Gives the ABI that holds,
/// `None` where the kernel has no Landlock and nothing was done.
///
/// # Errors
///
/// `EPERM` without no_new_privs and `CAP_SYS_ADMIN`, `E2BIG` within 16 others, those of [`version`].
pub fn restrict(rules: &[(BorrowedFd<'_>, Access)]) -> io::Result<Option<u32>> {
    let Some(version) = version()?.map(|version| version.min(NEWEST)) else { return Ok(None) };
    let handled = handled(version);
    let ruleset = create(&handled)?;
    for (file, access) in rules {
        allow(&ruleset, *file, access.0 & handled.fs)?;
    }
    // SAFETY: the call takes a ruleset's descriptor, borrowed for it, and no flags.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(Some(version)) }
}

/// All that this ABI can refuse.
fn handled(version: u32) -> Attributes {
    let rights = match version {
        0 | 1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    let net = if version >= 4 { 0b11 } else { 0 };
    let scoped = if version >= 6 { 0b11 } else { 0 };
    Attributes { fs: (1 << rights) - 1, net, scoped }
}

fn create(handled: &Attributes) -> io::Result<OwnedFd> {
    let size = size_of::<Attributes>();
    // SAFETY: the attributes are borrowed for the call, and of the size that it is told. What an older
    // kernel does not know of them is zero, as it asks for.
    let ret =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *handled, size, 0) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = libc::c_int::try_from(ret).map_err(io::Error::other)?;
    // SAFETY: the call gave a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn allow(ruleset: &OwnedFd, file: BorrowedFd<'_>, access: u64) -> io::Result<()> {
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    let means = if kind == rustix::fs::FileType::Directory { u64::MAX } else { Access::OF_FILES.0 };
    let rule = Beneath { allowed: access & means, parent: file.as_raw_fd() };
    // SAFETY: the rule is of the type that PATH_BENEATH means, and borrowed for the call with both
    // descriptors.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    let error = io::Error::last_os_error();
    // A file of the kernel's own, such as a namespace, has no place: it stays refused with the rest.
    if ret < 0 && error.raw_os_error() != Some(libc::EBADFD) { Err(error) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use super::*;
    use crate::seccomp::Instruction;

    /// On a thread of its own, which is shut in with it.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic")
    }

    fn errno<T>(done: io::Result<T>) -> Option<i32> {
        done.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn what_no_rule_names_is_refused() {
        if version().expect("it answers").is_none() {
            println!("skipped: a kernel without Landlock");
            return;
        }
        let place = std::env::temp_dir().join(format!("hull-landlock-{}", std::process::id()));
        fs::create_dir_all(&place).expect("a directory");
        let (file, new) = (place.join("file"), place.join("new"));
        fs::write(&file, "text").expect("a file");
        let directory = File::open(&place).expect("it is there");
        apart(|| {
            rustix::thread::set_no_new_privs(true).expect("allowed");
            let read = Access::READ.and(Access::LIST);
            assert!(restrict(&[(directory.as_fd(), read)]).expect("shut in").is_some());
            assert!(fs::read(&file).is_ok() && fs::read_dir(&place).is_ok());
            assert_eq!(errno(fs::read_dir("/usr")), Some(libc::EACCES));
            assert_eq!(errno(File::open("/proc/self/status")), Some(libc::EACCES));
            assert_eq!(errno(File::options().append(true).open(&file)), Some(libc::EACCES));
            assert_eq!(errno(File::create(&new)), Some(libc::EACCES));
            assert_eq!(errno(fs::remove_file(&file)), Some(libc::EACCES));
        });
        assert!(fs::read_dir("/usr").is_ok(), "another thread is as it was");
        fs::remove_dir_all(&place).expect("ours");
    }

    #[test]
    fn an_older_kernel_is_asked_for_what_it_knows() {
        for (version, fs, net) in [(1, 0x1fff, 0), (2, 0x3fff, 0), (3, 0x7fff, 0), (5, 0xffff, 3)] {
            let handled = handled(version);
            assert_eq!((handled.fs, handled.net), (fs, net), "ABI {version}");
        }
        assert_eq!((handled(5).scoped, handled(6).scoped), (0, 3));
    }

    #[test]
    fn a_kernel_without_it_is_no_error() {
        let call = u32::try_from(libc::SYS_landlock_create_ruleset).expect("small");
        let step = |code, jt, jf, k| Instruction { code, jt, jf, k };
        let filter = [
            step(0x20, 0, 0, 0),
            step(0x15, 0, 1, call),
            step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
            step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        apart(|| {
            rustix::thread::set_no_new_privs(true).expect("allowed");
            crate::seccomp::install(&filter, 0).expect("a filter");
            assert_eq!(restrict(&[]).expect("no error"), None);
            assert!(File::open("/etc/passwd").is_ok());
        });
    }
}
