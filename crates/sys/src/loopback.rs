//! Loop devices: files as disks.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// `LOOP_CTL_GET_FREE` and others of linux/loop.h, which libc lacks.
const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const GET_STATUS: libc::c_ulong = 0x4c05;
const SET_CAPACITY: libc::c_ulong = 0x4c07;
/// The device is free again with its last user.
const AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [u8; 160],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// A file as a block device, for as long as this or a mount of it is there.
#[derive(Debug)]
pub struct Loop {
    device: OwnedFd,
    path: PathBuf,
}

impl Loop {
    /// The device of `file`: the one that it is on already, or a free one. Two devices of one file would
    /// not know of each other's writes, so callers hold a lock of theirs on it meanwhile.
    ///
    /// # Errors
    ///
    /// `ENOENT` where the host has no `/dev/loop-control`, `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` before
    /// Linux 5.8. See loop(4).
    pub fn attach(file: &File) -> io::Result<Self> {
        if let Some(found) = Self::of(file)? {
            return Ok(found);
        }
        let control = open(Path::new("/dev/loop-control"))?;
        loop {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path)?;
            match configure(device.as_fd(), file) {
                // Somebody else was faster.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                done => return done.map(|()| Self { device, path }),
            }
        }
    }

    /// The device that `file` is on, if it is on one.
    fn of(file: &File) -> io::Result<Option<Self>> {
        let wanted = file.metadata()?;
        for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            if !entry.path().join("loop").is_dir() {
                continue;
            }
            let path = Path::new("/dev").join(entry.file_name());
            let Ok(device) = open(&path) else { continue };
            if let Ok((dev, inode)) = status(device.as_fd())
                && (dev, inode) == (wanted.dev(), wanted.ino())
            {
                return Ok(Some(Self { device, path }));
            }
        }
        Ok(None)
    }

    /// The device's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes notice that the file has another size.
    ///
    /// # Errors
    ///
    /// As ioctl(2).
    pub fn resized(&self) -> io::Result<()> {
        // SAFETY: LOOP_SET_CAPACITY takes no argument.
        let ret = unsafe { libc::ioctl(self.device.as_raw_fd(), SET_CAPACITY) };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

fn configure(device: BorrowedFd<'_>, file: &File) -> io::Result<()> {
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let info = Info { flags: AUTOCLEAR, ..Info::empty() };
    let config = Config { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, whose layout `config` has; the file's
    // descriptor in it is open while `file` is borrowed.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Device and inode of the file that a loop device is on.
fn status(device: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let mut info = Info::empty();
    // SAFETY: LOOP_GET_STATUS64 writes one `struct loop_info64`, whose layout `info` has.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS, &raw mut info) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok((info.device, info.inode)) }
}

impl Info {
    const fn empty() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            names: [0; 160],
            init: [0; 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_its_sizes() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
    }
}
