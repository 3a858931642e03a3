//! Mounts of a container that does not run, put where its program would see them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use spec::oci::runtime as oci;

/// A directory or file that is seen at a place of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graft {
    /// What is seen.
    pub source: PathBuf,
    /// Where, in the container.
    pub destination: PathBuf,
    /// Whether it can only be read.
    pub readonly: bool,
}

/// Symlinks are followed inside the root.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Graft {
    /// The bind mounts of a configuration, those on top last.
    pub fn of(spec: &oci::Spec) -> Vec<Self> {
        let binds = spec.mounts().iter().flatten().filter(|mount| is_bind(mount));
        let mut grafts: Vec<_> = binds
            .map(|mount| Self {
                source: mount.source().clone().unwrap_or_default(),
                destination: mount.destination().clone(),
                readonly: mount.options().iter().flatten().any(|option| option == "ro"),
            })
            .collect();
        grafts.sort_by_key(|graft| graft.destination.components().count());
        grafts
    }

    /// Mounts it beneath `root`, making the place if there is none. In the caller's mount namespace.
    pub fn mount(&self, root: &OwnedFd) -> io::Result<()> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let from = open_tree(CWD, &self.source, clone)?;
        let place = self.place(root, &from)?;
        let both =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&from, "", &place, "", both)?;
        if self.readonly {
            let path = format!("/proc/self/fd/{}", from.as_raw_fd());
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            rustix::mount::mount_remount(path, flags, "")?;
        }
        Ok(())
    }

    fn place(&self, root: &OwnedFd, from: &OwnedFd) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match sys::resolve::open(root, &self.destination, flags, INSIDE) {
            Err(Errno::NOENT) => {}
            place => return Ok(place?),
        }
        let stat = rustix::fs::statat(from, "", AtFlags::EMPTY_PATH)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Errno::NOENT.into());
        }
        self.make_directories(root)
    }

    /// Makes the directories of the destination, one at a time and inside the root.
    fn make_directories(&self, root: &OwnedFd) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir = sys::resolve::open(root, "/", flags, INSIDE)?;
        let mut at = PathBuf::from("/");
        for part in self.destination.components().skip(1) {
            at.push(part);
            dir = match sys::resolve::open(root, &at, flags, INSIDE) {
                Err(Errno::NOENT) => {
                    let part: &std::path::Path = part.as_ref();
                    rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o755))?;
                    rustix::fs::openat(&dir, part, flags | OFlags::NOFOLLOW, Mode::empty())?
                }
                found => found?,
            };
        }
        Ok(dir)
    }
}

/// Whether a mount shows what is elsewhere already. One that changes a mount shows nothing.
pub fn is_bind(mount: &oci::Mount) -> bool {
    let has =
        |names: &[&str]| mount.options().iter().flatten().any(|one| names.contains(&one.as_str()));
    (mount.typ().as_deref() == Some("bind") || has(&["bind", "rbind"])) && !has(&["remount"])
}
