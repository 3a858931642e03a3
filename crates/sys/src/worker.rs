//! Starting a helper program that is shut off from the rest of the host.
//!
//! Namespaces, no_new_privs and seccomp are properties of a thread, and `PR_SET_PDEATHSIG` watches the
//! *thread* that forked, not its process. So a worker has a thread of its own: it isolates itself with
//! [`isolate`], spawns a [`confine`]d command and stays until the worker has ended.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::UnshareFlags;

/// Puts the calling thread into new mount, IPC and UTS namespaces.
///
/// Its root and working directory are its own from then on; the process's other threads notice nothing.
///
/// # Errors
///
/// Those of unshare(2): `EPERM`, `ENOSPC`.
pub fn isolate() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: descriptors stay shared (no CLONE_FILES), so no owned descriptor changes its meaning.
    // NEWNS implies CLONE_FS, which only takes this thread's root and directory apart from the others'.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Makes `command`'s process hold none of the caller's descriptors but 0 to 2 and `inherited`, which
/// keep their numbers; gain no privilege by any exec; and be killed when the spawning *thread* ends.
pub fn confine(command: &mut Command, inherited: Vec<OwnedFd>) {
    let parent = rustix::process::getpid();
    let setup = move || {
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if rustix::process::getppid() != Some(parent) {
            return Err(io::ErrorKind::Interrupted.into()); // the parent died before the line above
        }
        // Marked, not closed: the standard library reports exec's failure through one of them.
        crate::execute::close_on_exec_from(3)?;
        inherited.iter().try_for_each(|fd| keep_on_exec(fd.as_raw_fd()))
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor takes
    // a lock (`io::Error` from an errno or a kind is plain data).
    unsafe { command.pre_exec(setup) };
}

fn keep_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes numbers and touches only the descriptor's flag.
    let ret = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_command_holds_only_what_it_was_given() {
        let (given, held_back) =
            (std::fs::File::open("/dev/null"), std::fs::File::open("/dev/null"));
        let given: OwnedFd = given.unwrap().into();
        let (number, held_back) = (given.as_raw_fd(), held_back.unwrap());
        let script = format!(
            "[ -e /proc/self/fd/{number} ] && [ ! -e /proc/self/fd/{} ] && grep -q 'NoNewPrivs:.1' /proc/self/status",
            held_back.as_raw_fd()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        confine(&mut command, vec![given]);
        assert!(command.status().unwrap().success());
    }
}
