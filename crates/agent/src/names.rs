//! The way to the host's name server: sockets in the container's namespace where the server is on the
//! host, whose queries and connections are visitors.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use crate::visitors::{Guest, Visitors};

/// The longest query that comes as a datagram.
const LONGEST: usize = 4096;

/// The sockets, open until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    at: SocketAddr,
    stop: Arc<OwnedFd>,
}

/// There is no way to the name server.
#[derive(Debug, thiserror::Error)]
#[error("network: listen at {at} for the host's name server")]
pub(crate) struct Error {
    at: SocketAddr,
    source: io::Error,
}

impl Server {
    /// Opens the sockets in the namespace.
    pub(crate) fn start(
        netns: BorrowedFd<'_>,
        at: SocketAddr,
        visitors: &Visitors,
    ) -> Result<Self, Error> {
        let start = || {
            let bind = || Ok((UdpSocket::bind(at)?, TcpListener::bind(at)?));
            let (datagrams, streams) = sys::netns::within(netns, bind)?;
            datagrams.set_nonblocking(true)?;
            streams.set_nonblocking(true)?;
            let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
            let (stop, visitors) = (Arc::new(stop), visitors.clone());
            let stopped = Arc::clone(&stop);
            let listen = move || listen(&Arc::new(datagrams), &streams, &stopped, &visitors);
            thread::Builder::new().name("names".into()).spawn(listen)?;
            Ok(Self { at, stop })
        };
        start().map_err(|source| Error { at, source })
    }

    /// Where it listens.
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fresh counter takes this.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

fn listen(datagrams: &Arc<UdpSocket>, streams: &TcpListener, stop: &OwnedFd, visitors: &Visitors) {
    let mut buffer = vec![0; LONGEST];
    let polled = [datagrams.as_fd(), streams.as_fd(), stop.as_fd()];
    let mut polled = polled.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let no_limit: Option<&Timespec> = None;
    loop {
        match rustix::event::poll(&mut polled, no_limit) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let ready = polled.each_ref().map(|one| !one.revents().is_empty());
        if ready[2] {
            return;
        }
        if ready[0]
            && let Ok((length, from)) = datagrams.recv_from(&mut buffer)
        {
            let (query, socket) = (buffer[..length].to_vec(), Arc::clone(datagrams));
            visitors.bring(Guest::Query { query, socket, from });
        }
        if ready[1]
            && let Ok((stream, _)) = streams.accept()
        {
            visitors.bring(Guest::Resolver(stream));
        }
    }
}
