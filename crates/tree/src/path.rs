//! Archives out of a container's tree and into it, as `cp` wants them.
//!
//! Paths are the container's. The last component of a path is not followed if it is a symlink, unless a
//! slash or `/.` behind it says so; symlinks on the way are, inside the container.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use spec::files::{PathStat, Put};

use crate::files::Error;
use crate::pack::{Marks, Packer};
use crate::unpack::extract::{Extract, extract};

/// Symlinks are followed inside the root.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A place beneath a container's root that exists.
struct Place {
    /// The directory that it is in, or itself.
    dir: OwnedFd,
    /// Its name there; `.` for the directory itself.
    leaf: Vec<u8>,
    stat: Stat,
}

/// A path of a client: the directory part, the last component, and the name that it goes by.
struct Parts<'a> {
    dir: &'a str,
    leaf: &'a str,
    name: &'a str,
}

/// As Docker splits: `/a/b` is `b` in `/a`; `/a/b/` and `/a/b/.` are `.` in `/a/b`.
fn split(path: &str) -> Parts<'_> {
    let bare = path.strip_suffix("/.").unwrap_or(path);
    let trimmed = bare.trim_end_matches('/');
    let name = trimmed.rsplit('/').next().unwrap_or_default();
    let name = if trimmed.is_empty() { "/" } else { name };
    if path.ends_with("/.") && !trimmed.is_empty() {
        return Parts { dir: trimmed, leaf: ".", name: "." };
    }
    if trimmed.is_empty() || path.ends_with('/') || matches!(name, "." | "..") {
        return Parts { dir: trimmed, leaf: ".", name };
    }
    let cut = trimmed.len() - name.len();
    Parts { dir: trimmed.get(..cut).unwrap_or_default(), leaf: name, name }
}

fn find(root: &OwnedFd, parts: &Parts<'_>) -> Result<Place, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = if parts.dir.is_empty() { "/" } else { parts.dir };
    let dir = sys::resolve::open(root, dir, flags, INSIDE)?;
    let leaf = parts.leaf.as_bytes().to_vec();
    let stat = match parts.leaf {
        "." => rustix::fs::fstat(&dir)?,
        leaf => rustix::fs::statat(&dir, leaf, AtFlags::SYMLINK_NOFOLLOW)?,
    };
    Ok(Place { dir, leaf, stat })
}

/// What is at `path` beneath `root`.
pub(crate) fn stat(root: &OwnedFd, path: &str) -> Result<PathStat, Error> {
    let parts = split(path);
    let place = find(root, &parts).map_err(|error| absent(error, path))?;
    Ok(describe(root, &parts, &place))
}

fn describe(root: &OwnedFd, parts: &Parts<'_>, place: &Place) -> PathStat {
    let stat = &place.stat;
    let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    let nanoseconds = Duration::from_nanos(stat.st_mtime_nsec);
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    PathStat {
        name: parts.name.to_owned(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode,
        mtime: UNIX_EPOCH + seconds + nanoseconds,
        link_target: if is_link { target(root, parts, place) } else { String::new() },
    }
}

/// Where a symlink leads: all of the way if there is something, else its own text.
fn target(root: &OwnedFd, parts: &Parts<'_>, place: &Place) -> String {
    let path = format!("{}/{}", parts.dir, parts.leaf);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let shown = |file: &OwnedFd| {
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::fs::read_link(link).map(|path| path.to_string_lossy().into_owned())
    };
    if let Ok(file) = sys::resolve::open(root, &path, flags, INSIDE)
        && let (Ok(top), Ok(full)) = (shown(root), shown(&file))
    {
        let inner = full.strip_prefix(top.trim_end_matches('/')).unwrap_or(&full);
        return format!("/{}", inner.trim_start_matches('/'));
    }
    let text = rustix::fs::readlinkat(&place.dir, place.leaf.as_slice(), Vec::new());
    let text = text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    if text.starts_with('/') { text } else { format!("{}/{text}", parts.dir.trim_end_matches('/')) }
}

/// Writes what is at `path` as an archive, under its last component's name.
pub(crate) fn read(root: &OwnedFd, path: &str, out: impl Write) -> Result<(), Error> {
    let parts = split(path);
    let place = find(root, &parts).map_err(|error| absent(error, path))?;
    if FileType::from_raw_mode(place.stat.st_mode) != FileType::Directory {
        let mut packer = Packer::new(out, place.dir.as_fd(), Marks::Files, &|_| false);
        packer.add(&place.leaf, parts.name.as_bytes())?;
        packer.finish()?;
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let leaf = std::ffi::OsStr::from_bytes(&place.leaf);
    let dir = rustix::fs::openat(&place.dir, leaf, flags, Mode::empty());
    let dir = dir.map_err(|error| absent(error, path))?;
    let mut packer = Packer::new(out, dir.as_fd(), Marks::Files, &|_| false);
    packer.add(b".", if parts.name == "." { b"./" } else { parts.name.as_bytes() })?;
    packer.finish()?;
    Ok(())
}

/// Unpacks an archive into the directory that `how` names.
pub(crate) fn write(root: OwnedFd, how: &Put, archive: impl Read) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let base = normal(&how.path);
    let at = [b"/", &base[..]].concat();
    let there = sys::resolve::open(&root, at.as_slice(), flags, INSIDE);
    let there = there.map_err(|error| absent(error, &how.path))?;
    let stat = rustix::fs::fstat(&there).map_err(|error| absent(error, &how.path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::NoDirectory);
    }
    let (owner, keep_kinds) = (how.owner, how.keep_kinds);
    let how = Extract { base, owner, keep_kinds, ..Extract::default() };
    Ok(extract(archive, root, &how)?)
}

/// A path without `.` and `..`; what goes above the root stays there.
pub fn normal(path: &str) -> Vec<u8> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    std::ffi::OsString::from(parts.join("/")).into_vec()
}

fn absent(error: Errno, path: &str) -> Error {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Error::Absent { path: path.to_owned() },
        error => Error::Look { path: path.to_owned(), source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_as_by_docker() {
        let cases = [
            ("/a/b", ("/a/", "b", "b")),
            ("a", ("", "a", "a")),
            ("/a/b/", ("/a/b", ".", "b")),
            ("/a/b/.", ("/a/b", ".", ".")),
            ("/", ("", ".", "/")),
            ("/.", ("", ".", "/")),
            ("/a/..", ("/a/..", ".", "..")),
        ];
        for (path, want) in cases {
            let parts = split(path);
            assert_eq!((parts.dir, parts.leaf, parts.name), want, "{path}");
        }
        assert_eq!(normal("/a/../../b/./c"), b"b/c");
    }
}
