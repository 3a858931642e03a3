//! BuildKit's API over the engine: what `docker buildx build`, and so `docker build` where that is installed, sends.
//!
//! ```text
//!   client                                                   engine
//!     │── POST /grpc, Upgrade: h2c ─────────────────────────────▶│  server: the client calls us
//!     │     Control/Solve(ref, session, exporters) ─────────────▶│  control, job
//!     │     Control/Status(ref) ◀── steps, logs, warnings ───────│  progress
//!     │     LLBBridge/Solve(dockerfile.v0, options) ────────────▶│  gateway, wanted ─▶ engine::build
//!     │── POST /session, Upgrade: h2c ──────────────────────────▶│  session: we call the client
//!     │     FileSync/DiffCopy ◀── which files? ──────────────────│  files
//!     │     Auth, Secrets, SSH, Upload ◀─────────────────────────│  ask
//!     │     PolicyVerifier ◀── may it be made of this? ──────────│  policy
//!     │     FileSend/DiffCopy ◀── what --output wants ───────────│  out
//! ```
//!
//! Dockerfiles are built, by the engine's own builder; a definition of LLB, another frontend and all that needs
//! either are refused by name.
//!
//! Spec: github.com/moby/buildkit, `api/services/control/control.proto` and those that it names.

mod ask;
mod control;
mod error;
mod files;
mod gateway;
mod job;
mod lint;
mod messages;
mod out;
mod outputs;
mod policy;
mod progress;
mod sent;
mod server;
mod session;
mod wanted;

use std::sync::Arc;

use engine::Engine;
use futures_util::{Stream, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tonic::{Status, Streaming};

use job::Jobs;
use messages::session::BytesMessage;
pub use session::Place;
use session::{Session, Sessions};

/// Bytes between a call's messages and a session.
const PIPE: usize = 64 << 10;

/// The API, and what lives longer than one request of it: builds and the sessions of their clients.
pub struct Buildkit {
    engine: Engine,
    jobs: Jobs,
    sessions: Sessions,
}

impl Buildkit {
    /// The API over `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine, jobs: Jobs::default(), sessions: Sessions::default() }
    }

    /// Answers a client over a connection that `POST /grpc` has handed over, until it goes.
    pub async fn serve(
        self: Arc<Self>,
        connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        server::serve(self, connection).await;
    }

    /// A name for a client's session; `None` if there is one of it, which must not be taken over.
    pub fn session(&self, name: &str) -> Option<Place> {
        self.sessions.reserve(name)
    }
}

impl Place {
    /// Keeps the client that can be asked over a connection that `POST /session` has handed over, until it goes.
    pub async fn attend(self, connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let ended = match Session::open(connection).await {
            Ok((session, ended)) => {
                self.fill(session);
                ended.await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "session ended");
        }
    }

    /// The same over messages: what is heard, and what this gives is said.
    fn over_messages(
        self,
        mut heard: Streaming<BytesMessage>,
    ) -> impl Stream<Item = Result<BytesMessage, Status>> + Send {
        let (near, far) = tokio::io::duplex(PIPE);
        let (from, mut to) = tokio::io::split(far);
        tokio::spawn(self.attend(near));
        tokio::spawn(async move {
            while let Ok(Some(message)) = heard.message().await {
                if to.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            // It may have ended before; there is nobody left to tell.
            let _ = to.shutdown().await;
        });
        let said = ReaderStream::with_capacity(from, PIPE);
        said.map_ok(|data| BytesMessage { data: data.into() }).map_err(Status::from)
    }
}
