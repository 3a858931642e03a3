//! What a socket's peer has not read.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of memory that hold what was written to a unix socket and not yet read by its peer; zero
/// when it has read all of it.
///
/// # Errors
///
/// `ENOTTY` when it is not a socket. See unix(7) `SIOCOUTQ`, which is tty_ioctl(4)'s `TIOCOUTQ`.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call, and the request writes one int.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn nothing_is_unread_once_the_peer_has_read_it() {
        let (mut near, mut far) = UnixStream::pair().expect("a pair");
        assert_eq!(unread(near.as_fd()).expect("a socket"), 0);
        near.write_all(b"word").expect("it fits");
        assert!(unread(near.as_fd()).expect("a socket") > 0);
        far.read_exact(&mut [0; 4]).expect("it is there");
        assert_eq!(unread(near.as_fd()).expect("a socket"), 0);
    }

    #[test]
    fn a_file_is_no_socket() {
        let file = std::fs::File::open("/dev/null").expect("it exists");
        assert!(unread(file.as_fd()).is_err());
    }
}
