//! Descriptors that whoever started this process left to it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is passed, by sd_listen_fds(3).
const FIRST: RawFd = 3;

/// Takes the sockets that systemd passed to this process; none where it did not, and none the second
/// time. They are closed on exec, as programs started from here are not meant.
///
/// To be called first of all: by the protocol nothing else has opened the numbers that are passed.
///
/// # Errors
///
/// `EBADF` when fewer were passed than `LISTEN_FDS` says.
pub fn sockets() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let meant = number("LISTEN_PID") == Some(std::process::id());
    if !meant || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0);
    (FIRST..FIRST.saturating_add(count)).map(take).collect()
}

fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes no pointer, and fails for a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and was passed to this very process, which takes it only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_taken_that_was_not_passed() {
        assert!(super::sockets().expect("none").is_empty());
    }
}
