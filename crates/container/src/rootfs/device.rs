//! Device nodes and the links of `/dev`.
//!
//! Spec: OCI runtime-spec, config-linux.md "Devices", "Default Devices", "Dev symbolic links".

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, makedev};
use rustix::io::Errno;
use spec::oci::runtime::{LinuxDevice, LinuxDeviceType};

use sys::mount::Attributes;

use super::{Error, Tree};

/// What every container has, of mode 0666.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the default devices, then those of the configuration.
///
/// Nobody may make nodes in a user namespace (`bound`): those that the launcher `made` are bound
/// there, by their places in the list, and the host's where it may not make any either.
pub(super) fn make_all(
    tree: &Tree,
    devices: &[LinuxDevice],
    bound: bool,
    made: &[(usize, OwnedFd)],
) -> Result<(), Error> {
    let dev = tree.directory("/dev").map_err(Error::step("open /dev in the rootfs"))?;
    for (name, major, minor) in DEFAULTS {
        let path = Path::new("/dev").join(name);
        if devices.iter().any(|device| *device.path() == path) {
            continue;
        }
        let made = if bound {
            host(&path).and_then(|device| bind(tree, &path, &device))
        } else {
            node(&dev, name.as_ref(), FileType::CharacterDevice, 0o666, (major, minor))
        };
        made.map_err(|source| Error::Device { path, source })?;
    }
    for (name, target) in LINKS {
        link(&dev, name, target)?;
    }
    if Path::new("/proc/kcore").exists() {
        link(&dev, "core", "/proc/kcore")?;
    }
    // The container's own pseudo-terminals are behind /dev/ptmx, also where the configuration lists
    // the host's devices.
    let others = devices.iter().enumerate();
    for (index, device) in others.filter(|(_, device)| device.path() != Path::new("/dev/ptmx")) {
        let path = device.path();
        let made = if let Some((_, made)) = made.iter().find(|(of, _)| *of == index) {
            bind(tree, path, made)
        } else if bound && device.typ() != LinuxDeviceType::P {
            host(path).and_then(|found| bind(tree, path, &found))
        } else {
            make(tree, device)
        };
        made.map_err(|source| Error::Device { path: path.clone(), source })?;
    }
    Ok(())
}

fn link(dev: &OwnedFd, name: &str, target: &str) -> Result<(), Error> {
    match rustix::fs::symlinkat(target, dev, name) {
        // An image's own /dev may have it already.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => {
            Err(Error::Device { path: Path::new("/dev").join(name), source: error.into() })
        }
    }
}

/// The host's device of that path.
fn host(path: &Path) -> io::Result<OwnedFd> {
    let device = crate::source::copy(path, false)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&device)?.st_mode);
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        return Ok(device);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "no device on the host"))
}

/// Puts a device's mount at a path.
fn bind(tree: &Tree, path: &Path, device: &OwnedFd) -> io::Result<()> {
    let set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    sys::mount::set_attributes(device, c"", false, &Attributes { set, ..Attributes::default() })?;
    super::mount::attach(device, &tree.file(path)?, &super::options::Options::default())
}

/// What a device of the configuration is: its type, and its major and minor number.
pub(crate) fn identity(device: &LinuxDevice) -> io::Result<(FileType, (u32, u32))> {
    let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let kind = match device.typ() {
        LinuxDeviceType::P => return Ok((FileType::Fifo, (0, 0))),
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::A => return Err(invalid("type a is no device")),
    };
    let number = |number: i64| u32::try_from(number).map_err(|_| invalid("number out of range"));
    Ok((kind, (number(device.major())?, number(device.minor())?)))
}

fn make(tree: &Tree, device: &LinuxDevice) -> io::Result<()> {
    let (kind, numbers) = identity(device)?;
    let (parent, name) = tree.parent(device.path())?;
    let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
    node(&parent, name.as_ref(), kind, mode, numbers)?;
    if device.uid().is_some() || device.gid().is_some() {
        let (uid, gid) = (device.uid().map(Uid::from_raw), device.gid().map(Gid::from_raw));
        rustix::fs::chownat(&parent, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Makes a node; one that exists must be the same.
fn node(
    parent: &OwnedFd,
    name: &Path,
    kind: FileType,
    mode: u32,
    (major, minor): (u32, u32),
) -> io::Result<()> {
    let number = makedev(major, minor);
    match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode), number) {
        Err(Errno::EXIST) => {
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same = FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number;
            if same { Ok(()) } else { Err(Errno::EXIST.into()) }
        }
        result => Ok(result?),
    }
}
