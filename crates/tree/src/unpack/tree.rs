//! A directory tree that is its own root.
//!
//! Directories are found by openat2 with `RESOLVE_IN_ROOT`: the kernel itself keeps `..` and symlinks
//! inside. Everything else is done with one name in an open directory and never follows it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::archive::Member;
use crate::disk::{self, Context};

/// How directories are opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How symlinks on the way are resolved.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// Overlayfs's mark of a directory that shows nothing of the layers beneath.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// The layer being filled.
pub(super) struct Tree {
    root: OwnedFd,
}

/// The layers beneath it, topmost first.
pub(super) struct Lower(Vec<OwnedFd>);

/// What is at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

/// What a directory has besides its contents.
pub(super) struct Attributes {
    mode: Mode,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
}

impl Tree {
    /// Opens `root`.
    pub(super) fn open(root: &Path) -> Result<Self, disk::Error> {
        Ok(Self { root: open_root(root).on("open", root)? })
    }

    /// A tree whose root is open already.
    pub(super) fn at(root: OwnedFd) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory at `parts`, made if need be; what is made is noted in `implied`, unless it hides what
    /// is beneath.
    pub(super) fn make_dir(
        &self,
        parts: &[&[u8]],
        implied: &mut BTreeSet<Vec<u8>>,
    ) -> io::Result<OwnedFd> {
        match self.find_dir(&parts.join(&b'/')) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            found => return Ok(found?),
        }
        let (leaf, parents) = parts.split_last().ok_or(io::ErrorKind::NotFound)?;
        let parent = self.make_dir(parents, implied)?;
        let leaf = OsStr::from_bytes(leaf);
        let hidden = existing(&parent, leaf)? == Existing::Whiteout;
        if hidden {
            remove(&parent, leaf, Existing::Whiteout)?;
        }
        rustix::fs::mkdirat(&parent, leaf, Mode::from_raw_mode(0o755))?;
        let made = rustix::fs::openat(&parent, leaf, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        if hidden {
            make_opaque(&made)?;
        } else {
            implied.insert(parts.join(&b'/'));
        }
        Ok(made)
    }

