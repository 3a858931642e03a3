//! The worker's filesystem: what the hypervisor's program needs to run, and nothing of the host besides.
//!
//! A read-only tmpfs as root, in it:
//!
//! ```text
//!   /usr /lib /lib64 …    the host's programs, read-only
//!   /etc/ld.so.cache      the loader's
//!   /dev/null urandom     and kvm where it is used
//!   /boot/kernel initrd   for a machine that boots
//! ```
//!
//! No `/proc`, no `/sys`, no `/tmp`. All else the worker works with it gets as descriptors.
//!
//! Where the kernel has Landlock, of this too only what the hypervisor needs can be opened: its program, but
//! no other, libraries, data, and the devices; nothing can be made, and no TCP port or abstract socket reached.
//!
//! Runs in the worker's own thread after [`sys::worker::isolate`], as root.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use spec::Kind;
use sys::landlock::{self, Access};
use sys::mount::Attributes;

/// Where programs and their libraries are, on distributions old, new and unusual.
const PROGRAMS: [&str; 9] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store", "gnu/store"];

/// Where libraries are, and the loader, which is executed.
const LIBRARIES: [&str; 11] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
];

/// Firmware, other data, and what a machine boots.
const DATA: [&str; 4] = ["/usr/share", "/usr/local/share", "/etc/ld.so.cache", "/boot"];

/// What is put into the jail.
#[derive(Debug)]
pub(crate) struct Jail {
    /// An existing directory, covered in the worker's namespace only.
    pub(crate) place: PathBuf,
    /// The program that must be found in it, an absolute path without links.
    pub(crate) program: PathBuf,
    /// Whether it may use `/dev/kvm`.
    pub(crate) kvm: bool,
    /// Files of the host and the names they get in `/boot`.
    pub(crate) boot: Vec<(PathBuf, &'static str)>,
}

impl Jail {
    /// Makes the jail the calling thread's root.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let root = &self.place;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        step("unshare mounts", root, rustix::mount::mount_change("/", private))?;
        // This thread's alone since its mounts are: what is made here must be readable to the worker.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let flags = MountFlags::NOSUID;
        let options = Some(c"mode=0755,size=256m");
        step("mount tmpfs on", root, rustix::mount::mount("tmpfs", root, "tmpfs", flags, options))?;
        self.programs()?;
        self.devices()?;
        for (file, name) in &self.boot {
            lend_file(file, &root.join("boot").join(name))?;
        }
        pivot(root)
    }

