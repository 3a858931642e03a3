//! Messages between the launcher and the process that it started.
//!
//! A message is its length, four bytes in the machine's order, and JSON; a descriptor may travel with
//! the length. Launcher and init are the same executable, so the format has no versions.
//!
//! ```text
//!   launcher                         init
//!      |-------- Request ------------->|  joins cgroups, enters namespaces, builds the rootfs
//!      |<------- Reply::Hooks ---------|  only when there are hooks for the launcher to run
//!      |-------- go ------------------>|  pivots
//!      |<------- Reply::Ready (+pty) --|  everything done that can fail before execve
//!      |<------- Reply::Listener ------|  only with a seccomp agent
//!      |-------- go ------------------>|  the launcher has the listener too
//!      |-------- go ------------------>|  recorded; end of file instead: the launcher was killed
//!   starter                            |
//!      |-------- go (gate) ----------->|  execve; end of file when it worked
//!      |<------- Reply::Failed --------|
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest message: more than execve(2) accepts for arguments and environment together.
const MAX: usize = 64 << 20;

/// One end, connected.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// Two ends connected to each other.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = net::SocketFlags::CLOEXEC;
        let (ours, theirs) =
            net::socketpair(net::AddressFamily::UNIX, net::SocketType::STREAM, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// Sends one message, with a descriptor or without.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let bytes = framed(message)?;
        let sent = match fd {
            Some(fd) => send_with_fd(self.as_fd(), &bytes, fd)?,
            None => 0,
        };
        self.send_all(&bytes[sent..])
    }

    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent =
                rustix::io::retry_on_intr(|| net::send(&self.0, bytes, SendFlags::NOSIGNAL))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends one message by write(2) alone, for a process whose other calls may have to wait for the
    /// other side. A reader that is gone is a signal: SIGPIPE is blocked.
    pub(crate) fn write(&self, message: &impl Serialize) -> io::Result<()> {
        let bytes = framed(message)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.0, rest))?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// The next message and its descriptor; `None` at the end.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut length = [0; 4];
        let (got, fd) = receive_with_fd(self.as_fd(), &mut length)?;
        match got {
            0 => return Ok(None),
            4 => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        let length = u32::from_ne_bytes(length) as usize;
        if length > MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        self.receive_all(&mut bytes)?;
        Ok(Some((serde_json::from_slice(&bytes)?, fd)))
    }

    fn receive_all(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let got = rustix::io::retry_on_intr(|| {
                net::recv(&self.0, &mut *bytes, RecvFlags::WAITALL).map(|(_, got)| got)
            })?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes = &mut bytes[got..];
        }
        Ok(())
    }

    /// Tells the other side to go on.
    pub(crate) fn go(&self) -> io::Result<()> {
        self.send_all(&[1])
    }

    /// Waits for [`Channel::go`]; false when the other side is gone.
    pub(crate) fn wait(&self) -> io::Result<bool> {
        let mut byte = [0];
        // The simplest of calls: a seccomp filter may be there already.
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut byte)) {
            Ok(got) => Ok(got == 1),
            Err(rustix::io::Errno::CONNRESET) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A message as it travels.
fn framed(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| io::ErrorKind::InvalidInput)?;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    Ok(bytes)
}

/// Sends what one sendmsg(2) takes, at least one byte, together with `fd`.
pub(crate) fn send_with_fd(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: BorrowedFd<'_>,
) -> io::Result<usize> {
    let fds = [fd];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [IoSlice::new(bytes)];
    Ok(rustix::io::retry_on_intr(|| {
        net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)
    })?)
}

/// Fills `header`, but for the end of the stream; gives how much came, and the descriptor with it.
fn receive_with_fd(
    socket: BorrowedFd<'_>,
    header: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC;
    let mut data = [IoSliceMut::new(header)];
    let got = match rustix::io::retry_on_intr(|| {
        net::recvmsg(socket, &mut data, &mut control, flags).map(|message| message.bytes)
    }) {
        Err(rustix::io::Errno::CONNRESET) => 0,
        Ok(got) => got,
        Err(error) => return Err(error.into()),
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((got, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_and_with_its_descriptor() {
        let (ours, theirs) = Channel::pair().expect("socketpair");
        let theirs = Channel::from(theirs);
        let text = "x".repeat(100_000);
        let null = std::fs::File::open("/dev/null").expect("open");
        ours.send(&text, Some(null.as_fd())).expect("send");
        let (got, fd) = theirs.receive::<String>().expect("receive").expect("a message");
        assert_eq!(got, text);
        assert!(fd.is_some());
        drop(ours);
        assert!(theirs.receive::<String>().expect("receive").is_none());
        assert!(!theirs.wait().expect("wait"));
    }
}
