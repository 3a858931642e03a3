//! Mounts of type `cgroup`.
//!
//! The container sees its own cgroup as the root, with a cgroup namespace or without: what is mounted
//! is its directory, cloned from the host's mount. That is also much cheaper than another instance of
//! the filesystem for each controller.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode};

use super::Tree;
use super::mount::{attach, clone, make};
use super::options::Options;
use crate::cgroup::{Hierarchy, View};
use crate::request::Plan;

/// Mounts the container's cgroups on `target`: one directory for v2, one for each hierarchy for v1.
pub(super) fn mount(
    tree: &Tree,
    target: &Path,
    options: &Options,
    plan: &Plan<'_>,
) -> io::Result<()> {
    let at = tree.directory(target)?;
    match &plan.cgroups {
        View::V2 { directory, .. } => {
            let mount = clone(&CWD, directory, false)?;
            sys::mount::set_attributes(&mount, c"", false, &options.attributes)?;
            attach(&mount, &at, options)
        }
        View::V1(hierarchies) => {
            let writable =
                Options { attributes: sys::mount::Attributes::default(), ..Options::default() };
            let root = make("tmpfs", "tmpfs".as_ref(), &["mode=755".to_owned()], &writable)?;
            attach(&root, &at, options)?;
            for hierarchy in hierarchies {
                mount_v1(&root, hierarchy, options)?;
            }
            sys::mount::set_attributes(&root, c"", false, &options.attributes)
        }
    }
}

fn mount_v1(
    root: &std::os::fd::OwnedFd,
    hierarchy: &Hierarchy,
    options: &Options,
) -> io::Result<()> {
    let Some(name) = hierarchy.mount.file_name() else { return Ok(()) };
    rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))?;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let at = rustix::fs::openat(root, name, flags, Mode::empty())?;
    let mount = clone(&CWD, &hierarchy.directory, false)?;
    sys::mount::set_attributes(&mount, c"", false, &options.attributes)?;
    attach(&mount, &at, options)?;
    // Controllers that share a hierarchy are known by their own names too.
    for alias in &hierarchy.controllers {
        let own = Path::new(alias);
        if hierarchy.controllers.len() > 1 && own.as_os_str() != name {
            match rustix::fs::symlinkat(name, root, own) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
