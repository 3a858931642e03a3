//! A file system in a file: what limits how much a directory holds, on whatever it lies.
//!
//! ```text
//!   sparse file ─mkfs.ext4─▶ loop device ─▶ a mount; the device goes with the last of its mounts
//! ```
//!
//! Only the host's own kernel ever writes such a file: a container sees the mount.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FlockOperation};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use sys::loopback::Loop;

/// The smallest that mkfs.ext4 makes with a journal, and some room: 16 MiB.
pub const LEAST: u64 = 16 << 20;

/// Makes an empty ext4 of `bytes` in a new sparse file.
///
/// # Errors
///
/// Those of the file, and mkfs.ext4's last words.
pub fn make(path: &Path, bytes: u64) -> io::Result<()> {
    File::create_new(path)?.set_len(bytes)?;
    let mut command = Command::new("mkfs.ext4");
    // In a fresh file everything is zero: inode tables need no wiping, now or later.
    command.args(["-q", "-F", "-b", "4096", "-m", "0", "-E"]);
    run(command.arg("discard,lazy_itable_init=1,root_owner=0:0").arg(path))
}

fn run(command: &mut Command) -> io::Result<()> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::Unsupported, format!("no {tool}: install e2fsprogs"))
        }
        _ => error,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{tool}: {}", said.trim().lines().last().unwrap_or_default())))
}

/// Mounts the file system in `path` on the directory `at`, in the caller's mount namespace.
///
/// # Errors
///
/// `Unsupported` where the host has no loop devices; else the kernel's.
pub fn mount(path: &Path, at: &Path) -> io::Result<()> {
    let tree = opened(path)?;
    Ok(move_mount(&tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn opened(path: &Path) -> io::Result<OwnedFd> {
    let _lock = lock(path)?;
    let file = File::options().read(true).write(true).open(path)?;
    let disk = attach(&file)?;
    let fs = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", disk.path())?;
    // What is removed inside is given back outside.
    fsconfig_set_flag(&fs, "discard")?;
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

fn attach(file: &File) -> io::Result<Loop> {
    Loop::attach(file).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::EINVAL) => io::Error::new(
            io::ErrorKind::Unsupported,
            format!("no loop device for a limit of size: {error}; load the module `loop`"),
        ),
        _ => error,
    })
}

/// Makes the file system in `path` larger, mounted or not.
///
/// # Errors
///
/// As [`mount`]; `InvalidInput` for what is not larger, `Other` with resize2fs's last words.
pub fn grow(path: &Path, bytes: u64) -> io::Result<()> {
    let _lock = lock(path)?;
    let file = File::options().read(true).write(true).open(path)?;
    let before = file.metadata()?.len();
    if bytes <= before {
        let problem = "a file system in a file only grows";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let disk = attach(&file)?;
    file.set_len(bytes)?;
    let grown = disk.resized().and_then(|()| {
        // The kernel wants CAP_SYS_RESOURCE for one that is mounted.
        run(Command::new("resize2fs").arg("-f").arg(disk.path()))
    });
    if grown.is_err() {
        // Nothing of it is used; what failed first is told.
        let _ = file.set_len(before).and_then(|()| disk.resized());
    }
    grown
}

/// One device for each file, whoever comes at the same time. The loop device keeps the file as it was opened
/// for it, with its locks: this is another opening.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Takes a mount away, with all its buffers written; what still uses it keeps it until it ends. Nothing when
/// nothing is mounted there.
///
/// # Errors
///
/// As umount(2).
pub fn unmount(at: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    let now = rustix::mount::unmount(at, UnmountFlags::NOFOLLOW);
    let done = match now {
        Err(Errno::BUSY) => {
            rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        }
        now => now,
    };
    match done {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Mounts a file system that was made just now on `at` for the first time, and takes its only entry away:
/// an empty one is to look empty.
///
/// # Errors
///
/// As [`mount`].
pub fn mount_new(path: &Path, at: &Path) -> io::Result<()> {
    mount(path, at)?;
    let cleared = fs::remove_dir(at.join("lost+found"));
    cleared.inspect_err(|_| drop(unmount(at)))
}
