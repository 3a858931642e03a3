//! Network namespaces that live without a process: a bind mount of an nsfs file holds each.
//!
//! ```text
//!   create:  new namespace -> lo up -> bind it on DIR/ID
//!   delete:  unmount DIR/ID -> unlink DIR/ID
//! ```
//!
//! Invariant: `DIR/ID` is a namespace or it does not exist; what a crash leaves in between (an empty
//! file) is replaced by the next `create` and removed by `delete`.
//!
//! Spec: namespaces(7) "The /proc/pid/ns/ directory", network_namespaces(7).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use spec::{ContainerId, Kind};
use sys::netlink::Netlink;

/// The directory of namespaces, one mount a container.
#[derive(Debug, Clone)]
pub struct Namespaces {
    dir: PathBuf,
}

/// A network namespace and the path that keeps it.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
    file: OwnedFd,
}

/// Why a namespace could not be made, opened or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory, or a file in it.
    #[error("{doing} {}", path.display())]
    File {
        /// `make`, `open` or `remove`.
        doing: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// unshare(2) refused, or no thread could be made for it.
    #[error("make a network namespace")]
    Unshare(#[source] io::Error),
    /// The nsfs file could not be mounted.
    #[error("mount a network namespace on {}", path.display())]
    Mount {
        /// The file beneath.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The loopback device did not come up.
    #[error("set up lo")]
    Loopback(#[source] io::Error),
    /// Something in it listens there already.
    #[error("listen at {at} in a network namespace")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The mount could not be taken off.
    #[error("unmount the network namespace {}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File { doing: "open", source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Kind::NotFound
            }
            Self::Unshare(source) if source.raw_os_error() == Some(libc::ENOSPC) => Kind::Exhausted,
            _ => Kind::Internal,
        }
    }
}

impl Namespaces {
    /// The namespaces kept in `dir`, which is made (mode 0711) where it is missing.
    pub fn at(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&dir)
            .map_err(|source| Error::File { doing: "make", path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    /// Where the namespace of `id` is or would be: the `path` of the OCI spec's network namespace.
    pub fn path(&self, id: &ContainerId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// Makes the namespace of `id`, with nothing in it but `lo`, which is up.
    ///
    /// One that is there already (an engine died after making it) is replaced: its devices belong
    /// to nobody.
    pub fn create(&self, id: &ContainerId) -> Result<Namespace, Error> {
        self.delete(id)?;
        let namespace =
            Namespace { path: self.path(id), file: sys::netns::make().map_err(Error::Unshare)? };
        namespace.raise_loopback().map_err(Error::Loopback)?;
        match namespace.pin() {
            Ok(()) => Ok(namespace),
            Err(error) => {
                // The first error tells more than that of a clean-up with nothing to unmount.
                let _ = self.delete(id);
                Err(error)
            }
        }
    }

    /// The namespace of `id`, made before.
    pub fn open(&self, id: &ContainerId) -> Result<Namespace, Error> {
        let path = self.path(id);
        match File::open(&path) {
            Ok(file) => Ok(Namespace { path, file: file.into() }),
            Err(source) => Err(Error::File { doing: "open", path, source }),
        }
    }

    /// Removes the namespace of `id`. One that is not there is no error.
    ///
    /// The kernel destroys the devices in it, and with them the host's ends of their pairs, once
    /// the last process in it is gone too.
    pub fn delete(&self, id: &ContainerId) -> Result<(), Error> {
        let path = self.path(id);
        match rustix::mount::unmount(&path, UnmountFlags::DETACH) {
            // EINVAL: a file that is no mount point.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
            Err(source) => return Err(Error::Unmount { path, source: source.into() }),
        }
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { doing: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// The ids that have a namespace here, in no order: what a restarted engine compares with its
    /// records. Names that are no ids are left out.
    pub fn list(&self) -> Result<Vec<ContainerId>, Error> {
        let failed = |source| Error::File { doing: "open", path: self.dir.clone(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        Ok(ids)
    }
}

impl Namespace {
    /// Sockets in it for the datagrams and connections that come to `at`.
    pub fn listen(&self, at: SocketAddr) -> Result<(UdpSocket, TcpListener), Error> {
        let bind = || Ok((UdpSocket::bind(at)?, TcpListener::bind(at)?));
        sys::netns::within(self.as_fd(), bind).map_err(|source| Error::Listen { at, source })
    }

    /// The file that keeps it, for the OCI spec.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn raise_loopback(&self) -> io::Result<()> {
        sys::netns::within(self.as_fd(), || {
            let mut netlink = Netlink::open()?;
            let lo = netlink.index("lo")?;
            netlink.set_up(lo, true)
        })
    }

    /// Mounts the namespace on its path.
    fn pin(&self) -> Result<(), Error> {
        let path = self.path.clone();
        File::create_new(&path).map_err(|source| Error::File {
            doing: "make",
            path: path.clone(),
            source,
        })?;
        rustix::mount::mount_bind(format!("/proc/self/fd/{}", self.file.as_raw_fd()), &path)
            .map_err(|source| Error::Mount { path, source: source.into() })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
