//! Clients that can be asked while they build: each a gRPC server on a connection of its own.
//!
//! Spec: github.com/moby/buildkit `session/manager.go`; the services are in [`crate::messages::session`].

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// How long a build waits for its client's session.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that a client may send before they are taken in: of one call, and of all.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// Bytes of one message at most. Files come in pieces that are far smaller.
const LARGEST: usize = 16 << 20;

/// A client that can be asked.
#[derive(Clone)]
pub(crate) struct Session(Grpc<Channel>);

impl Session {
    /// Over a connection to a client; the future is done when that has gone.
    pub(crate) async fn open(
        connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> hyper::Result<(Self, impl Future<Output = hyper::Result<()>>)> {
        let mut client = http2::Builder::new(TokioExecutor::new());
        client.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
        let (sender, ended) = client.handshake(TokioIo::new(connection)).await?;
        let grpc = Grpc::with_origin(Channel(sender), Uri::from_static("http://localhost"));
        Ok((Self(grpc.max_decoding_message_size(LARGEST)), ended))
    }

    /// A question with one answer.
    pub(crate) async fn ask<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + Send + 'static,
    {
        let mut grpc = self.0.clone();
        ready(&mut grpc).await?;
        let (path, codec) = (PathAndQuery::from_static(method), ProstCodec::<Q, A>::default());
        Ok(grpc.unary(tonic::Request::new(question), path, codec).await?.into_inner())
    }

    /// A conversation: what is said, and what comes. Where the client speaks second, this is done only when it has
    /// heard something.
    pub(crate) async fn talk<Q, A>(
        &self,
        method: &'static str,
        metadata: MetadataMap,
        said: impl futures_util::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + Send + 'static,
    {
        let mut grpc = self.0.clone();
        ready(&mut grpc).await?;
        let (path, codec) = (PathAndQuery::from_static(method), ProstCodec::<Q, A>::default());
        let mut request = tonic::Request::new(said);
        *request.metadata_mut() = metadata;
        Ok(grpc.streaming(request, path, codec).await?.into_inner())
    }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    let gone = |error| Status::unavailable(format!("the client has gone: {error}"));
    grpc.ready().await.map_err(gone)
}

/// A connection as tonic calls it.
#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// The clients that can be asked, by the names that they have made up.
#[derive(Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    changed: Notify,
}

impl Sessions {
    pub(crate) fn is_free(&self, name: &str) -> bool {
        !self.lock().contains_key(name)
    }

    /// Keeps a client until it has gone.
    pub(crate) async fn keep(
        &self,
        name: &str,
        session: Session,
        ended: impl Future<Output = hyper::Result<()>>,
    ) {
        if self.lock().insert(name.to_owned(), session).is_some() {
            // Two of a name at once: neither is to be trusted with the other's build.
            self.lock().remove(name);
            return;
        }
        self.changed.notify_waiters();
        let kept = Kept { sessions: self, name };
        if let Err(error) = ended.await {
            tracing::debug!(%error, session = name, "session ended");
        }
        drop(kept);
    }

    /// The client of this name, which may be about to come.
    pub(crate) async fn find(&self, name: &str) -> Result<Session, Status> {
        let coming = async {
            loop {
                let changed = self.changed.notified();
                if let Some(session) = self.lock().get(name) {
                    return session.clone();
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, coming).await;
        found.map_err(|_| Status::not_found(format!("no client has opened session {name:?}")))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a client when this is dropped.
struct Kept<'a> {
    sessions: &'a Sessions,
    name: &'a str,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.sessions.lock().remove(self.name);
    }
}
