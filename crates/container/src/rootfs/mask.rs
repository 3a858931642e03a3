//! Hidden paths, read-only paths and kernel parameters.
//!
//! Nothing here trusts what lies at a name in the container: the null device is checked by its number
//! on an open descriptor (CVE-2025-31133), parameters are written through a proc filesystem of our own
//! that nothing is mounted over (CVE-2019-19921, CVE-2025-52881).
//!
//! Spec: OCI runtime-spec, config-linux.md "Masked Paths", "Readonly Paths", "Sysctl".

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
use sys::mount::Attributes;

use super::mount::{attach, clone, make};
use super::options::Options;
use super::{Error, Tree};

const READONLY: Attributes =
    Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, userns: 0 };

/// Makes each path that exists read-only, with all that is mounted beneath.
pub(super) fn readonly(tree: &Tree, paths: &[String]) -> Result<(), Error> {
    for path in paths {
        lock(tree, path).map_err(|source| Error::Path {
            action: "make read-only",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn lock(tree: &Tree, path: &str) -> io::Result<()> {
    let Some(at) = existing(tree, path)? else { return Ok(()) };
    let copy = clone(&at, Path::new(""), true)?;
    sys::mount::set_attributes(&copy, c"", true, &READONLY)?;
    attach(&copy, &at, &Options::default())
}

/// The path, opened to be mounted on; `None` when there is none.
fn existing(tree: &Tree, path: &str) -> io::Result<Option<OwnedFd>> {
    match tree.open(path, OFlags::PATH) {
        Ok(at) => Ok(Some(at)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Puts an empty read-only directory over each directory, the null device over everything else.
pub(super) fn hide(tree: &Tree, paths: &[String]) -> Result<(), Error> {
    let mut covers = Covers::default();
    for path in paths {
        covers.put(tree, path).map_err(|source| Error::Path {
            action: "mask",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// What paths are covered with: made once, then cloned.
#[derive(Default)]
struct Covers {
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Covers {
    fn put(&mut self, tree: &Tree, path: &str) -> io::Result<()> {
        let Some(at) = existing(tree, path)? else { return Ok(()) };
        let cover = match FileType::from_raw_mode(fstat(&at)?.st_mode) {
            FileType::Directory => cover(&mut self.directory, empty)?,
            _ => cover(&mut self.null, || null(tree))?,
        };
        attach(&cover, &at, &Options::default())
    }
}

/// A clone of what `slot` holds, made at first.
fn cover(
    slot: &mut Option<OwnedFd>,
    make: impl FnOnce() -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    if let Some(first) = slot {
        return Ok(clone(first, Path::new(""), false)?);
    }
    // Attached and detached mounts alike can be cloned; this one stays with its first place.
    let first = make()?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&first, 3)?;
    *slot = Some(first);
    Ok(copy)
}

fn empty() -> io::Result<OwnedFd> {
    let options = Options { attributes: READONLY, ..Options::default() };
    let data = ["size=0k", "mode=755", "nr_inodes=1"].map(str::to_owned);
    make("tmpfs", "tmpfs".as_ref(), &data, &options)
}

/// The container's null device: read-only, so that its mode cannot be changed by another name.
fn null(tree: &Tree) -> io::Result<OwnedFd> {
    let device = tree.open("/dev/null", OFlags::PATH)?;
    let stat = fstat(&device)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::CharacterDevice || stat.st_rdev != makedev(1, 3) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/null is not the null device"));
    }
    let copy = clone(&device, Path::new(""), false)?;
    sys::mount::set_attributes(&copy, c"", false, &READONLY)?;
    Ok(copy)
}

/// Writes kernel parameters, which are known to belong to the container's namespaces.
pub(super) fn set_parameters(parameters: &HashMap<String, String>) -> Result<(), Error> {
    let proc = make("proc", "proc".as_ref(), &[], &Options::default())
        .map_err(Error::step("open a proc filesystem for linux.sysctl"))?;
    for (name, value) in parameters {
        set_parameter(&proc, name, value).map_err(|source| Error::Path {
            action: "set linux.sysctl",
            path: name.clone(),
            source,
        })?;
    }
    Ok(())
}

fn set_parameter(proc: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("sys").join(spec::sysctl::path(name));
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat2(proc, &path, flags, Mode::empty(), how)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}
