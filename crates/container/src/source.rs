//! What the launcher opens for init: sources of mounts that the container's own users may not reach,
//! and those whose owners are shown as others, which only the launcher's privileges allow.
//!
//! A source is a copy of its mount, attached nowhere; its descriptor goes to init, which attaches it. So is
//! a root filesystem of layers.
//!
//! Spec: OCI runtime-spec, config.md "Linux mount options": `idmap`, `ridmap`; mount_setattr(2)
//! "ID-mapped mounts".

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree};
use serde::{Deserialize, Serialize};
use spec::Kind;
use spec::oci::runtime::{LinuxIdMapping, Mount};
use sys::mount::Attributes;

use crate::check;
use crate::mapping::Mappings;

/// Why a source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mapping makes no sense.
    #[error(transparent)]
    Config(#[from] check::Error),
    /// There is no such source, or it cannot be copied.
    #[error("mounts: source {path} of {target}")]
    Open {
        /// The source.
        path: String,
        /// Where it goes.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The layers do not make a root filesystem.
    #[error("mount the layers of the root filesystem")]
    Layers(#[source] io::Error),
    /// The kernel or the source's filesystem does not map ids.
    #[error("mounts: map the ids of {path} for {target}")]
    Map {
        /// The source.
        path: String,
        /// Where it goes.
        target: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Open { .. } => Kind::Invalid,
            Self::Layers(source) => crate::error::kind_of(source),
            Self::Map { source, .. } => match source.raw_os_error() {
                Some(libc::EINVAL | libc::ENOSYS) => Kind::Unsupported,
                _ => crate::error::kind_of(source),
            },
        }
    }
}

/// A root filesystem of directories on top of each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Those that are read, topmost first; absolute.
    pub lower: Vec<PathBuf>,
    /// The one that takes what is written.
    pub upper: PathBuf,
    /// Overlayfs's own, on the filesystem of `upper`.
    pub work: PathBuf,
}

/// Opened sources.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The root filesystem.
    pub(crate) rootfs: Option<OwnedFd>,
    /// Sources of bind mounts, by the mount's place in the list.
    pub(crate) mounts: Vec<(usize, OwnedFd)>,
    /// Device nodes, by the device's place in the list, see [`crate::node`].
    pub(crate) devices: Vec<(usize, OwnedFd)>,
}

/// Copies the mount that `path` is on, with all beneath it when `recursive`.
pub(crate) fn copy(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// The root filesystem as a mount of its own: a copy of the one that `rootfs` is on, or the layers.
pub(crate) fn root(rootfs: &Path, layers: Option<&Layers>) -> io::Result<OwnedFd> {
    match layers {
        None => Ok(copy(rootfs, true)?),
        Some(Layers { lower, upper, work }) => tree::view::layers(lower, Some((upper, work))),
    }
}

/// What follows to the host from a copy: nothing, but what the host mounts may still show in it.
pub(crate) const SLAVE: Attributes =
    Attributes { set: 0, clear: 0, propagation: libc::MS_SLAVE, userns: 0 };

/// What decides which sources are opened, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs<'a> {
    /// The container's own maps, when it has a user namespace of its own or joins one.
    pub(crate) user: Option<Mappings<'a>>,
    /// Whether all is mounted in the launcher's own mount namespace.
    pub(crate) here: bool,
    /// Whether copies stay as shared with the host as the originals.
    pub(crate) shared: bool,
}

/// Opens what init needs opened.
pub(crate) fn open(
    (rootfs, layers): (&Path, Option<&Layers>),
    mounts: &[Mount],
    needs: Needs<'_>,
) -> Result<Sources, Error> {
    let Needs { user, here, shared } = needs;
    let separate = |copy: &OwnedFd| {
        if shared { Ok(()) } else { sys::mount::set_attributes(copy, c"", true, &SLAVE) }
    };
    let mut sources = Sources::default();
    if user.is_some() || here {
        sources.rootfs = match root(rootfs, layers) {
            Ok(copy) => {
                // pivot_root(2) takes no shared mount.
                sys::mount::set_attributes(&copy, c"", true, &SLAVE)
                    .map_err(|source| refused(rootfs, Path::new("/"), source))?;
                Some(copy)
            }
            // A launcher without privileges: init may do what this one may not.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && !here => None,
            Err(error) if layers.is_some() => return Err(Error::Layers(error)),
            Err(error) => return Err(refused(rootfs, Path::new("/"), error)),
        };
    }
    for (index, mount) in mounts.iter().enumerate() {
        if let Some(source) = one(mount, user)? {
            let path = mount.source().as_deref().unwrap_or(Path::new(""));
            separate(&source).map_err(|error| refused(path, mount.destination(), error))?;
            sources.mounts.push((index, source));
        }
    }
    Ok(sources)
}

