//! From the kernel's hands to a waiting agent.
//!
//! ```text
//!   proc, sys, dev ──▶ modules ──▶ leave the initramfs ──▶ [the agent anew] ──▶ cgroups ──▶ the port
//! ```
//!
//! The initramfs is left for an empty tmpfs because pivot_root(2) refuses to work on it. The agent's
//! program moves there too, and is executed from there: what it executes again as a container's init is
//! then the same file, mounted read-only, and not a copy of it in memory. Whoever mounts [`PROGRAM`] as a
//! container's init sees it too.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::MountFlags;

use crate::port::{self, Port};

/// The modules to load, in order, one absolute path a line.
const MODULES: &str = "/modules";
/// The agent's own program, before and after the initramfs is left.
pub(crate) const PROGRAM: &str = "/init";
/// What the agent is called in its second life.
const NAME: &str = "hull-agent";
/// The root directory to be, before it is.
const NEW_ROOT: &str = "/root";
/// The cgroup beneath which the engine's containers have theirs, on both sides of the wall.
const ENGINES_CGROUP: &str = "/sys/fs/cgroup/hull";
/// What the agent's root directory holds.
const DIRECTORIES: [&str; 5] = ["proc", "sys", "dev", "tmp", "run"];

/// Why the guest did not boot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A directory could not be made.
    #[error("make directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// mount(2) refused.
    #[error("mount {fstype} on {}", target.display())]
    Mount { fstype: &'static str, target: PathBuf, source: io::Error },
    /// The list of modules cannot be read.
    #[error("read {MODULES}")]
    ModuleList(#[source] io::Error),
    /// The kernel does not take a module.
    #[error("load module {path}")]
    Module { path: String, source: io::Error },
    /// The agent's program cannot be taken along.
    #[error("copy {PROGRAM} to the new root directory")]
    Program(#[source] io::Error),
    /// It cannot be executed there.
    #[error("execute {PROGRAM} in the new root directory")]
    Again(#[source] io::Error),
    /// The initramfs could not be left.
    #[error("move to the new root directory")]
    Root(#[source] io::Error),
    /// The cgroup controllers could not be had.
    #[error("enable cgroup controllers")]
    Controllers(#[source] io::Error),
    /// There is no channel to the host.
    #[error("open the channel to the host")]
    Port(#[source] port::Error),
}

/// Whether this is the agent's first life, in the initramfs: it is called otherwise in its second.
pub(crate) fn is_first_life(called: &OsStr) -> bool {
    called != NAME
}

/// Does what is to be done in the initramfs, and becomes the agent in its second life.
pub(crate) fn leave() -> Result<Infallible, Error> {
    directory(Path::new(NEW_ROOT))?;
    mount("tmpfs", Path::new(NEW_ROOT), MountFlags::NODEV | MountFlags::NOSUID, "mode=755")?;
    for name in DIRECTORIES {
        directory(&Path::new(NEW_ROOT).join(name))?;
    }
    let kernel = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("proc", &Path::new(NEW_ROOT).join("proc"), kernel, "")?;
    mount("sysfs", &Path::new(NEW_ROOT).join("sys"), kernel, "")?;
    let devices = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devtmpfs", &Path::new(NEW_ROOT).join("dev"), devices, "mode=755")?;
    load_modules()?;
    take_program().map_err(Error::Program)?;
    leave_initramfs().map_err(|error| Error::Root(error.into()))?;
    Err(Error::Again(Command::new(PROGRAM).arg0(NAME).exec()))
}

/// Boots the rest of the guest; gives the channel to the shim.
pub(crate) fn boot() -> Result<Port, Error> {
    let kernel = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("cgroup2", Path::new("/sys/fs/cgroup"), kernel, "")?;
    enable_controllers().map_err(Error::Controllers)?;
    Port::open().map_err(Error::Port)
}

fn directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::Directory { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn mount(fstype: &'static str, target: &Path, flags: MountFlags, data: &str) -> Result<(), Error> {
    let data = std::ffi::CString::new(data).unwrap_or_default();
    rustix::mount::mount(fstype, target, fstype, flags, data.as_c_str())
        .map_err(|error| Error::Mount { fstype, target: target.to_owned(), source: error.into() })
}

/// Loads the listed modules and frees the memory that their files take.
fn load_modules() -> Result<(), Error> {
    let list = fs::read_to_string(MODULES).map_err(Error::ModuleList)?;
    for path in list.lines().filter(|line| !line.is_empty()) {
        load_module(path).map_err(|source| Error::Module { path: path.to_owned(), source })?;
        // Only memory is at stake.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn load_module(path: &str) -> io::Result<()> {
    let file = fs::File::open(path)?;
    match rustix::system::finit_module(file, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Moves the agent's program to the root directory to be.
fn take_program() -> io::Result<()> {
    let to = Path::new(NEW_ROOT).join(PROGRAM.trim_start_matches('/'));
    fs::copy(PROGRAM, to)?;
    fs::remove_file(PROGRAM)
}

fn leave_initramfs() -> rustix::io::Result<()> {
    rustix::process::chdir(NEW_ROOT)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}

/// Makes every controller available to the cgroups of containers, which the engine has beneath one of its own.
fn enable_controllers() -> io::Result<()> {
    let all = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
    fs::create_dir(ENGINES_CGROUP)?;
    for parent in ["/sys/fs/cgroup", ENGINES_CGROUP] {
        let control = Path::new(parent).join("cgroup.subtree_control");
        for controller in all.split_whitespace() {
            fs::write(&control, format!("+{controller}"))?;
        }
    }
    Ok(())
}
