//! The name server that containers on networks of users find at 127.0.0.11.
//!
//! One for each such container, with sockets in the container's namespace on the host and everything else
//! in the engine: what a name means depends on who asks. A VM's guest is led to those sockets.
//!
//! ```text
//!   query ──▶ a neighbour's name, alias, id?  ──▶ its addresses
//!         └─▶ else, with a way out            ──▶ the servers of --dns, or the host's
//!             else                            ──▶ refused: nothing gets out of an internal network
//! ```
//!
//! While the engine is away nobody answers, and the container's resolver goes on to the next server of
//! its `resolv.conf`; the neighbours' names are in `/etc/hosts` too.
//!
//! Invariant: a server's sockets, which keep the namespace, are closed when it is dropped.
//!
//! Spec: RFC 1035 4.1, 4.2; RFC 6891 6.2.3.

mod answer;
mod egress;
mod forward;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use spec::ContainerId;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};

use crate::container::Container;
use crate::networks::DEFAULT;
use crate::shared::Shared;
use answer::{Directory, Outcome};
pub(crate) use egress::{Counts, restricts};

/// How many queries of one container are answered at once; more are not heard.
const AT_ONCE: usize = 100;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// The longest query that comes as a datagram.
const LONGEST: usize = 4096;

/// A container's name server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server([AbortHandle; 2], Arc<Counts>);

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Server {
    /// Serves the container `id` on sockets of its namespace.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        id: &ContainerId,
        (datagrams, streams): (std::net::UdpSocket, std::net::TcpListener),
    ) -> io::Result<Self> {
        datagrams.set_nonblocking(true)?;
        streams.set_nonblocking(true)?;
        let (datagrams, streams) =
            (UdpSocket::from_std(datagrams)?, TcpListener::from_std(streams)?);
        let counts = Arc::<Counts>::default();
        let asker =
            Asker { shared: Arc::clone(shared), id: id.clone(), counts: Arc::clone(&counts) };
        let by_datagram = tokio::spawn(hear(asker.clone(), Arc::new(datagrams)));
        let by_stream = tokio::spawn(accept(asker, streams));
        Ok(Self([by_datagram.abort_handle(), by_stream.abort_handle()], counts))
    }

    /// What its container asked for in vain.
    pub(crate) fn counts(&self) -> &Counts {
        &self.1
    }
}

/// Who asks.
#[derive(Debug, Clone)]
struct Asker {
    shared: Arc<Shared>,
    id: ContainerId,
    counts: Arc<Counts>,
}

async fn hear(asker: Asker, socket: Arc<UdpSocket>) {
    // What is under way ends with this task.
    let mut work = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        while work.try_join_next().is_some() {}
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(heard) => heard,
            // The last answer was not wanted any more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(container = %asker.id, %error, "name server has ended");
                return;
            }
        };
        if work.len() < AT_ONCE {
            let query = buffer[..length].to_vec();
            work.spawn(reply(asker.clone(), Arc::clone(&socket), query, from));
        }
    }
}

async fn reply(asker: Asker, socket: Arc<UdpSocket>, query: Vec<u8>, to: SocketAddr) {
    if let Some(answer) = asker.answer(&query, forward::Way::Datagram).await {
        // Whoever asked may be gone.
        let _ = socket.send_to(&answer, to).await;
    }
}

async fn accept(asker: Asker, listener: TcpListener) {
    let mut work = JoinSet::new();
    loop {
        while work.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if work.len() < AT_ONCE => {
                work.spawn(converse(asker.clone(), stream));
            }
            Ok(_) => {}
            // As when there is no descriptor left: later there may be.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Answers queries, each with its length in front, until the other side has no more.
async fn converse(asker: Asker, mut stream: TcpStream) {
    while let Ok(Ok(query)) = tokio::time::timeout(IDLE, forward::receive(&mut stream)).await {
        let Some(answer) = asker.answer(&query, forward::Way::Stream).await else { return };
        if forward::send(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

impl Asker {
    /// The answer to a query; `None` where there is nothing to say, as to what is no query.
    async fn answer(&self, query: &[u8], way: forward::Way) -> Option<Vec<u8>> {
        let message = Message::from_vec(query).ok()?;
        let container = self.shared.find(self.id.as_str()).ok()?.now().container;
        let directory = Directory::of(&self.shared, &container, &message);
        let answer = match answer::answer(&message, &directory)? {
            Outcome::Known(answer) => *answer,
            Outcome::Elsewhere => {
                if !egress::allows(&container, &message, &self.counts) {
                    return answer::failure(&message, false).to_vec().ok();
                }
                let way_out = container.endpoints.values().any(|one| one.gateway.is_some());
                let servers = if way_out { forward::servers(&container.host.dns) } else { vec![] };
                match forward::ask(&servers, query, way).await {
                    Some(answer) if !egress::restricts(&container) => return Some(answer),
                    Some(answer) => self.bound(&container, &message, &answer).await,
                    None => answer::failure(&message, way_out),
                }
            }
        };
        let bytes = answer.to_vec().ok()?;
        if way == forward::Way::Datagram && bytes.len() > usize::from(message.max_payload()) {
            return answer.truncate().to_vec().ok();
        }
        Some(bytes)
    }

    /// What a container that may not send everywhere is told of another server's answer.
    async fn bound(&self, container: &Container, query: &Message, answer: &[u8]) -> Message {
        let Ok(answer) = Message::from_vec(answer) else { return answer::failure(query, true) };
        match egress::bind(&self.shared, container, query, answer, &self.counts).await {
            Ok(bound) => bound,
            Err(error) => {
                tracing::warn!(container = %self.id, error = %spec::chain(&error), "name is not let through");
                answer::failure(query, true)
            }
        }
    }
}

/// Whether the container has a name server of its own: its neighbours have names, or it may not ask for
/// all names.
pub(crate) fn serves(container: &Container) -> bool {
    restricts(container) || container.endpoints.keys().any(|name| name != DEFAULT)
}
