//! Building the container's root filesystem.
//!
//! Runs in the new mount namespace as the container's future init. Takes the spec's mounts in order
//! and leaves a finished tree that is the root directory of this process.
//!
//! ```text
//!   make / slave -> attach rootfs -> mounts, in order -> devices     (Rootfs::build)
//!   pivot -> propagation -> sysctl -> cwd -> read-only -> masks      (Rootfs::enter)
//! ```
//!
//! Invariant: every target is opened *beneath* the rootfs by openat2(2) and mounted on by descriptor,
//! so a symlink planted by an image, or swapped by another container that shares a volume, cannot
//! lead out of it.
//!
//! Spec: OCI runtime-spec, config.md "Mounts"; config-linux.md "Default Filesystems" to "Masked Paths".

mod cgroup;
mod copy;
pub(crate) mod device;
mod mask;
mod mount;
mod options;
mod tree;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount,
};
use spec::Kind;
use sys::mount::Attributes;

use crate::request::Plan;
use crate::source::{self, Sources};

pub(crate) use tree::Tree;

/// Why the root filesystem could not be built. A variant is the step that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A mount's options make no sense, or Hull does not know them.
    #[error("mounts: option {option:?} of {}: {reason}", target.display())]
    Option {
        /// Where the mount goes.
        target: PathBuf,
        /// The option.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The target is where nothing may be mounted.
    #[error("mounts: {}: {reason}", target.display())]
    Target {
        /// Where the mount goes.
        target: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The source of a bind mount is missing.
    #[error("mounts: source {} of {}", source_path.display(), target.display())]
    Source {
        /// What was to be mounted.
        source_path: PathBuf,
        /// Where.
        target: PathBuf,
        /// Why it cannot be opened.
        source: io::Error,
    },
    /// The kernel refused a mount.
    #[error("mount {fstype} on {}", target.display())]
    Mount {
        /// The filesystem, or `bind`.
        fstype: String,
        /// Where.
        target: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device node.
    #[error("make device {}", path.display())]
    Device {
        /// The node.
        path: PathBuf,
        /// Why it cannot be made.
        source: io::Error,
    },
    /// A path that is to be hidden or read-only.
    #[error("{action} {path}")]
    Path {
        /// What was done.
        action: &'static str,
        /// The path.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A step that concerns the whole tree.
    #[error("{step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Option { .. } | Self::Target { .. } | Self::Source { .. } => Kind::Invalid,
            Self::Mount { source, .. } => match source.raw_os_error() {
                Some(libc::EINVAL | libc::ENODEV | libc::ENOTDIR | libc::ELOOP) => Kind::Invalid,
                _ => crate::error::kind_of(source),
            },
            Self::Device { source, .. } | Self::Path { source, .. } | Self::Step { source, .. } => {
                crate::error::kind_of(source)
            }
        }
    }

    pub(crate) fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step { step, source: source.into() }
    }
}

/// Reads mount options and forgets them.
#[cfg(any(test, fuzzing))]
pub(crate) fn probe_options(list: &[String], target: &Path) {
    if let Err(error) = options::Options::parse(list, target) {
        let text = error.to_string();
        assert!(list.iter().any(|option| text.contains(&format!("{option:?}"))), "{text}");
    }
}

/// A root filesystem that stands, not yet entered.
#[derive(Debug)]
pub(crate) struct Rootfs {
    tree: Tree,
}

/// Every mount option that is known by name.
pub(crate) fn mount_options() -> Vec<&'static str> {
    options::known()
}

impl Rootfs {
    /// Attaches the rootfs and everything that is mounted and made in it.
    pub(crate) fn build(
        plan: &Plan<'_>,
        mut sources: Sources,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        if plan.mount_namespace {
            separate(plan).map_err(Error::step("separate mounts from the host's"))?;
        }
        let tree = attach(plan, sources.rootfs.take())
            .map_err(Error::step("mount the root filesystem"))?;
        for (index, mount) in plan.mounts.iter().enumerate() {
            let source = sources.mounts.iter().find(|(of, _)| *of == index).map(|(_, fd)| fd);
            mount::apply(&tree, mount, source, plan, warnings)?;
        }
        if !mount::replaces_dev(&plan.mounts) {
            device::make_all(&tree, &plan.devices, plan.user_namespace, &sources.devices)?;
        }
        Ok(Self { tree })
    }

