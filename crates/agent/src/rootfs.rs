//! A container's place in the guest: its root filesystem and the files from the host.
//!
//! ```text
//!   /run/hull/ID/image     the erofs, read-only      ┐
//!   /run/hull/ID/scratch   the ext4: upper, work     ┴▶ overlay on /run/hull/ID/rootfs
//!   /run/hull/ID/shm       the shared memory of another container that it is in
//!   /run/hull/ID/files/N   copies of the host's files
//!   /run/hull/ID/shares    the host's directories and files, each under its number; the first may be
//!                          the root filesystem instead of the overlay
//! ```

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags};
use spec::{ContainerId, Kind};
use tree::graft::Graft;
use wire::message::{File, Rootfs, SHARED_MEMORY, Shares, from_hex};
use wire::server::Streams;

use crate::disks;
use crate::shares::{self, Mounted};
use crate::visitors::Visitors;

const PLACES: &str = "/run/hull";

/// A container's directory with what is mounted in it; dropping it puts the disk in order.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    root: PathBuf,
    /// In order of mounting.
    mounts: Vec<PathBuf>,
    shares: Option<Mounted>,
}

/// Why a root filesystem could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory of the place.
    #[error("{action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// mount(2) refused.
    #[error("mount {fstype} from {source_name} on {}", target.display())]
    Mount { fstype: &'static str, source_name: String, target: PathBuf, source: io::Error },
    /// A disk is not there.
    #[error(transparent)]
    Disk(#[from] disks::Error),
    /// The host's files are out of reach.
    #[error(transparent)]
    Shares(#[from] shares::Error),
    /// A file's contents cannot be read.
    #[error("file {path}: its contents are not hex digits")]
    Contents { path: String },
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::File { .. } | Self::Mount { .. } | Self::Disk(_) | Self::Shares(_) => {
                Kind::Internal
            }
            Self::Contents { .. } => Kind::Invalid,
        }
    }
}

fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File { action, path: path.to_owned(), source }
}

impl Place {
    /// Mounts the root filesystem of `container`.
    pub(crate) fn make(container: &ContainerId, rootfs: &Rootfs) -> Result<Self, Error> {
        let dir = Path::new(PLACES).join(container.as_str());
        fs::create_dir_all(PLACES).map_err(file("make", Path::new(PLACES)))?;
        fs::create_dir(&dir).map_err(file("make", &dir))?;
        let root = dir.join(match rootfs {
            Rootfs::Disks { .. } => "rootfs",
            Rootfs::Shared => "shares/0",
        });
        let mut place = Self { dir, root, mounts: Vec::new(), shares: None };
        if let Rootfs::Disks { image, scratch } = rootfs {
            place.overlay(&disks::node(image)?, &disks::node(scratch)?)?;
        }
        Ok(place)
    }