    /// Gives the directory at `path` the attributes that it has in `lower`, if both are there.
    pub(super) fn settle(&self, path: &[u8], lower: &Lower) -> io::Result<()> {
        let Some(attributes) = lower.find(path) else { return Ok(()) };
        match self.find_dir(path) {
            Ok(dir) => attributes.apply(dir),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn find_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        sys::resolve::open(&self.root, path, DIRECTORY, INSIDE)
    }

    /// Gives `leaf` in `dir` the file that is `target` in `parents`.
    pub(super) fn link(
        &self,
        parents: &[&[u8]],
        target: &OsStr,
        dir: &OwnedFd,
        leaf: &OsStr,
    ) -> io::Result<()> {
        let parent = self.find_dir(&parents.join(&b'/'))?;
        Ok(rustix::fs::linkat(parent, target, dir, leaf, AtFlags::empty())?)
    }

    /// Sets the time of a directory if it still is one.
    pub(super) fn set_directory_time(&self, path: &[u8], mtime: (i64, u32)) -> io::Result<()> {
        match self.find_dir(path) {
            Ok(dir) => set_times(dir, mtime),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl Lower {
    pub(super) fn open(layers: &[PathBuf]) -> Result<Self, disk::Error> {
        let open = |path: &PathBuf| open_root(path).on("open", path);
        Ok(Self(layers.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// What the layers say of the directory at `path`.
    fn find(&self, path: &[u8]) -> Option<Attributes> {
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        for layer in &self.0 {
            match sys::resolve::open(layer, path, DIRECTORY, strict) {
                Ok(found) => return Attributes::of(&found).ok(),
                Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

impl Attributes {
    pub(super) fn of(dir: impl AsFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(dir)?;
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Ok(Self {
            mode: Mode::from_raw_mode(stat.st_mode),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, nanoseconds),
        })
    }

    pub(super) fn apply(&self, dir: impl AsFd) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::fchown(&dir, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&dir, self.mode)?;
        set_times(&dir, self.mtime)
    }
}

/// Opens a directory whose path is ours.
pub(super) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// What `leaf` in `dir` is.
pub(super) fn existing(dir: &OwnedFd, leaf: &OsStr) -> io::Result<Existing> {
    let stat = match rustix::fs::statat(dir, leaf, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Existing::Nothing),
        stat => stat?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Existing::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Existing::Whiteout,
        _ => Existing::Other,
    })
}

/// Removes `leaf` in `dir`, a directory with all that is in it.
pub(super) fn remove(dir: &OwnedFd, leaf: &OsStr, existing: Existing) -> io::Result<()> {
    match existing {
        Existing::Nothing => Ok(()),
        Existing::Directory => {
            disk::remove_tree(&path_of(dir, leaf)).map_err(|removal| removal.source)
        }
        Existing::Whiteout | Existing::Other => {
            Ok(rustix::fs::unlinkat(dir, leaf, AtFlags::empty())?)
        }
    }
}

/// Makes `dir` show nothing of the layers beneath.
pub(super) fn make_opaque(dir: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(dir, OPAQUE_XATTR, b"y", XattrFlags::empty())?)
}

/// Makes `leaf` of the layers beneath disappear.
pub(super) fn hide(dir: impl AsFd, leaf: &OsStr) -> io::Result<()> {
    let device = FileType::CharacterDevice;
    match rustix::fs::mknodat(&dir, leaf, device, Mode::empty(), 0) {
        Err(Errno::EXIST) => {}
        made => return Ok(made?),
    }
    // This layer has something of that name; only a directory lets through what is beneath.
    match rustix::fs::openat(&dir, leaf, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(own) => make_opaque(own),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The directory `leaf` in `dir`, made unless it is there.
pub(super) fn enter_or_make(dir: &OwnedFd, leaf: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, leaf, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(rustix::fs::openat(dir, leaf, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?)
}

/// An empty file that did not exist.
pub(super) fn new_file(dir: &OwnedFd, leaf: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, leaf, flags, Mode::from_raw_mode(0o600))?.into())
}

/// A FIFO or device.
pub(super) fn node(
    dir: &OwnedFd,
    leaf: &OsStr,
    kind: FileType,
    (major, minor): (u32, u32),
    member: &Member,
) -> io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(dir, leaf, kind, Mode::from_raw_mode(0o600), device)?;
    dress_owner(dir, leaf, member)?;
    rustix::fs::chmodat(dir, leaf, Mode::from_raw_mode(member.mode), AtFlags::empty())?;
    dress_rest(dir, leaf, member)
}

/// Owner, mode and xattrs of `member` for an open file or directory. In this order: a change of owner
/// takes set-id bits and capabilities away.
pub(super) fn dress(file: impl AsFd, member: &Member) -> io::Result<()> {
    let (uid, gid) = owner(member);
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(member.mode))?;
    for (name, value) in &member.xattrs {
        rustix::fs::fsetxattr(&file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Owner, xattrs and time of a new symlink.
pub(super) fn dress_link(dir: &OwnedFd, leaf: &OsStr, member: &Member) -> io::Result<()> {
    dress_owner(dir, leaf, member)?;
    dress_rest(dir, leaf, member)
}

fn dress_owner(dir: &OwnedFd, leaf: &OsStr, member: &Member) -> io::Result<()> {
    let (uid, gid) = owner(member);
    Ok(rustix::fs::chownat(dir, leaf, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn dress_rest(dir: &OwnedFd, leaf: &OsStr, member: &Member) -> io::Result<()> {
    for (name, value) in &member.xattrs {
        let path = path_of(dir, leaf);
        rustix::fs::lsetxattr(path, name.as_slice(), value, XattrFlags::empty())?;
    }
    let times = timestamps(member.mtime);
    Ok(rustix::fs::utimensat(dir, leaf, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the time of change of an open file.
pub(super) fn set_times(file: impl AsFd, mtime: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &timestamps(mtime))?)
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

fn owner(member: &Member) -> (Uid, Gid) {
    (Uid::from_raw(member.uid), Gid::from_raw(member.gid))
}

/// A path to `leaf` in an open directory, for calls that take no descriptor.
fn path_of(dir: &OwnedFd, leaf: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(leaf)
}
