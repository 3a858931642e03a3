//! The disk of a container whose writes are limited: an ext4 in a file, with the directories of its overlay.
//!
//! ```text
//!   <bundle>/scratch.ext4 ─loop─▶ <bundle>/scratch/{upper,work}     mounted while something uses it
//! ```
//!
//! The same file, made by the same code, is what a VM has as its second disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use spec::{Kind, annotation};
use tree::image;
use vmm::disk::Look;

use crate::{Bundle, Rootfs};

/// Where it is mounted, in the bundle.
pub(super) const AT: &str = "scratch";

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be made.
    #[error(transparent)]
    Make(#[from] vmm::disk::Error),
    /// It could not be used.
    #[error("{action} {}", path.display())]
    File {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Make(error) => error.kind(),
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Kind::Exhausted,
                io::ErrorKind::Unsupported => Kind::Unsupported,
                _ => Kind::Internal,
            },
        }
    }
}

/// A container's disk.
#[derive(Debug)]
pub(super) struct Disk {
    file: PathBuf,
    at: PathBuf,
    mib: u32,
    lower: Vec<PathBuf>,
}

/// The disk that the configuration asks for, if it does.
pub(super) fn of(bundle: &Bundle) -> Option<Disk> {
    let annotations = bundle.spec.annotations().as_ref()?;
    let mib = annotations.get(annotation::SCRATCH_MIB)?.parse().ok()?;
    let Rootfs::Overlay { lower, upper, .. } = &bundle.rootfs else { return None };
    let (file, at) = (upper.with_file_name("scratch.ext4"), upper.with_file_name(AT));
    Some(Disk { file, at, mib, lower: lower.clone() })
}

impl Disk {
    /// Where it is mounted.
    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    /// Makes the disk if there is none yet, and gives the layers as they will be on it; `cache` holds empty
    /// ones.
    pub(super) fn prepare(&self, cache: &Path) -> Result<Rootfs, Error> {
        if !self.file.exists() {
            let top = self.lower.first().map_or(Path::new("/"), PathBuf::as_path);
            let of = fs::metadata(top).map_err(failed("read layer", top))?;
            let look = Look { mode: of.mode() & 0o7777, uid: of.uid(), gid: of.gid() };
            vmm::disk::make_scratch(&self.file, self.mib, look, cache)?;
        }
        let (lower, upper, work) =
            (self.lower.clone(), self.at.join("upper"), self.at.join("work"));
        Ok(Rootfs::Overlay { lower, upper, work })
    }

    /// Mounts it, in the caller's mount namespace.
    pub(super) fn mount(&self) -> Result<(), Error> {
        fs::create_dir_all(&self.at).map_err(failed("make", &self.at))?;
        image::mount(&self.file, &self.at).map_err(failed("mount", &self.file))
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
