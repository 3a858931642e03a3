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
use tokio::io::{AsyncRead, AsyncWrite};

use job::Jobs;
pub use session::Place;
use session::Sessions;

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
