//! Working in a mount namespace of one's own, and taking from another.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, open_tree};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Runs `work` where its mounts are seen by nobody else and end with it, also when the program is
/// killed. Programs that `work` starts see them. The working directory is its own as well.
///
/// # Errors
///
/// Those of unshare(2) and of `work`.
pub fn within_own<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let run = || {
        // SAFETY: of what unshare separates, only descriptors would concern the memory safety of other
        // code, and CLONE_FILES is not asked for. Mounts and working directory are this thread's.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)?;
        work()
    };
    apart(run)
}

/// A copy of what is seen at `path` in the mount namespace `of`, mounted nowhere yet (open_tree(2)).
///
/// # Errors
///
/// Those of setns(2) and open_tree(2).
pub fn copy_from(of: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    apart(|| {
        // SAFETY: as above; the working directory is what setns asks not to be shared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        move_into_link_name_space(of, Some(LinkNameSpaceType::Mount))?;
        let copy = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(CWD, path, copy)?)
    })
}

/// Runs `work` in a thread of its own, which ends with it.
fn apart<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("mntns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
