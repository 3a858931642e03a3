//! Shared memory that a container offers to others: a tmpfs of the engine's, mounted in all of them.
//!
//! A namespace holds System V's shared memory and message queues, but POSIX's is files in `/dev/shm`.
//! Joiners do not look for it in the container that offers it, whose paths are hostile.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::Error;

/// Bytes where nobody says.
pub(crate) const SIZE: u64 = 64 << 20;

/// Mounts an empty one on `at`, in place of what an earlier run left. Blocks.
pub(crate) fn mount(at: &Path, size: Option<u64>) -> Result<(), Error> {
    unmount(at)?;
    let failed = |action| move |source| Error::File { action, path: at.to_owned(), source };
    fs::create_dir_all(at).map_err(failed("make"))?;
    let options = format!("mode=1777,size={}", size.unwrap_or(SIZE));
    let options = CString::new(options).expect("digits hold no NUL");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("shm", at, "tmpfs", flags, &*options)
        .map_err(|error| failed("mount shared memory on")(error.into()))
}

/// Takes it away; whoever has joined keeps it. Nothing when there is none. Blocks.
pub(crate) fn unmount(at: &Path) -> Result<(), Error> {
    let failed = |action| move |source| Error::File { action, path: at.to_owned(), source };
    match rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(failed("unmount")(error.into())),
    }
    match fs::remove_dir(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove")(error)),
        _ => Ok(()),
    }
}
