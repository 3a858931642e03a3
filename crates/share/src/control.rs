//! What the shim asks the server beside the guest's requests: connections to sockets among the files.
//!
//! ```text
//!   shim:   the node's number, 8 bytes   ─▶   server
//!           errno or 0, 4 bytes          ◀─   with the connected socket where it is 0
//! ```
//!
//! The server connects, because what it sees is what the guest may reach: whose socket it is tells its
//! listener nothing but that it is the server's user.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::node::Node;

/// The shim's end.
#[derive(Debug, Clone)]
pub struct Sockets(Arc<Mutex<UnixStream>>);

impl Sockets {
    pub(crate) fn new(control: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(control)))
    }

    /// A connection to the socket that is the guest's node of this number.
    ///
    /// # Errors
    ///
    /// Those of connect(2): `ECONNREFUSED` where nobody listens; `ENOTSOCK` for what is no socket, `ESTALE`
    /// for what the guest does not know.
    pub fn connect(&self, node: u64) -> io::Result<UnixStream> {
        let mut control = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        control.write_all(&node.to_ne_bytes())?;
        let mut word = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut word)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
        let got = rustix::net::recvmsg(control.as_fd(), &mut into, &mut ancillary, flags)?;
        if got.bytes < word.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let sent = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        drop(control);
        match (i32::from_ne_bytes(word), sent) {
            (0, Some(socket)) => {
                let socket = UnixStream::from(socket);
                socket.set_nonblocking(false)?;
                Ok(socket)
            }
            (0, None) => Err(io::ErrorKind::InvalidData.into()),
            (errno, _) => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Reads one question; `None` at the end.
pub(crate) fn read(control: &mut UnixStream) -> io::Result<Option<u64>> {
    let mut number = [0; 8];
    match control.read_exact(&mut number) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(u64::from_ne_bytes(number))),
    }
}

/// Answers it.
pub(crate) fn answer(control: &UnixStream, socket: Result<OwnedFd, Errno>) -> io::Result<()> {
    let (errno, socket) = match socket {
        Ok(socket) => (0, Some(socket)),
        Err(errno) => (errno.raw_os_error(), None),
    };
    let files: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&files));
        debug_assert!(fits, "the space is made for one descriptor");
    }
    let word = errno.to_ne_bytes();
    let (from, flags) = ([IoSlice::new(&word)], SendFlags::NOSIGNAL);
    rustix::net::sendmsg(control, &from, &mut ancillary, flags)?;
    Ok(())
}

/// Connects to a node. A listener that has no room for one more is not waited for.
pub(crate) fn connect(node: &Node) -> Result<OwnedFd, Errno> {
    if node.kind != FileType::Socket {
        return Err(Errno::NOTSOCK);
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(node.path())?)?;
    Ok(socket)
}