    fn overlay(&mut self, image: &Path, scratch: &Path) -> Result<(), Error> {
        let image = self.mount("erofs", image, "image", MountFlags::RDONLY, "")?;
        let scratch = self.mount("ext4", scratch, "scratch", MountFlags::empty(), "")?;
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        make_upper(&upper, &image)?;
        fs::create_dir_all(&work).map_err(file("make", &work))?;
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            image.display(),
            upper.display(),
            work.display()
        );
        self.mount("overlay", Path::new("overlay"), "rootfs", MountFlags::empty(), &data).map(drop)
    }

    /// Makes the host's files appear; gives where each is to be mounted, and whether read-only. A root
    /// filesystem among them is in its place already.
    pub(crate) fn share(
        &mut self,
        shares: &Shares,
        streams: &Streams,
        visitors: &Visitors,
    ) -> Result<Vec<Graft>, Error> {
        let dir = self.dir.join("shares");
        fs::create_dir(&dir).map_err(file("make", &dir))?;
        let mounted = shares::mount(&dir, shares, streams, visitors)?;
        self.mounts.push(dir.clone());
        self.shares = Some(mounted);
        let graft = |(number, (destination, readonly)): (usize, &(PathBuf, bool))| Graft {
            source: dir.join(number.to_string()),
            destination: destination.clone(),
            readonly: *readonly,
        };
        let is_root = |graft: &Graft| graft.source == self.root;
        Ok(shares.mounts.iter().enumerate().map(graft).filter(|graft| !is_root(graft)).collect())
    }

    /// Mounts what the host shares in the root filesystem itself: no program runs that would do it.
    pub(crate) fn graft(&self, grafts: &[Graft]) {
        let root = self.rootfs();
        for graft in grafts {
            let mounted = tree::view::open(&root).and_then(|root| graft.mount(&root));
            if let Err(error) = mounted {
                eprintln!("hull-agent: mount on {}: {error}", graft.destination.display());
            }
        }
    }

    /// The root filesystem.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.root.clone()
    }

    /// The image alone.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("image")
    }

    /// What the container wrote.
    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.join("scratch/upper")
    }

    /// The container's directory, for other parts of it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes copies of the host's files; gives their paths in the same order.
    pub(crate) fn write(&self, files: &[File]) -> Result<Vec<PathBuf>, Error> {
        let dir = self.dir.join("files");
        fs::create_dir(&dir).map_err(file("make", &dir))?;
        let write_one = |(n, from): (usize, &File)| {
            let path = dir.join(n.to_string());
            let contents = from_hex(&from.contents)
                .ok_or_else(|| Error::Contents { path: from.path.clone() })?;
            let mode = fs::Permissions::from_mode(from.mode & 0o777);
            fs::write(&path, contents)
                .and_then(|()| fs::set_permissions(&path, mode))
                .map_err(file("write", &path))?;
            Ok(path)
        };
        files.iter().enumerate().map(write_one).collect()
    }

    /// Writes new contents into files that [`Self::write`] made, in place: they are mounted.
    pub(crate) fn rewrite(&self, files: &[(usize, File)]) -> Result<(), Error> {
        for (number, from) in files {
            let path = self.dir.join("files").join(number.to_string());
            let contents = from_hex(&from.contents)
                .ok_or_else(|| Error::Contents { path: from.path.clone() })?;
            fs::write(&path, contents).map_err(file("write", &path))?;
        }
        Ok(())
    }

    /// Takes in the shared memory of those in a mount namespace; gives where it is seen.
    pub(crate) fn share_memory(&mut self, of: &Path) -> Result<PathBuf, Error> {
        let target = self.dir.join("shm");
        fs::create_dir(&target).map_err(file("make", &target))?;
        let namespace = fs::File::open(of).map_err(file("open", of))?;
        let memory = sys::mntns::copy_from(namespace.as_fd(), Path::new(SHARED_MEMORY));
        let mounted = memory.and_then(|memory| {
            let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            Ok(rustix::mount::move_mount(memory, "", CWD, &target, whole)?)
        });
        mounted.map_err(file("share memory at", &target))?;
        self.mounts.push(target.clone());
        Ok(target)
    }

    fn mount(
        &mut self,
        fstype: &'static str,
        source: &Path,
        name: &str,
        flags: MountFlags,
        data: &str,
    ) -> Result<PathBuf, Error> {
        let target = self.dir.join(name);
        fs::create_dir(&target).map_err(file("make", &target))?;
        let options = std::ffi::CString::new(data).unwrap_or_default();
        rustix::mount::mount(source, &target, fstype, flags, options.as_c_str()).map_err(
            |error| Error::Mount {
                fstype,
                source_name: source.display().to_string(),
                target: target.clone(),
                source: error.into(),
            },
        )?;
        self.mounts.push(target.clone());
        Ok(target)
    }
}

/// Makes the writable layer's root where the disk came without one, with the owner and mode of the image's:
/// the overlay shows the upper directory's.
fn make_upper(upper: &Path, image: &Path) -> Result<(), Error> {
    if upper.exists() {
        return Ok(());
    }
    let of = fs::metadata(image).map_err(file("read", image))?;
    let part = upper.with_extension("part");
    fs::create_dir_all(&part)
        .and_then(|()| std::os::unix::fs::chown(&part, Some(of.uid()), Some(of.gid())))
        .and_then(|()| fs::set_permissions(&part, of.permissions()))
        .and_then(|()| fs::rename(&part, upper))
        .map_err(file("make", upper))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares = None;
        for target in self.mounts.iter().rev() {
            if let Err(error) = rustix::mount::unmount(target, UnmountFlags::empty()) {
                eprintln!("hull-agent: unmount {}: {error}", target.display());
                // It is out of the way at once, and in order when its last user ends.
                let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("hull-agent: remove {}: {error}", self.dir.display());
        }
    }
}