    /// Locks the jail's cupboards, once it is entered. Gives Landlock's ABI, where the kernel has it.
    pub(crate) fn lock(&self) -> Result<Option<u32>, Error> {
        let opened = self.rules().into_iter().filter_map(|(path, access)| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            match rustix::fs::open(&path, flags, Mode::empty()) {
                Err(rustix::io::Errno::NOENT) => None,
                opened => Some(step("open", &path, opened).map(|file| (file, access))),
            }
        });
        let opened = opened.collect::<Result<Vec<(OwnedFd, Access)>, _>>()?;
        let rules: Vec<_> = opened.iter().map(|(file, access)| (file.as_fd(), *access)).collect();
        step("restrict what is opened in", Path::new("/"), landlock::restrict(&rules))
    }

    fn rules(&self) -> Vec<(PathBuf, Access)> {
        let data = Access::READ.and(Access::LIST);
        let programs = data.and(Access::EXECUTE);
        let mut rules = vec![
            (self.program.clone(), Access::READ.and(Access::EXECUTE)),
            ("/dev/null".into(), Access::READ.and(Access::WRITE)),
            ("/dev/urandom".into(), Access::READ),
            ("/dev/kvm".into(), Access::READ.and(Access::WRITE).and(Access::IOCTL)),
        ];
        rules.extend(LIBRARIES.map(|path| (path.into(), programs)));
        rules.extend(DATA.map(|path| (path.into(), data)));
        rules.extend(self.prefix().map(|prefix| (prefix.to_owned(), programs)));
        rules
    }

    /// Where a program that is none of the distribution's has its data beside it: `PREFIX/bin/qemu…` and
    /// `PREFIX/share/qemu`.
    fn prefix(&self) -> Option<&Path> {
        let known = |at: &&'static str| self.program.starts_with(Path::new("/").join(at));
        let prefix = self.program.parent()?.parent()?;
        (!PROGRAMS.iter().any(known) && prefix != Path::new("/")).then_some(prefix)
    }

    fn programs(&self) -> Result<(), Error> {
        for name in PROGRAMS {
            let (from, to) = (Path::new("/").join(name), self.place.join(name));
            match fs::read_link(&from) {
                Ok(target) => step("link", &to, std::os::unix::fs::symlink(target, &to))?,
                Err(_) if from.is_dir() => bind_directory(&from, &to)?,
                Err(_) => {}
            }
        }
        if Path::new("/etc/ld.so.cache").exists() {
            bind_file(Path::new("/etc/ld.so.cache"), &self.place.join("etc/ld.so.cache"))?;
        }
        match self.prefix() {
            Some(prefix) => {
                let below = prefix.strip_prefix("/").unwrap_or(prefix);
                bind_directory(prefix, &self.place.join(below))
            }
            None => Ok(()),
        }
    }

    fn devices(&self) -> Result<(), Error> {
        let directory = self.place.join("dev");
        step("create", &directory, fs::create_dir(&directory))?;
        for name in ["null", "urandom", "kvm"] {
            if name == "kvm" && !self.kvm {
                continue;
            }
            let (from, to) = (Path::new("/dev").join(name), directory.join(name));
            let device = step("stat", &from, rustix::fs::stat(&from))?.st_rdev;
            let made = rustix::fs::mknodat(
                CWD,
                &to,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o666),
                device,
            );
            step("create", &to, made)?;
            let open = Mode::from_raw_mode(0o666); // the umask took write permission off
            step("chmod", &to, rustix::fs::chmod(&to, open))?;
        }
        Ok(())
    }
}

/// Makes `root` the root of everything this thread sees, and lets go of the old one.
fn pivot(root: &Path) -> Result<(), Error> {
    step("chdir to", root, rustix::process::chdir(root))?;
    step("pivot_root to", root, rustix::process::pivot_root(".", "."))?;
    step("unmount", Path::new("/"), rustix::mount::unmount(".", UnmountFlags::DETACH))?;
    step("chdir to", Path::new("/"), rustix::process::chdir("/"))?;
    read_only(Path::new("/"))
}

fn bind_directory(from: &Path, to: &Path) -> Result<(), Error> {
    step("create", to, fs::create_dir_all(to))?;
    step("bind", from, rustix::mount::mount_bind(from, to))?;
    read_only(to)
}

fn bind_file(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        step("create", parent, fs::create_dir_all(parent))?;
    }
    step("create", to, fs::write(to, ""))?;
    step("bind", from, rustix::mount::mount_bind(from, to))?;
    read_only(to)
}

/// Shows a file to a worker that may have no permission to read it where it is (some distributions keep
/// kernels for root): then it gets a copy, which goes away with the jail.
fn lend_file(from: &Path, to: &Path) -> Result<(), Error> {
    let mode = step("stat", from, rustix::fs::stat(from))?.st_mode;
    if mode & 0o004 != 0 {
        return bind_file(from, to);
    }
    if let Some(parent) = to.parent() {
        step("create", parent, fs::create_dir_all(parent))?;
    }
    step("copy", from, fs::copy(from, to))?;
    step("chmod", to, rustix::fs::chmod(to, Mode::from_raw_mode(0o444)))
}

fn read_only(at: &Path) -> Result<(), Error> {
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    let attributes = Attributes { set, ..Attributes::default() };
    let path = rustix::path::Arg::into_c_str(at);
    let done = path
        .map_err(io::Error::from)
        .and_then(|path| sys::mount::set_attributes(CWD, &path, false, &attributes));
    step("make read-only", at, done)
}

fn step<T, E: Into<io::Error>>(
    step: &'static str,
    path: &Path,
    done: Result<T, E>,
) -> Result<T, Error> {
    done.map_err(|source| Error { step, path: path.to_owned(), source: source.into() })
}

/// A step that was refused.
#[derive(Debug, thiserror::Error)]
#[error("jail the hypervisor: {step} {}", path.display())]
pub struct Error {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Internal,
        }
    }
}
