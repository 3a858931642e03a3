//! Mounts that are put together for a container before it starts: parts of volumes, and images.
//!
//! ```text
//!   volume ──┐  the part is opened beneath it,      ┌─▶ <exec_root>/mounts/ID/N
//!   image  ──┴─ a copy of its mount is attached at ─┘      bound from there, as any directory or file
//! ```
//!
//! N is the place among the container's mount points. Other containers write a volume meanwhile: a path
//! beneath it that was looked at may be a symlink to the host's files when it is mounted. So the part is
//! opened once, by openat2(2) with `RESOLVE_BENEATH`, and what was opened is mounted; the bundle names the
//! mount, whose path is the engine's own.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use image::Images;
use rustix::fs::{AtFlags, CWD, FileType, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree};
use sys::mount::Attributes;
use tree::view;

use crate::container::Container;
use crate::error::Error;
use crate::mountpoint::{MountKind, MountPoint};

/// Symlinks are followed as long as they do not lead out.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// Where the mount point at this place of a container's list is put together.
pub(crate) fn place(dir: &Path, number: usize) -> PathBuf {
    dir.join(number.to_string())
}

/// Puts together what `container` wants so, in place of what an earlier run left. On failure what was made
/// stays until [`unmount`]. Blocks.
pub(crate) fn mount(dir: &Path, container: &Container, images: &Images) -> Result<(), Error> {
    unmount(dir)?;
    let points = container.mounts.iter().enumerate().filter(|(_, point)| point.is_staged());
    for (number, point) in points {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        let at = place(dir, number);
        match point.kind {
            MountKind::Image => image(point, images, &at)?,
            _ => attach(&part(point, Path::new(&point.source), true)?, &at, point)?,
        }
    }
    Ok(())
}

/// Takes all of it away; nothing when there is nothing. Blocks.
pub(crate) fn unmount(dir: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("list", dir))?,
    };
    for entry in entries {
        let at = entry.map_err(failed("list", dir))?.path();
        detach(&at)?;
        let is_dir = at.symlink_metadata().is_ok_and(|found| found.is_dir());
        let removed = if is_dir { fs::remove_dir(&at) } else { fs::remove_file(&at) };
        removed.map_err(failed("remove", &at))?;
    }
    fs::remove_dir(dir).map_err(failed("remove", dir))
}

/// The part of a volume that `point` names, opened.
pub(crate) fn open(point: &MountPoint) -> Result<OwnedFd, Error> {
    let source = Path::new(&point.source);
    let root = view::open(source).map_err(failed("open", source))?;
    if point.subpath.is_empty() {
        return Ok(root);
    }
    beneath(&root, &point.subpath).map_err(|error| unreachable(error, source, &point.subpath))
}

fn beneath(root: &OwnedFd, subpath: &str) -> Result<OwnedFd, Errno> {
    sys::resolve::open(root, subpath, OFlags::PATH | OFlags::CLOEXEC, BENEATH)
}

/// Docker's words for a part that cannot be had.
fn unreachable(error: Errno, base: &Path, subpath: &str) -> Error {
    let base = base.display();
    Error::Mount(match error {
        Errno::XDEV => format!(
            "path concatenation escapes the base directory, base: {base}, subpath: {subpath}"
        ),
        error => format!("cannot access path {base}/{subpath}: {}", io::Error::from(error)),
    })
}

/// A copy of the mount beneath `root` whose root is the part that `point` names.
fn part(point: &MountPoint, root: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let opened = view::open(root).map_err(failed("open", root))?;
    let opened = match point.subpath.as_str() {
        "" => opened,
        subpath => beneath(&opened, subpath).map_err(|error| unreachable(error, root, subpath))?,
    };
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(&opened, "", flags).map_err(|error| failed("copy the mount of", root)(error.into()))
}

/// Mounts an image's layers, or a part of what they are together, read-only. They are attached whole first:
/// before Linux 6.15 a mount that is attached nowhere cannot be copied.
fn image(point: &MountPoint, images: &Images, at: &Path) -> Result<(), Error> {
    let top = point.layer.parse().map_err(|error| Error::Mount(format!("image: {error}")))?;
    let layers = images.lent(&top)?;
    if let [only] = layers.as_slice() {
        return attach(&part(point, only, false)?, at, point);
    }
    let whole = view::layers(&layers, None).map_err(failed("mount layers on", at))?;
    fs::create_dir(at).map_err(failed("make", at))?;
    moved(&whole, at)?;
    if point.subpath.is_empty() {
        return seal(&whole, at);
    }
    let part = part(point, at, false)?;
    detach(at)?;
    fs::remove_dir(at).map_err(failed("remove", at))?;
    attach(&part, at, point)
}

/// Attaches `tree` at `at`, where nothing is yet.
fn attach(tree: &OwnedFd, at: &Path, point: &MountPoint) -> Result<(), Error> {
    let stat = rustix::fs::statat(tree, "", AtFlags::EMPTY_PATH);
    let stat = stat.map_err(|error| failed("look at the source of", at)(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => fs::create_dir(at),
        _ => fs::File::create_new(at).map(drop),
    }
    .map_err(failed("make", at))?;
    if point.kind == MountKind::Image {
        seal(tree, at)?;
    }
    moved(tree, at)
}

fn moved(tree: &OwnedFd, at: &Path) -> Result<(), Error> {
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", CWD, at, whole).map_err(|error| failed("mount on", at)(error.into()))
}

/// Nobody writes an image, whatever the container's own mount says.
fn seal(tree: &OwnedFd, at: &Path) -> Result<(), Error> {
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV;
    let attributes = Attributes { set, ..Attributes::default() };
    sys::mount::set_attributes(tree, c"", false, &attributes)
        .map_err(failed("make read-only what is on", at))
}

fn detach(at: &Path) -> Result<(), Error> {
    match rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("unmount", at)(error.into())),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn point(source: &Path, subpath: &str) -> MountPoint {
        let (source, subpath) = (source.to_string_lossy().into_owned(), subpath.to_owned());
        MountPoint { kind: MountKind::Volume, source, subpath, ..MountPoint::default() }
    }

    #[test]
    fn a_part_lies_beneath_its_volume_whatever_links_say() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let volume = temp.path().join("volume");
        fs::create_dir_all(volume.join("sub")).expect("directory");
        fs::create_dir(volume.join("hack")).expect("directory");
        for (target, link) in
            [("../sub", "hack/good"), ("/", "hack/root"), ("root", "hack/bad"), ("../..", "up")]
        {
            symlink(target, volume.join(link)).expect("link");
        }
        for (subpath, want) in [
            ("sub", None),
            ("hack/good", None),
            ("hack/../sub", None),
            ("hack/root", Some("path concatenation escapes the base directory")),
            ("hack/bad", Some("path concatenation escapes the base directory")),
            ("up", Some("path concatenation escapes the base directory")),
            ("none", Some("cannot access path")),
        ] {
            let said = open(&point(&volume, subpath)).err().map(|error| error.to_string());
            match want {
                None => assert_eq!(said, None, "{subpath}"),
                Some(want) => assert!(said.is_some_and(|said| said.contains(want)), "{subpath}"),
            }
        }
    }
}
