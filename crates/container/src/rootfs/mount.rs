//! One mount of the configuration.
//!
//! A filesystem is made, or a tree cloned, and given its attributes while it is attached nowhere; then
//! its target is opened beneath the rootfs, and it is moved there by two descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    fspick, move_mount, open_tree,
};
use spec::oci::runtime::Mount;
use sys::mount::Attributes;

use super::options::Options;
use super::{Error, Tree, cgroup, copy};
use crate::request::Plan;
use crate::source;

/// The magic number of a proc filesystem.
pub(super) const PROC: i64 = 0x9fa0;
/// What may be mounted within `/proc`: files that tools such as lxcfs replace.
const WITHIN_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/net/dev",
];

/// Whether `/dev` is the user's own, to be left as it is.
pub(super) fn replaces_dev(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| {
        let bind = |option: &String| option == "bind" || option == "rbind";
        let is_bind =
            mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(bind);
        is_bind && cleaned(mount.destination()) == Path::new("/dev")
    })
}

/// Does what one entry of `mounts` says. `source`: that of a bind mount, if the launcher opened it.
pub(super) fn apply(
    tree: &Tree,
    mount: &Mount,
    source: Option<&OwnedFd>,
    plan: &Plan<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let target = cleaned(mount.destination());
    if target == Path::new("/") {
        let reason = "the root itself cannot be a mount's target";
        return Err(Error::Target { target, reason });
    }
    let mut options = Options::parse(mount.options().as_deref().unwrap_or_default(), &target)?;
    let fstype = mount.typ().as_deref().unwrap_or_default();
    if fstype == "bind" && options.bind.is_none() {
        options.bind = Some(false);
    }
    if options.remount {
        return remount(tree, &target, &options).map_err(|source| Error::Mount {
            fstype: "remount".into(),
            target,
            source,
        });
    }
    if options.bind.is_some() {
        if !options.data.is_empty() {
            // The kernel does not look at them either, see mount(2).
            let (data, target) = (options.data.join(","), target.display());
            warnings.push(format!("mounts: {data} means nothing to the bind mount on {target}"));
        }
        return bind(tree, mount, source, &target, &options);
    }
    let result = match fstype {
        "" => {
            let reason = "neither a type nor a bind mount";
            return Err(Error::Target { target, reason });
        }
        "cgroup" | "cgroup2" => cgroup::mount(tree, &target, &options, plan),
        _ => {
            label(&mut options, fstype, plan);
            filesystem(tree, fstype, mount.source().as_deref(), &target, &options)
        }
    };
    result.map_err(|source| match (fstype, source.raw_os_error()) {
        ("proc" | "sysfs", Some(libc::ELOOP)) => {
            let reason = "proc and sysfs must be mounted on ordinary directory, not a symlink";
            Error::Target { target, reason }
        }
        _ => Error::Mount { fstype: fstype.to_owned(), target, source },
    })
}

/// Gives a filesystem that has no labels of its own the one of `linux.mountLabel`.
fn label(options: &mut Options, fstype: &str, plan: &Plan<'_>) {
    if let Some(label) = &plan.mount_label
        && !matches!(fstype, "proc" | "sysfs" | "mqueue")
    {
        options.data.push(format!("context={label}"));
    }
}

/// The absolute path without `.`, `..` and doubled slashes, as text alone can tell.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// Mounts a new filesystem.
fn filesystem(
    tree: &Tree,
    fstype: &str,
    source: Option<&Path>,
    target: &Path,
    options: &Options,
) -> io::Result<()> {
    let at = match fstype {
        // A symlink could lead to where masked and read-only paths are not looked for.
        "proc" | "sysfs" => match tree.open_without_links(target) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => tree.directory(target)?,
            opened => opened?,
        },
        _ => tree.directory(target)?,
    };
    let mut data = options.data.clone();
    if fstype == "tmpfs" && !data.iter().any(|option| option.starts_with("mode=")) {
        // What the image says of the directory goes on to hold.
        data.push(format!("mode={:o}", rustix::fs::fstat(&at)?.st_mode & 0o7777));
    }
    let source = source.map_or(fstype.as_ref(), Path::as_os_str);
    if !options.copy_up {
        return attach(&make(fstype, source, &data, options)?, &at, options);
    }
    if fstype != "tmpfs" {
        let reason = "tmpcopyup is for a tmpfs";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    // Filled before it may become read-only.
    let mount = make(fstype, source, &data, &Options::default())?;
    copy::contents(at.as_fd(), mount.as_fd())?;
    sys::mount::set_attributes(&mount, c"", false, &options.attributes)?;
    attach(&mount, &at, options)
}

