//! What a container's writable layer adds to its image, changes and hides: `diff` and `commit`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use spec::files::{Change, ChangeKind};

use crate::pack::{Error, Marks, Packer};

/// Places that the engine makes in every container's layer so that something can be mounted there.
const PLACES: [&str; 16] = [
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "proc",
    "sys",
    "etc",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "run/.containerenv",
    ".dockerenv",
    "sys/fs",
    "sys/fs/cgroup",
];

/// The layers to be compared, with all paths beneath their roots.
#[derive(Debug)]
pub struct Layers {
    /// What the container wrote.
    pub upper: OwnedFd,
    /// The image.
    pub lower: OwnedFd,
}

const STRICT: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Everything that is different, by path. Blocks.
pub(crate) fn changes(layers: &Layers) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut pending = names(&layers.upper, "")?;
    while let Some(path) = pending.pop() {
        let Some(stat) = look(&layers.upper, &path)? else { continue };
        let beneath = look(&layers.lower, &path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if layers.is_hollow(&path)? {
            continue;
        }
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            changes.push(change(&path, ChangeKind::Deleted));
            continue;
        }
        let is = if beneath.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        changes.push(change(&path, is));
        if kind == FileType::Directory {
            let own = names(&layers.upper, &path)?;
            if beneath.is_some() && is_opaque(&layers.upper, &path)? {
                let hidden = names(&layers.lower, &path)?.into_iter();
                let hidden = hidden.filter(|name| !own.contains(name));
                let hidden =
                    hidden.map(|name| change(&format!("{path}/{name}"), ChangeKind::Deleted));
                changes.extend(hidden);
            }
            pending.extend(below(&path, own));
        }
    }
    changes.sort();
    Ok(changes)
}

/// Writes the writable layer as a layer of an image. Blocks.
pub(crate) fn pack(layers: &Layers, out: &mut dyn Write) -> Result<(), Error> {
    let skip = |path: &[u8]| {
        str::from_utf8(path).is_ok_and(|path| layers.is_hollow(path).unwrap_or(false))
    };
    let mut packer = Packer::new(out, layers.upper.as_fd(), Marks::Layer, &skip);
    packer.add(b".", b".")?;
    packer.finish().map(drop)
}

/// Takes away from the writable layer what is there only because something was mounted on it. Blocks.
pub fn strip(layers: &Layers) -> io::Result<()> {
    // What is within goes before what it is in.
    for path in PLACES.iter().rev() {
        if !layers.is_hollow(path)? {
            continue;
        }
        let (dir, leaf) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match sys::resolve::open(&layers.upper, dir, flags, STRICT) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            dir => dir?,
        };
        let flags = match rustix::fs::statat(&dir, leaf, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat if FileType::from_raw_mode(stat?.st_mode) == FileType::Directory => {
                AtFlags::REMOVEDIR
            }
            _ => AtFlags::empty(),
        };
        rustix::fs::unlinkat(&dir, leaf, flags)?;
    }
    Ok(())
}

/// Takes away from the tree at `root` what was only made to mount something on it: what stands empty at
/// `targets`, and the directories above that are not in the tree `beneath` either and hold nothing else.
/// Links lead no way out of a tree. Blocks.
pub fn clear(root: &OwnedFd, beneath: &OwnedFd, targets: &[String]) -> io::Result<()> {
    for target in targets {
        let mut place = Path::new(target);
        while let (Some(dir), Some(name)) = (place.parent(), place.file_name()) {
            if is_there(beneath, place)? || !remove_empty(root, dir, name)? {
                break;
            }
            place = dir;
        }
    }
    Ok(())
}

fn is_there(root: &OwnedFd, path: &Path) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match sys::resolve::open(root, path, flags, ResolveFlags::IN_ROOT) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        found => Ok(found.map(|_| true)?),
    }
}

