//! Block devices of the host, as disks of a machine.
//!
//! They are opened here and passed as descriptors: the worker has no other way to them. One that may be written
//! is opened for this machine alone: a file system that two kernels write is soon none.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use spec::Kind;
use vmm::Disk;
use wire::message;

use super::translate::HostDisk;

/// The most that a container gets; a machine's bus has room for 255.
const MOST: usize = 16;

/// Why a block device cannot be a machine's disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not know it, or does not open it.
    #[error("device {}: open it for the VM", path.display())]
    Open {
        /// In the container.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody writes it.
    #[error(
        "device {} is in use, mounted or in another VM: two kernels must not write one disk; \
         unmount it, or pass it read-only (:r)", path.display()
    )]
    InUse {
        /// In the container.
        path: PathBuf,
    },
    /// Nothing can be done with it.
    #[error("device {}: its access lets the container neither read nor write it", path.display())]
    NoAccess {
        /// In the container.
        path: PathBuf,
    },
    /// There is no room.
    #[error("{0} block devices: a VM container has at most {MOST}")]
    TooMany(usize),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::Open { .. } => Kind::Internal,
            Self::InUse { .. } => Kind::Conflict,
            Self::NoAccess { .. } => Kind::Invalid,
            Self::TooMany(_) => Kind::Unsupported,
        }
    }
}

/// A serial number that no other disk of this process's machine has.
pub(super) fn serial() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("hull-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Opens them; gives each once, and for each device of the container which one it is.
pub(super) fn open(asked: &[HostDisk]) -> Result<(Vec<Disk>, Vec<message::Disk>), Error> {
    let (mut numbers, mut disks, mut named) = (Vec::new(), Vec::new(), Vec::new());
    for one in asked {
        let same = asked.iter().filter(|other| other.numbers == one.numbers);
        let access: String = same.map(|other| other.access.as_str()).collect();
        let known = numbers.iter().position(|known| *known == one.numbers);
        let at = known.unwrap_or(disks.len());
        if known.is_none() {
            let writable = access.contains('w');
            if !writable && !access.contains('r') {
                return Err(Error::NoAccess { path: one.path.clone() });
            }
            let file = device(one, writable)?;
            numbers.push(one.numbers);
            disks.push(Disk { file, writable, serial: serial() });
        }
        let (path, serial) = (one.path.to_string_lossy().into_owned(), disks[at].serial.clone());
        named.push(message::Disk { path, serial, access: one.access.clone() });
    }
    if disks.len() > MOST { Err(Error::TooMany(disks.len())) } else { Ok((disks, named)) }
}

/// The device by its numbers: what its node is called on the host the configuration does not say.
fn device(disk: &HostDisk, writable: bool) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Open { path: disk.path.clone(), source };
    let (major, minor) = disk.numbers;
    let facts = format!("/sys/dev/block/{major}:{minor}/uevent");
    let facts = fs::read_to_string(facts).map_err(failed)?;
    let name = facts.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let mut options = File::options();
    options.read(true).write(writable);
    if writable {
        options.custom_flags(libc::O_EXCL);
    }
    let opened = options.open(Path::new("/dev").join(name)).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::EBUSY) => Error::InUse { path: disk.path.clone() },
            _ => failed(source),
        }
    })?;
    let found = opened.metadata().map_err(failed)?;
    let real = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    if !found.file_type().is_block_device()
        || (i64::from(real.0), i64::from(real.1)) != disk.numbers
    {
        return Err(failed(io::Error::other(format!("/dev/{name} is another device"))));
    }
    Ok(opened.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_know_or_nobody_may_use_is_refused() {
        let disk = |numbers, access: &str| HostDisk {
            path: "/dev/x".into(),
            numbers,
            access: access.to_owned(),
        };
        let refused = |disk| open(&[disk]).map(drop).expect_err("no such device");
        assert_eq!(refused(disk((4095, 77), "rw")).kind(), Kind::NotFound);
        assert_eq!(refused(disk((7, 0), "m")).kind(), Kind::Invalid);
    }
}
