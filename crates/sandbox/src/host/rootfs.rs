//! The overlay that is a container's root filesystem.
//!
//! No path is ever part of an option, see [`tree::view`]: a `:` or `,` in one means nothing.
//!
//! Spec: kernel, filesystems/overlayfs.rst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount as umount};
use spec::Kind;
use tree::view;

/// Why there is no root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mount point cannot be made.
    #[error("make {}", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A layer cannot be opened.
    #[error("open layer {}", path.display())]
    Layer {
        /// The layer.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the overlay.
    #[error("mount overlay on {}", path.display())]
    Overlay {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root filesystem is still there.
    #[error("unmount {}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Layer { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::MountPoint { source, .. } | Self::Overlay { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                Kind::Exhausted
            }
            _ => Kind::Internal,
        }
    }
}

/// Mounts the overlay on `target`, which is made if it is not there.
pub(super) fn mount_overlay(
    target: &Path,
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
) -> Result<(), Error> {
    let made = match fs::create_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    made.map_err(|source| Error::MountPoint { path: target.to_owned(), source })?;
    let refused = |source| Error::Overlay { path: target.to_owned(), source };
    let overlay = view::layers(lower, Some((upper, work))).map_err(|error| {
        let mut all = lower.iter().map(PathBuf::as_path).chain([upper, work]);
        let missing = all.find_map(|path| Some((path.to_owned(), view::open(path).err()?)));
        missing.map_or_else(|| refused(error), |(path, source)| Error::Layer { path, source })
    })?;
    move_mount(&overlay, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| refused(error.into()))
}

/// Unmounts `target`; nothing when nothing is mounted there.
pub(super) fn unmount(target: &Path) -> Result<(), Error> {
    match umount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::Unmount { path: target.to_owned(), source: error.into() }),
    }
}

#[cfg(test)]
mod tests;
