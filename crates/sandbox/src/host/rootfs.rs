//! The overlay that is a container's root filesystem.
//!
//! Layers are opened first and handed over as descriptors, so no path is ever part of an option
//! string: a `:` or `,` in one means nothing. Kernels before 6.13 take no descriptors there; they are
//! told `/proc/self/fd/N`.
//!
//! Spec: kernel, filesystems/overlayfs.rst "Multiple lower layers", "Specifying layers via file
//! descriptors".

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
    unmount as umount,
};
use spec::Kind;

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
    #[error("mount overlay on {}: {step}", path.display())]
    Overlay {
        /// The mount point.
        path: PathBuf,
        /// What it refused.
        step: &'static str,
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

/// The opened directories of an overlay.
struct Layers {
    lower: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
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
    let layers = Layers {
        lower: lower.iter().map(|path| layer(path)).collect::<Result<_, _>>()?,
        upper: layer(upper)?,
        work: layer(work)?,
    };
    let mounted = match layers.mount_by_descriptor(target) {
        Err(("lowerdir+", Errno::INVAL)) => layers.mount_by_name(target),
        mounted => mounted,
    };
    let failed = |(step, error): (&'static str, Errno)| Error::Overlay {
        path: target.to_owned(),
        step,
        source: error.into(),
    };
    mounted.map_err(failed)
}

/// Unmounts `target`; nothing when nothing is mounted there.
pub(super) fn unmount(target: &Path) -> Result<(), Error> {
    match umount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::Unmount { path: target.to_owned(), source: error.into() }),
    }
}

fn layer(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| Error::Layer { path: path.to_owned(), source: error.into() })
}

/// What was done when the kernel refused, and its answer.
type Refusal = (&'static str, Errno);

impl Layers {
    fn mount_by_descriptor(&self, target: &Path) -> Result<(), Refusal> {
        let at = |step: &'static str| move |error: Errno| (step, error);
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(at("open"))?;
        fsconfig_set_string(&fs, "source", "overlay").map_err(at("source"))?;
        for lower in &self.lower {
            fsconfig_set_fd(&fs, "lowerdir+", lower).map_err(at("lowerdir+"))?;
        }
        fsconfig_set_fd(&fs, "upperdir", &self.upper).map_err(at("upperdir"))?;
        fsconfig_set_fd(&fs, "workdir", &self.work).map_err(at("workdir"))?;
        fsconfig_set_string(&fs, "index", "off").map_err(at("index"))?;
        fsconfig_create(&fs).map_err(at("create"))?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let tree = fsmount(&fs, flags, MountAttrFlags::empty()).map_err(at("mount"))?;
        let from_tree = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, target, from_tree).map_err(at("attach"))
    }

    fn mount_by_name(&self, target: &Path) -> Result<(), Refusal> {
        let name = |layer: &OwnedFd| format!("/proc/self/fd/{}", layer.as_raw_fd());
        let lower: Vec<String> = self.lower.iter().map(name).collect();
        let mut options = format!("index=off,lowerdir={}", lower.join(":"));
        // Writing to a string does not fail.
        let _ = write!(options, ",upperdir={},workdir={}", name(&self.upper), name(&self.work));
        let options = std::ffi::CString::new(options).expect("digits and names hold no zero");
        let flags = MountFlags::empty();
        mount("overlay", target, "overlay", flags, &*options).map_err(|error| ("mount", error))
    }
}

#[cfg(test)]
mod tests;
