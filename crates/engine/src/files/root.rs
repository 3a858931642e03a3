//! A container's root, to be worked on.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use image::Snapshot;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use tokio::sync::OwnedRwLockReadGuard;

use super::view;
use crate::container::Container;
use crate::error::Error;
use crate::mountpoint::{MountKind, MountPoint};
use crate::shared::Shared;

/// A container's root.
pub(crate) enum Root {
    /// That of its program, with all that is mounted there.
    Live(OwnedFd),
    /// It does not run, and will not while this is there.
    Still(Still),
}

/// What the root of a container that does not run is put together from.
pub(crate) struct Still {
    pub(crate) snapshot: Snapshot,
    /// An empty directory.
    pub(crate) target: PathBuf,
    pub(crate) container: Arc<Container>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) _guard: OwnedRwLockReadGuard<()>,
}

impl Root {
    /// Does `work` with a descriptor of the root, which serves `work` only. Blocks.
    pub(crate) fn with<T: Send>(
        self,
        work: impl FnOnce(OwnedFd) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        match self {
            Self::Live(root) => work(root),
            Self::Still(still) => still.with(work),
        }
    }
}

impl Still {
    fn with<T: Send>(
        &self,
        work: impl FnOnce(OwnedFd) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let id = self.container.id.as_str();
        let volumes = || self.container.mounts.iter().filter(|p| p.kind == MountKind::Volume);
        // As another user than the container itself, whose starts and ends are told as events.
        let user = format!("files of {id}");
        let mounted = volumes().try_for_each(|v| self.shared.volumes.mount(&v.name, &user));
        let done = mounted.map_err(Error::from).and_then(|()| {
            let assembled = sys::mntns::within_own(|| Ok(self.assemble().map(work)));
            let failed = |source| Error::File {
                action: "see the files of",
                path: self.target.clone(),
                source,
            };
            assembled.map_err(failed)?.map_err(failed)?
        });
        for volume in volumes() {
            if let Err(error) = self.shared.volumes.unmount(&volume.name, &user) {
                tracing::warn!(volume = volume.name, %error, "volume is still mounted");
            }
        }
        done
    }

    /// Mounts layers and volumes in the thread's own mount namespace; gives the root.
    fn assemble(&self) -> io::Result<OwnedFd> {
        let writable = Some((&*self.snapshot.upper, &*self.snapshot.work));
        let tree = view::layers(&self.snapshot.lower, writable)?;
        std::fs::create_dir_all(&self.target)?;
        let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, &self.target, whole)?;
        let mut points: Vec<_> = self.container.mounts.iter().collect();
        points.sort_by_key(|point| point.destination.matches('/').count());
        for point in points.into_iter().filter(|point| point.kind != MountKind::Tmpfs) {
            if let Err(error) = mount(&tree, point) {
                tracing::warn!(destination = point.destination, %error, "not seen in cp");
            }
        }
        view::open(&self.target)
    }
}

/// Mounts what is at `point` where it belongs, making the place if there is none.
fn mount(root: &OwnedFd, point: &MountPoint) -> io::Result<()> {
    let (_, source, _) = point.oci();
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let from = open_tree(CWD, source.as_str(), clone)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(root, &*point.destination, flags, Mode::empty(), inside);
    let place = match place {
        Err(rustix::io::Errno::NOENT) => {
            let stat = rustix::fs::statat(&from, "", AtFlags::EMPTY_PATH)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(rustix::io::Errno::NOENT.into());
            }
            make(root, &point.destination)?
        }
        place => place?,
    };
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&from, "", &place, "", both)?;
    if !point.writable {
        let path = format!("/proc/self/fd/{}", from.as_raw_fd());
        let flags = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(path, flags, "")?;
    }
    Ok(())
}

/// Makes the directories of a path, one at a time and inside the root.
fn make(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = rustix::fs::openat2(root, "/", flags, Mode::empty(), inside)?;
    let mut at = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        at = format!("{at}/{part}");
        dir = match rustix::fs::openat2(root, &*at, flags, Mode::empty(), inside) {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o755))?;
                rustix::fs::openat(&dir, part, flags | OFlags::NOFOLLOW, Mode::empty())?
            }
            found => found?,
        };
    }
    Ok(dir)
}