/// Removes `name` in `dir` if nothing is in it; false if it stays.
fn remove_empty(root: &OwnedFd, dir: &Path, name: &OsStr) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match sys::resolve::open(root, dir, flags, ResolveFlags::IN_ROOT) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(true),
        dir => dir?,
    };
    let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(true),
        stat => stat?,
    };
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
        _ => return Ok(false),
    };
    match rustix::fs::unlinkat(&dir, name, flags) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        removed => Ok(removed.map(|()| true)?),
    }
}

impl Layers {
    /// Whether `path` is in the writable layer only because something is mounted on it or beneath it:
    /// then it is no change, and not for an image.
    fn is_hollow(&self, path: &str) -> io::Result<bool> {
        if !PLACES.contains(&path) {
            return Ok(false);
        }
        let Some(stat) = look(&self.upper, path)? else { return Ok(false) };
        if !is_place(path, &stat, look(&self.lower, path)?.as_ref()) {
            return Ok(false);
        }
        for below in below(path, names(&self.upper, path)?) {
            if !self.is_hollow(&below)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_place(path: &str, stat: &Stat, beneath: Option<&Stat>) -> bool {
    if !PLACES.contains(&path) {
        return false;
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => beneath.is_none_or(|old| {
            (old.st_mode, old.st_uid, old.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
        }),
        FileType::RegularFile => stat.st_size == 0 && beneath.is_none(),
        // `/dev/console` and the like.
        FileType::CharacterDevice => stat.st_rdev != 0,
        _ => false,
    }
}

/// What is at `path`, itself; `None` for nothing.
fn look(root: impl AsFd, path: &str) -> io::Result<Option<Stat>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match sys::resolve::open(root, path, flags, STRICT) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        file => Ok(Some(rustix::fs::statat(file?, "", AtFlags::EMPTY_PATH)?)),
    }
}

fn names(root: &OwnedFd, path: &str) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { "." } else { path };
    let dir = match sys::resolve::open(root, path, flags, STRICT) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        dir => dir?,
    };
    let mut names = Vec::new();
    for entry in Dir::new(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn below(path: &str, names: Vec<String>) -> impl Iterator<Item = String> {
    let path = path.to_owned();
    names.into_iter().map(move |name| format!("{path}/{name}"))
}

/// Whether the directory at `path` shows nothing of the image's.
fn is_opaque(root: &OwnedFd, path: &str) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match sys::resolve::open(root, path, flags, STRICT) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        dir => dir?,
    };
    let mut value = [0_u8; 1];
    let read = rustix::fs::fgetxattr(dir, "trusted.overlay.opaque", &mut value);
    Ok(read.is_ok_and(|length| value.get(..length) == Some(b"y")))
}

fn change(path: &str, kind: ChangeKind) -> Change {
    Change { path: format!("/{path}"), kind }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_made_to_mount_on_goes_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |path: &str| dir.path().join(path);
        for made in ["beneath/run", "root/run/secrets", "root/kept/full", "root/kept/mount"] {
            fs::create_dir_all(at(made)).expect("a directory");
        }
        for (path, text) in [
            ("root/run/secrets/token", ""),
            ("root/run/full", "x"),
            ("root/kept/full/x", ""),
            ("outside", ""),
        ] {
            fs::write(at(path), text).expect("a file");
        }
        symlink("/run", at("root/var")).expect("a link");
        symlink("../../..", at("root/up")).expect("a link");
        let open = |path: &str| crate::view::open(&at(path)).expect("a directory");
        let targets = [
            "/var/secrets/token",
            "/run/full",
            "/kept/full",
            "/kept/mount",
            "/up/outside",
            "/var",
            "/never/made",
            "/",
        ];
        clear(&open("root"), &open("beneath"), &targets.map(str::to_owned)).expect("cleared");
        for (path, stays) in [
            ("root/run/secrets", false),
            ("root/run/full", true),
            ("root/kept/full/x", true),
            ("root/kept/mount", false),
            ("outside", true),
            ("root/var", true),
        ] {
            assert_eq!(at(path).symlink_metadata().is_ok(), stays, "{path}");
        }
    }
}