    /// The tree, to open things in it.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Makes it the root directory of this process, and locks what is to be locked.
    pub(crate) fn enter(self, plan: &Plan<'_>, cwd: &Path) -> Result<(), Error> {
        let tree = self.tree;
        rustix::process::fchdir(&tree).map_err(Error::step("change to the root filesystem"))?;
        if !plan.mount_namespace {
            root_here().map_err(Error::step("change to the root filesystem"))?;
        } else if plan.no_pivot {
            chroot(&tree).map_err(Error::step("move the root filesystem to /"))?;
        } else {
            pivot().map_err(Error::step("pivot to the root filesystem"))?;
        }
        if let Some(propagation) = plan.propagation.as_deref().filter(|text| !text.is_empty()) {
            propagate(&tree, propagation).map_err(Error::step("set linux.rootfsPropagation"))?;
        }
        if let Some(sysctl) = &plan.sysctl {
            mask::set_parameters(sysctl)?;
        }
        tree.directory(cwd).map_err(Error::step("make process.cwd"))?;
        if plan.readonly {
            let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
            sys::mount::set_attributes(&tree, c"", false, &readonly)
                .map_err(Error::step("make the root filesystem read-only"))?;
        }
        mask::readonly(&tree, &plan.readonly_paths)?;
        mask::hide(&tree, &plan.masked)
    }
}

/// What happens here shows on the host only where `rootfsPropagation` says so: for a mount that the
/// container shares with the host to stay shared, all are left as they are but the one that holds the
/// rootfs.
fn separate(plan: &Plan<'_>) -> io::Result<()> {
    let wanted = plan.propagation.as_deref().unwrap_or_default();
    let kind = match wanted.trim_start_matches('r') {
        "shared" => return hide_parent(&plan.rootfs),
        "private" | "unbindable" => MountPropagationFlags::PRIVATE,
        // What the host mounts may still show here.
        _ => MountPropagationFlags::DOWNSTREAM,
    };
    Ok(mount_change("/", kind | MountPropagationFlags::REC)?)
}

/// Makes the mount that holds `path` private.
fn hide_parent(path: &Path) -> io::Result<()> {
    for directory in path.ancestors() {
        match mount_change(directory, MountPropagationFlags::PRIVATE) {
            // Not where a mount begins.
            Err(rustix::io::Errno::INVAL) => {}
            result => return Ok(result?),
        }
    }
    Ok(())
}

/// Makes the rootfs a mount of its own, which pivot_root(2) needs. Where its users may not go there by
/// name, it covers the old root, which is as good.
fn attach(plan: &Plan<'_>, opened: Option<OwnedFd>) -> io::Result<Tree> {
    let rootfs = &*plan.rootfs;
    let mount = match opened {
        Some(mount) => mount,
        None => source::root(rootfs, plan.layers.as_deref())?,
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    match move_mount(&mount, "", CWD, rootfs, flags) {
        Err(rustix::io::Errno::ACCESS) => move_mount(&mount, "", CWD, "/", flags)?,
        result => result?,
    }
    Ok(Tree::from(mount))
}

/// Swaps this directory for the root, and lets go of the old one.
///
/// Where mounts are shared with the host, letting go of them would take them from the host too, `/proc`
/// first: all of the old root is separated before.
fn pivot() -> io::Result<()> {
    let old = open_root()?;
    rustix::process::pivot_root(".", ".")?;
    sys::mount::set_attributes(&old, c"", true, &source::SLAVE)?;
    // The old root now lies on top of the new one, at the same place.
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Makes this directory the root, in a mount namespace whose root is the host's.
pub(crate) fn root_here() -> io::Result<()> {
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/", flags, Mode::empty())?)
}

/// The weaker way, for a root that cannot be pivoted away from. A shared root would show the new one
/// to the host.
fn chroot(tree: &Tree) -> io::Result<()> {
    sys::mount::set_attributes(open_root()?, c"", false, &source::SLAVE)?;
    move_mount(tree.as_fd(), "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    root_here()
}

fn propagate(tree: &Tree, text: &str) -> io::Result<()> {
    let (recursive, propagation) = options::propagation(text).ok_or(io::ErrorKind::InvalidInput)?;
    let attributes = Attributes { propagation, ..Attributes::default() };
    sys::mount::set_attributes(tree, c"", recursive, &attributes)
}
