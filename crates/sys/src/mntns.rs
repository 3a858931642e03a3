//! Working in a mount namespace of one's own.

use std::io;
use std::thread;

use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

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
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("mntns".into()).spawn_scoped(scope, run)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