/// The number of the mount that a descriptor is on, which no other mount gets while this one exists.
pub(crate) fn mount_id(mount: impl AsFd) -> io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    Ok(rustix::fs::statx(mount, c"", flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Takes the mount with that number away from `path`, if it is there, with all beneath it.
pub(crate) fn unmount(path: &Path, id: u64) -> io::Result<()> {
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if mount_id(&opened)? != id {
        return Ok(());
    }
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

fn refused(path: &Path, target: &Path, source: io::Error) -> Error {
    let (path, target) = (path.display().to_string(), target.display().to_string());
    Error::Open { path, target, source }
}

fn one(mount: &Mount, user: Option<Mappings<'_>>) -> Result<Option<OwnedFd>, Error> {
    let has = |name: &str| mount.options().iter().flatten().any(|option| option == name);
    let mapped = mapped(mount)?;
    let recursive = has("rbind");
    if mapped.is_none() && user.is_none()
        || has("remount")
        || !(recursive || has("bind") || mount.typ().as_deref() == Some("bind"))
    {
        return Ok(None);
    }
    let path = mount.source().clone().unwrap_or_default();
    let source = match copy(&path, recursive) {
        Ok(source) => source,
        Err(Errno::PERM) if mapped.is_none() => return Ok(None),
        Err(error) => return Err(refused(&path, mount.destination(), error.into())),
    };
    if let Some(Idmap { own, recursive }) = mapped {
        let invalid = |reason: &str| check::Error::invalid("mounts.uidMappings", reason);
        let mappings = own.or(user.filter(|user| !user.users.is_empty())).ok_or_else(|| {
            invalid("idmap needs mappings, of the mount or of the container's user namespace")
        })?;
        map(&source, mappings, recursive).map_err(|error| Error::Map {
            path: path.display().to_string(),
            target: mount.destination().display().to_string(),
            source: error,
        })?;
    }
    Ok(Some(source))
}

/// How a mount's owners are shown as others.
struct Idmap<'a> {
    /// By the mount's own maps, or else the container's.
    own: Option<Mappings<'a>>,
    /// With all that is mounted beneath.
    recursive: bool,
}

/// Whether and how a mount is to be mapped.
fn mapped(mount: &Mount) -> Result<Option<Idmap<'_>>, check::Error> {
    let has = |name: &str| mount.options().iter().flatten().any(|option| option == name);
    let list = |list: &'_ Option<Vec<LinuxIdMapping>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let own = match (list(mount.uid_mappings()), list(mount.gid_mappings())) {
        (false, false) => None,
        (true, true) => Some(Mappings {
            users: mount.uid_mappings().as_deref().unwrap_or_default(),
            groups: mount.gid_mappings().as_deref().unwrap_or_default(),
        }),
        _ => {
            let reason = format!("{} has one of both", mount.destination().display());
            return Err(check::Error::invalid("mounts.uidMappings and gidMappings", reason));
        }
    };
    if own.is_none() && !has("idmap") && !has("ridmap") {
        return Ok(None);
    }
    let bind = has("bind") || has("rbind") || mount.typ().as_deref() == Some("bind");
    if !bind {
        let reason = format!("{} is not a bind mount", mount.destination().display());
        return Err(check::Error::invalid("mounts.uidMappings", reason));
    }
    Ok(Some(Idmap { own, recursive: has("ridmap") }))
}

fn map(mount: &OwnedFd, mappings: Mappings<'_>, recursive: bool) -> io::Result<()> {
    let namespace = mappings.namespace()?;
    let attributes = Attributes {
        set: libc::MOUNT_ATTR_IDMAP,
        userns: u64::from(namespace.as_raw_fd().cast_unsigned()),
        ..Attributes::default()
    };
    sys::mount::set_attributes(mount, c"", recursive, &attributes)
}
