//! Visitors: those in the guest who want to speak with somebody on the host.
//!
//! They wait in a queue until the shim takes the next one in, with a stream each way; the shim decides how
//! many it takes and what becomes of them.
//!
//! ```text
//!   program ─▶ socket of ours ─▶ queue ─▶ Request::Receive ─▶ two streams ─▶ shim ─▶ socket of the host's
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use wire::StreamId;
use wire::message::Visitor;
use wire::server::Streams;

/// How many may wait; more are turned away.
const WAITING: usize = 256;
/// As much as one frame carries.
const PIECE: usize = wire::frame::MAX_DATA as usize;
/// The longest answer to a query.
const MAX_ANSWER: u64 = 64 << 10;

/// Somebody who waits.
pub(crate) enum Guest {
    /// A datagram for the name server, and where its answer goes.
    Query { query: Vec<u8>, socket: Arc<UdpSocket>, from: SocketAddr },
    /// A connection to the name server.
    Resolver(TcpStream),
    /// A connection to a socket of the host's, which is that node of those files.
    Socket { share: StreamId, node: u64, stream: UnixStream },
}

/// Where visitors are brought.
#[derive(Clone, Debug)]
pub(crate) struct Visitors(SyncSender<Guest>);

/// Where the shim takes them from.
#[derive(Debug)]
pub(crate) struct Queue(Mutex<Receiver<Guest>>);

/// An empty queue, from both sides.
pub(crate) fn queue() -> (Visitors, Queue) {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    (Visitors(sender), Queue(Mutex::new(receiver)))
}

impl Visitors {
    /// Lets somebody wait. Where too many do, he is turned away: his connection ends.
    pub(crate) fn bring(&self, guest: Guest) {
        // The other side lives as long as the agent.
        let _ = self.0.try_send(guest);
    }
}

impl Queue {
    /// Waits for the next one, connects him with the streams, and says who it is.
    pub(crate) fn receive(
        &self,
        from: StreamId,
        to: StreamId,
        streams: &Streams,
    ) -> io::Result<Visitor> {
        let guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let guest = guests.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        drop(guests);
        let (back, there) = (streams.receiver(to), streams.sender(from));
        match guest {
            Guest::Query { query, socket, from } => {
                spawn(move || ask(&query, there, back, &socket, from))?;
                Ok(Visitor::Query)
            }
            Guest::Resolver(stream) => {
                let other = stream.try_clone()?;
                connect((stream, other), |stream| stream.shutdown(Shutdown::Write), there, back)?;
                Ok(Visitor::Resolver)
            }
            Guest::Socket { share, node, stream } => {
                let other = stream.try_clone()?;
                connect((stream, other), |stream| stream.shutdown(Shutdown::Write), there, back)?;
                Ok(Visitor::Socket { share, node })
            }
        }
    }
}

/// Passes bytes both ways. When the host has no more, `end` says so to the visitor; when the visitor has no
/// more, the host is told.
fn connect<S: Send + 'static>(
    (from, to): (S, S),
    end: impl FnOnce(&S) -> io::Result<()> + Send + 'static,
    there: wire::Sender,
    back: wire::Receiver,
) -> io::Result<()>
where
    for<'a> &'a S: Read + Write,
{
    spawn(move || {
        pass(&from, there);
    })?;
    spawn(move || {
        pass(back, &to);
        // It may be closed by now.
        let _ = end(&to);
    })
}

fn pass(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// Has one query answered; one that the host has no answer to failed, so that whoever asked tries another
/// server at once.
fn ask(
    query: &[u8],
    mut there: wire::Sender,
    back: wire::Receiver,
    socket: &UdpSocket,
    to: SocketAddr,
) {
    let asked = there.write_all(query);
    drop(there);
    let mut answer = Vec::new();
    let answered = asked.and_then(|()| back.take(MAX_ANSWER).read_to_end(&mut answer));
    let answer = match answered {
        Ok(1..) => answer,
        _ => failed(query),
    };
    // Whoever asked may be gone.
    let _ = socket.send_to(&answer, to);
}

/// The answer that there is none: `SERVFAIL`, RFC 1035 4.1.1. Nothing to what is no query.
fn failed(query: &[u8]) -> Vec<u8> {
    const RESPONSE: u8 = 0x80;
    const SERVER_FAILURE: u8 = 2;
    let mut answer = query.to_vec();
    if let [_, _, flags, codes, ..] = answer.as_mut_slice() {
        *flags |= RESPONSE;
        *codes = SERVER_FAILURE;
    }
    answer
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("visitor".into()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_without_an_answer_has_failed_and_is_still_the_same_question() {
        let query = [0xab, 0xcd, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
        let answer = failed(&query);
        assert_eq!(answer[..4], [0xab, 0xcd, 0x81, 0x02]);
        assert_eq!(answer[4..], query[4..]);
        assert_eq!(failed(b"ab"), b"ab");
    }

    #[test]
    fn who_finds_no_room_to_wait_is_turned_away() {
        let (visitors, _queue) = queue();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a socket"));
        let from = socket.local_addr().expect("an address");
        for _ in 0..WAITING + 10 {
            visitors.bring(Guest::Query { query: vec![0; 12], socket: Arc::clone(&socket), from });
        }
        assert_eq!(Arc::strong_count(&socket), WAITING + 1);
    }
}
