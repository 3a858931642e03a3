//! Shutting the server in: a root that holds nothing but what is shared, a user that nobody is, and of root's
//! rights those alone that serving files for all of a guest's users takes.
//!
//! Runs in the server's process while it has one thread.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid};
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
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&network),
        Some(LinkNameSpaceType::Network),
    )?;
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
