//! From the kernel's hands to a waiting agent.
//!
//! ```text
//!   proc, sys, dev ──▶ modules ──▶ leave the initramfs ──▶ cgroups ──▶ the port
//! ```
//!
//! The initramfs is left for an empty tmpfs because pivot_root(2) refuses to work on it; the agent's
//! own program stays there, and is seen as [`PROGRAM`] by whoever mounts it as a container's init.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use crate::port::{self, Port};

/// The modules to load, in order, one absolute path a line.
const MODULES: &str = "/modules";
/// The agent's own program, before and after the initramfs is left.
pub(crate) const PROGRAM: &str = "/init";
/// The root directory to be, before it is.
const NEW_ROOT: &str = "/root";
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
    /// The agent's program cannot be kept in sight.
    #[error("mount {PROGRAM} in the new root directory")]
    Program(#[source] io::Error),
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

/// Boots the guest; gives the channel to the shim.
pub(crate) fn boot() -> Result<Port, Error> {
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
    keep_program().map_err(Error::Program)?;
    leave_initramfs().map_err(|error| Error::Root(error.into()))?;
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

/// Lets the agent's program be seen in the root directory to be.
fn keep_program() -> io::Result<()> {
    let kept = Path::new(NEW_ROOT).join(PROGRAM.trim_start_matches('/'));
    fs::File::create(&kept)?;
    Ok(rustix::mount::mount_bind(PROGRAM, &kept)?)
}

fn leave_initramfs() -> rustix::io::Result<()> {
    rustix::process::chdir(NEW_ROOT)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}

/// Makes every controller available to the cgroups of containers.
fn enable_controllers() -> io::Result<()> {
    let all = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
    for controller in all.split_whitespace() {
        fs::write("/sys/fs/cgroup/cgroup.subtree_control", format!("+{controller}"))?;
    }
    Ok(())
}
