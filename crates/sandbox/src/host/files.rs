//! The files of a container that shares the host's kernel.
//!
//! One that runs is seen through its init's root. Of one that does not, layers and mounts are put
//! together in a mount namespace of one thread's own, which ends with the work.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, move_mount};
use spec::files::{Answer, Request};
use spec::{ContainerId, ProcessId};
use tree::changes::Layers;
use tree::files::{Container, serve};
use tree::graft::Graft;
use tree::view;

use super::{Error, Host, disk};
use crate::{Bundle, Rootfs};

/// A container as it can be reached.
struct Reached<'a> {
    /// The root of its init, while there is one.
    live: Option<OwnedFd>,
    bundle: &'a Bundle,
    /// Its layers, on the disk that limits it if there is one.
    rootfs: Rootfs,
}

impl Host {
    /// See [`crate::Sandbox::files`].
    pub(super) fn serve_files(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        request: &Request,
        data: Option<UnixStream>,
    ) -> Result<Answer, Error> {
        let live = self.live_root(id)?;
        let disk = disk::of(bundle);
        let rootfs = disk.as_ref().map(|disk| disk.prepare(&self.cache)).transpose()?;
        let rootfs = rootfs.unwrap_or_else(|| bundle.rootfs.clone());
        let reached = Reached { live, bundle, rootfs };
        let (input, output) = ends(data).map_err(Error::Data)?;
        let disk = disk.filter(|_| reached.live.is_none());
        if reached.live.is_some() || (!request.sees_mounts() && disk.is_none()) {
            return Ok(serve(&reached, request, input, output)?);
        }
        let served = || {
            let Some(disk) = disk else { return Ok(serve(&reached, request, input, output)) };
            disk.mount().map_err(io::Error::other)?;
            Ok(serve(&reached, request, input, output))
        };
        Ok(sys::mntns::within_own(served).map_err(Error::Assemble)??)
    }

    /// The root of the container's init. It lives after its root was opened, so nothing else had its
    /// number then: only we reap it.
    fn live_root(&self, id: &ContainerId) -> Result<Option<OwnedFd>, Error> {
        let init = ProcessId::init(id.clone());
        let Ok(process) = self.find(&init) else { return Ok(None) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{}/root", process.pid().raw());
        let root = rustix::fs::open(path, flags, Mode::empty());
        if process.ended().is_ok() {
            return Err(Error::Over(id.clone()));
        }
        Ok(Some(root.map_err(|error| Error::Assemble(error.into()))?))
    }
}

/// What data is read from and written to. Nothing comes from no data, and nobody misses what goes there.
pub(crate) fn ends(
    data: Option<UnixStream>,
) -> io::Result<(Box<dyn Read + Send>, Box<dyn Write + Send>)> {
    Ok(match data {
        Some(data) => (Box::new(data.try_clone()?), Box::new(data)),
        None => (Box::new(io::empty()), Box::new(io::sink())),
    })
}

impl Reached<'_> {
    /// Layers and mounts, in the thread's own mount namespace.
    fn assemble(&self) -> io::Result<OwnedFd> {
        let Rootfs::Overlay { lower, upper, work } = &self.rootfs else {
            return self.whole();
        };
        let tree = view::layers(lower, Some((upper, work)))?;
        let target = self.bundle.path.join("rootfs");
        std::fs::create_dir_all(&target)?;
        let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, &target, whole)?;
        for graft in Graft::of(&self.bundle.spec) {
            if let Err(error) = graft.mount(&tree) {
                let destination = graft.destination.display();
                tracing::warn!(%destination, %error, "mount is not seen among the files");
            }
        }
        view::open(&target)
    }
}

impl Container for Reached<'_> {
    fn root(&self) -> io::Result<OwnedFd> {
        self.live.as_ref().map_or_else(|| self.assemble(), OwnedFd::try_clone)
    }

    fn whole(&self) -> io::Result<OwnedFd> {
        match &self.rootfs {
            Rootfs::Directory(path) => view::open(path),
            Rootfs::Overlay { lower, upper, .. } => {
                let layers: Vec<_> = std::iter::once(upper).chain(lower).cloned().collect();
                view::layers(&layers, None)
            }
        }
    }

    fn layers(&self) -> io::Result<Layers> {
        match &self.rootfs {
            Rootfs::Directory(_) => Err(io::ErrorKind::Unsupported.into()),
            Rootfs::Overlay { lower, upper, .. } => {
                Ok(Layers { upper: view::open(upper)?, lower: view::layers(lower, None)? })
            }
        }
    }
}