/// Changes the mount that is on `target`: with `bind` the mount alone, else its filesystem too.
fn remount(tree: &Tree, target: &Path, options: &Options) -> io::Result<()> {
    let at = tree.open(target, rustix::fs::OFlags::PATH)?;
    if options.bind.is_none() {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context = fspick(&at, "", flags)?;
        set_data(&context, &options.data)?;
        if !options.data.is_empty() {
            fsconfig_reconfigure(&context)?;
        }
    }
    set_attributes(&at, options)?;
    propagate(&at, options)
}

/// Makes a filesystem, attached nowhere.
pub(super) fn make(
    fstype: &str,
    source: &std::ffi::OsStr,
    data: &[String],
    options: &Options,
) -> io::Result<OwnedFd> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source)?;
    set_data(&context, data)?;
    fsconfig_create(&context)?;
    let attributes = u32::try_from(options.attributes.set).unwrap_or(0);
    let attributes = MountAttrFlags::from_bits_retain(attributes);
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Sets a filesystem's own options.
fn set_data(context: &OwnedFd, data: &[String]) -> io::Result<()> {
    for option in data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context, key, value)?,
            None => fsconfig_set_flag(context, option.as_str())?,
        }
    }
    Ok(())
}

/// Moves a detached mount to its place and sets its propagation there.
pub(super) fn attach(mount: &OwnedFd, at: &impl AsFd, options: &Options) -> io::Result<()> {
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", at.as_fd(), "", empty)?;
    propagate(mount, options)
}

fn propagate(mount: &OwnedFd, options: &Options) -> io::Result<()> {
    for (recursive, propagation) in &options.propagation {
        let attributes = Attributes { propagation: *propagation, ..Attributes::default() };
        sys::mount::set_attributes(mount, c"", *recursive, &attributes)?;
    }
    Ok(())
}

/// A copy of a mount, attached nowhere.
pub(super) fn clone(at: &impl AsFd, path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at.as_fd(), path, flags)
}

/// Sets a mount's attributes, those for all beneath first.
fn set_attributes(mount: &OwnedFd, options: &Options) -> io::Result<()> {
    for (attributes, recursive) in [(&options.recursive, true), (&options.attributes, false)] {
        if *attributes != Attributes::default() {
            sys::mount::set_attributes(mount, c"", recursive, attributes)?;
        }
    }
    Ok(())
}

fn bind(
    tree: &Tree,
    mount: &Mount,
    opened: Option<&OwnedFd>,
    target: &Path,
    options: &Options,
) -> Result<(), Error> {
    let recursive = options.bind == Some(true);
    let copy = match opened {
        Some(opened) => rustix::io::fcntl_dupfd_cloexec(opened, 3),
        None => source::copy(mount.source().as_deref().unwrap_or(Path::new("")), recursive),
    };
    let copy = copy.map_err(|error| Error::Source {
        source_path: mount.source().clone().unwrap_or_default(),
        target: target.to_owned(),
        source: error.into(),
    })?;
    let attach = || {
        let stat = rustix::fs::fstat(&copy)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let at = if directory { tree.directory(target)? } else { tree.file(target)? };
        check_proc(&at, target)?;
        set_attributes(&copy, options)?;
        self::attach(&copy, &at, options)
    };
    attach().map_err(|source| Error::Mount {
        fstype: "bind".to_owned(),
        target: target.to_owned(),
        source,
    })
}

/// Keeps what the kernel shows in `/proc` from being replaced, wherever the target's path leads
/// (CVE-2019-16884, CVE-2025-52881).
fn check_proc(at: &OwnedFd, target: &Path) -> io::Result<()> {
    let allowed = WITHIN_PROC.iter().any(|path| Path::new(path) == target);
    if !allowed && rustix::fs::fstatfs(at)?.f_type == PROC {
        let reason = "the target is within a proc filesystem";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(())
}
