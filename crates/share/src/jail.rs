//! Shutting the server in: a root that holds nothing but what is shared, a user that nobody is, and of root's
//! rights those alone that serving files for all of a guest's users takes. Where the kernel has Landlock, nothing
//! else can be opened either, whatever the server comes to hold: it executes nothing, makes no device, and writes
//! nothing that is shared for reading.
//!
//! Runs in the server's process while it has one thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid};
use sys::landlock::{self, Access};
use sys::mount::Attributes;

/// To serve files of all owners: give them away, get past their modes, set those, keep set-group-id bits
/// and capabilities of files. Not to make devices, nor to open files by handle, which no mount confines.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP);

/// Moves into a root of `shares` alone, which are mounts that are nowhere yet; gives the root. The working
/// directory is `/proc/self/fd` afterwards.
pub(crate) fn enter(shares: Vec<OwnedFd>) -> io::Result<OwnedFd> {
    let own_files = directory("/proc/self/fd")?;
    let network = sys::netns::make()?;
    rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    sys::worker::isolate()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;

    let filesystem = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&filesystem, "mode", "755")?;
    rustix::mount::fsconfig_create(&filesystem)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let root = rustix::mount::fsmount(&filesystem, flags, MountAttrFlags::empty())?;
    // Any directory will do: it is the way to the new root, and gone with the old one.
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&root, "", CWD, "/proc", whole)?;
    for (number, share) in shares.iter().enumerate() {
        place(&root, &number.to_string(), share)?;
    }
    drop(shares);
    let readonly = Attributes { set: sealed(true), ..Attributes::default() };
    sys::mount::set_attributes(&root, c"", false, &readonly)?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    let root = directory("/")?;
    rustix::process::fchdir(&own_files)?;
    Ok(root)
}

/// Lets the process, which is under no_new_privs, open what is shared beneath `root`, by `readonly` of each, and
/// nothing else; gives whether it does. A Landlock that knows no moves between directories (ABI 1, before
/// Linux 5.19) would refuse them to the guest, so there it is done without.
pub(crate) fn lock(root: &OwnedFd, readonly: &[bool]) -> io::Result<bool> {
    if landlock::version()?.is_none_or(|abi| abi < 2) {
        return Ok(false);
    }
    let read = Access::READ.and(Access::LIST);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let shares = readonly.iter().enumerate().map(|(number, readonly)| {
        let share = rustix::fs::openat(root, number.to_string(), flags, Mode::empty())?;
        Ok((share, if *readonly { read } else { read.and(Access::WRITE).and(Access::RENAME) }))
    });
    let shares = shares.collect::<io::Result<Vec<_>>>()?;
    let rules = shares.iter().map(|(share, access)| (share.as_fd(), *access));
    let rules: Vec<_> = rules.chain([(root.as_fd(), Access::LIST)]).collect();
    landlock::restrict(&rules).map(|abi| abi.is_some())
}

/// The attributes of a mount that is served from: nothing on it is ever executed or a device here.
pub(crate) fn sealed(readonly: bool) -> u64 {
    let sealed = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    u64::from(if readonly { sealed | only } else { sealed }.bits())
}

fn directory(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Mounts a share under its name.
fn place(root: &OwnedFd, name: &str, share: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::statat(share, "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        rustix::fs::mkdirat(root, name, Mode::RWXU)?;
    } else {
        rustix::fs::mknodat(root, name, FileType::RegularFile, Mode::RUSR, 0)?;
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let on = rustix::fs::openat(root, name, flags, Mode::empty())?;
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(share, "", &on, "", both)?)
}

/// Becomes `user`, with the rights that are kept and no way to others. Gives how many descriptors it may have.
pub(crate) fn become_nobody(user: u32) -> io::Result<usize> {
    let limit = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    sys::bounding::limit(CapabilitySet::empty())?;
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_gid(Gid::from_raw(user))?;
    rustix::thread::set_thread_uid(Uid::from_raw(user))?;
    let (effective, permitted, inheritable) = (KEPT, KEPT, CapabilitySet::empty());
    rustix::thread::set_capabilities(None, CapabilitySets { effective, permitted, inheritable })?;
    // A process that is not root's is dumpable by its own kind, of which there is none.
    rustix::thread::set_no_new_privs(true)?;
    Ok(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::*;

    fn errno<T>(done: io::Result<T>) -> Option<i32> {
        done.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn nothing_is_opened_beside_what_is_shared() {
        let jail = tempfile::tempdir().expect("a directory");
        let [at, only_read] = ["0", "1"].map(|name| jail.path().join(name));
        let (secret, link) = (jail.path().join("secret"), at.join("link"));
        for directory in [&at, &only_read] {
            fs::create_dir(directory).expect("a directory");
            fs::write(directory.join("file"), "text").expect("a file");
        }
        fs::write(&secret, "text").expect("a file");
        symlink(&secret, &link).expect("a link");
        let root = OwnedFd::from(File::open(jail.path()).expect("it is there"));
        let refused = |done: io::Result<()>, what: &Path| {
            assert_eq!(errno(done), Some(libc::EACCES), "{}", what.display());
        };
        let work = || {
            rustix::thread::set_no_new_privs(true).expect("allowed");
            if !lock(&root, &[false, true]).expect("locked") {
                println!("skipped: a kernel without Landlock, or with its first ABI");
                return;
            }
            fs::create_dir(at.join("directory")).expect("made");
            fs::rename(at.join("file"), at.join("directory/moved")).expect("moved");
            fs::hard_link(at.join("directory/moved"), at.join("linked")).expect("linked");
            File::options().write(true).truncate(true).open(at.join("linked")).expect("cut");
            fs::remove_file(at.join("linked")).expect("removed");
            assert_eq!(fs::read_dir(&at).expect("listed").count(), 2);
            assert_eq!(fs::read(only_read.join("file")).expect("read"), b"text");
            for path in [&secret, &link, &PathBuf::from("/dev/null"), &"/proc/self/status".into()] {
                refused(File::open(path).map(drop), path);
            }
            let file = only_read.join("file");
            refused(File::options().append(true).open(&file).map(drop), &file);
            refused(fs::remove_file(&file), &file);
            refused(fs::write(only_read.join("new"), ""), &only_read);
            refused(fs::create_dir(jail.path().join("2")), jail.path());
            let away = fs::rename(at.join("directory/moved"), jail.path().join("moved"));
            assert!(matches!(errno(away), Some(libc::EACCES | libc::EXDEV)), "moved out");
        };
        std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
    }
}
