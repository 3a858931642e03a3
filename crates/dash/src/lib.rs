//! The dashboard: a web page with containers, walls, charts, logs and a terminal.
//!
//! ```text
//!   browser --/ and its files--------------------> page   the same for everybody, nothing secret in it
//!           --/v1.51/… with the token------------> forward, to the engine's own socket
//!             \- websockets, for the terminal
//! ```
//!
//! Nobody listens until [`Dash::open`] is asked. Then it is on loopback alone, and whoever has the token is
//! as powerful as whoever reaches the engine's socket. The token stands behind the `#` of the URL, which
//! browsers send to nobody; the page sends it with every request, not as a cookie, which browsers would
//! give to every port of this host. A request must name this address as its host, which a page of another
//! name that was made to lead here (DNS rebinding) does not, and must come from this page if it says where
//! it comes from.

mod forward;
mod gate;
mod page;
mod serve;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use spec::Kind;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use gate::Gate;

/// No dashboard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port cannot be listened at.
    #[error(
        "the dashboard cannot listen at {address}: choose another port, or none for any that is free"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It is there already, and elsewhere.
    #[error("the dashboard is open at {0} already: close it with `hull dash --close` first")]
    Elsewhere(SocketAddr),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        Kind::Conflict
    }
}

/// The dashboard of one engine. Closed when it is dropped.
#[derive(Debug)]
pub struct Dash {
    /// The engine's socket.
    socket: PathBuf,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    gate: Arc<Gate>,
    /// Ends with it.
    _serving: JoinSet<()>,
}

impl Dash {
    /// A dashboard, closed for now, of the engine that serves the Docker API on `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, open: Mutex::default() }
    }

    /// Opens it on loopback, at `port` or any that is free, unless it is open. Gives its URL, token included.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`]; [`Error::Elsewhere`] when it is open at another port than the one asked for.
    pub async fn open(&self, port: Option<u16>) -> Result<String, Error> {
        let mut open = self.open.lock().await;
        if let Some(open) = &*open {
            let elsewhere = port.is_some_and(|port| port != open.gate.address.port());
            return if elsewhere {
                Err(Error::Elsewhere(open.gate.address))
            } else {
                Ok(open.gate.url())
            };
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or_default()));
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let gate = Arc::new(Gate::new(listener.local_addr().map_err(failed)?));
        let mut serving = JoinSet::new();
        serving.spawn(serve::serve(listener, Arc::clone(&gate), self.socket.as_path().into()));
        let url = gate.url();
        *open = Some(Open { gate, _serving: serving });
        Ok(url)
    }

    /// Closes it, connections too; tells whether it was open. Its token is worth nothing any more.
    pub async fn close(&self) -> bool {
        self.open.lock().await.take().is_some()
    }
}
