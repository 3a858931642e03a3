//! Working in another network namespace, and making one.
//!
//! The namespace is a property of the thread, so the work is done by a thread of its own: the caller
//! never has to come back, and cannot be left in the wrong place.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Runs `work` in the network namespace that `netns` refers to, and gives what it gave.
///
/// Sockets opened there stay in that namespace wherever they are used later.
///
/// # Errors
///
/// Those of setns(2): `EINVAL` when `netns` is no network namespace, `EPERM`.
pub fn within<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let enter = || {
        rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        work()
    };
    run(enter)
}

/// Makes a network namespace with nothing in it but a `lo` that is down. It lasts until the
/// descriptor, all mounts of it and its last process are gone.
///
/// # Errors
///
/// Those of unshare(2): `EPERM`, `ENOSPC`.
pub fn make() -> io::Result<OwnedFd> {
    run(|| {
        // SAFETY: only CLONE_FILES and CLONE_FS could break what other code relies on; the network
        // namespace of this thread, which ends with this closure, concerns nobody else.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())?)
    })
}

fn run<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
