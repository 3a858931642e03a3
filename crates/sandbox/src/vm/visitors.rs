//! Those in the guest who want to speak with somebody on the host: to whom they are led.
//!
//! One thread waits for the next visitor; each then has threads of its own, for as long as he stays. A guest
//! is hostile: it gets so many at once and no more, and nobody but those that its container was given.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use share::Sockets;
use spec::NAME_SERVER;
use wire::message::Visitor;
use wire::{Client, Receiver, Sender, StreamId};

use super::Error;
use super::running::{Running, lock};

/// How many are there at once; more are turned away.
const AT_ONCE: usize = 256;
/// As much as one frame carries.
const PIECE: usize = wire::frame::MAX_DATA as usize;
/// The longest query and the longest answer in a datagram.
const LONGEST: u64 = 64 << 10;
/// How long an answer to a query may take; resolvers ask again sooner.
const ANSWER: Duration = Duration::from_secs(10);

/// Whom a VM's visitors may see.
#[derive(Debug)]
pub(super) struct House {
    /// The network namespace of the name server.
    netns: Option<Arc<File>>,
    /// The sockets among the files that the guest sees, by the stream of those files' requests.
    sockets: Mutex<HashMap<StreamId, Sockets>>,
    present: Arc<AtomicUsize>,
    /// Whether visitors are taken in.
    open: AtomicBool,
}

/// One visitor's place, free again when this is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl House {
    /// A house with the name server of this namespace, where there is one, and not open yet.
    pub(super) fn new(netns: Option<Arc<File>>) -> Self {
        let (sockets, present) = Default::default();
        Self { netns, sockets, present, open: AtomicBool::new(false) }
    }

    /// Lets visitors see the sockets of one of the guest's file systems.
    pub(super) fn invite(&self, share: StreamId, sockets: Sockets) {
        lock(&self.sockets).insert(share, sockets);
    }

    /// Whether there is anybody to be seen.
    fn is_lived_in(&self) -> bool {
        self.netns.is_some() || !lock(&self.sockets).is_empty()
    }

    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.present));
        (self.present.fetch_add(1, Ordering::Relaxed) < AT_ONCE).then_some(place)
    }

    /// Leads a visitor to whom he wants to see, or ends his visit.
    fn lead(&self, visitor: Visitor, from: Receiver, to: Sender) -> io::Result<()> {
        let place = self.place().ok_or(io::ErrorKind::QuotaExceeded)?;
        let nobody = || io::Error::from(io::ErrorKind::NotConnected);
        let work: Box<dyn FnOnce() -> io::Result<()> + Send> = match visitor {
            Visitor::Query => {
                let netns = self.netns.clone().ok_or_else(nobody)?;
                Box::new(move || ask(&netns, from, to))
            }
            Visitor::Resolver => {
                let netns = self.netns.clone().ok_or_else(nobody)?;
                Box::new(move || {
                    let call = || TcpStream::connect(SocketAddr::from(NAME_SERVER));
                    let server = sys::netns::within(netns.as_fd(), call)?;
                    converse(&server, |server| server.shutdown(Shutdown::Write), from, to);
                    Ok(())
                })
            }
            Visitor::Socket { share, node } => {
                let sockets = lock(&self.sockets).get(&share).cloned().ok_or_else(nobody)?;
                Box::new(move || {
                    let server = sockets.connect(node)?;
                    converse(&server, |server| server.shutdown(Shutdown::Write), from, to);
                    Ok(())
                })
            }
        };
        let visit = move || {
            // No answer is one, too: the visitor sees that his connection ends.
            if let Err(error) = work() {
                tracing::debug!(?visitor, %error, "visitor meets nobody");
            }
            drop(place);
        };
        thread::Builder::new().name("visitor".into()).spawn(visit).map(drop)
    }
}

impl Running {
    /// Takes visitors in as long as the VM runs, once there is somebody to be seen.
    pub(super) fn open_house(&self) -> Result<(), Error> {
        if !self.house.is_lived_in() || self.house.open.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let (client, house) = (Arc::clone(&self.client), Arc::clone(&self.house));
        let receive = move || {
            while let Ok((visitor, from, to)) = next(&client) {
                if let Err(error) = house.lead(visitor, from, to) {
                    tracing::debug!(?visitor, %error, "visitor is turned away");
                }
            }
        };
        let thread = thread::Builder::new().name("visitors".into());
        thread.spawn(receive).map(drop).map_err(Error::Thread)
    }
}

fn next(client: &Client) -> Result<(Visitor, Receiver, Sender), wire::client::Error> {
    let (from, to) = (client.stream(), client.stream());
    let receiver = client.receiver(from);
    let visitor = client.receive(from, to)?;
    Ok((visitor, receiver, client.sender(to)))
}

/// Has one query answered.
fn ask(netns: &File, from: Receiver, mut to: Sender) -> io::Result<()> {
    let mut query = Vec::new();
    from.take(LONGEST).read_to_end(&mut query)?;
    let socket = sys::netns::within(netns.as_fd(), || {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(SocketAddr::from(NAME_SERVER))?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(ANSWER))?;
    socket.send(&query)?;
    let mut answer = vec![0; usize::try_from(LONGEST).unwrap_or(usize::MAX)];
    let length = socket.recv(&mut answer)?;
    to.write_all(&answer[..length])
}

/// Passes bytes both ways until both sides have no more, or one is gone.
fn converse<S: Sync>(
    host: &S,
    end: impl FnOnce(&S) -> io::Result<()> + Send,
    from: Receiver,
    to: Sender,
) where
    for<'a> &'a S: Read + Write,
{
    thread::scope(|scope| {
        scope.spawn(move || {
            pass(from, host);
            // It may be closed by now.
            let _ = end(host);
        });
        pass(host, to);
    });
}

fn pass(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}
