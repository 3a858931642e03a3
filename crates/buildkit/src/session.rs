//! Clients that can be asked while they build: each a gRPC server on a connection of its own.
//!
//! Spec: github.com/moby/buildkit `session/manager.go`; the services are in [`crate::messages::session`].

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::io::ReaderStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use crate::messages::session::BytesMessage;

/// How long a build waits for its client's session.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that a client may send before they are taken in: of one call, and of all.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// Bytes between a call's messages and a session.
const PIPE: usize = 64 << 10;
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
        said: impl Stream<Item = Q> + Send + 'static,
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
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Names>);

#[derive(Default)]
struct Names {
    /// Nothing for one that has not come yet.
    all: Mutex<HashMap<String, Option<Session>>>,
    changed: Notify,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Session>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Keeps a name for a client; `None` if another has it.
    pub(crate) fn reserve(&self, name: &str) -> Option<Place> {
        let mut all = self.0.lock();
        if all.contains_key(name) {
            return None;
        }
        all.insert(name.to_owned(), None);
        Some(Place { names: Arc::clone(&self.0), name: name.to_owned() })
    }

    /// The client of this name, which may be about to come.
    pub(crate) async fn find(&self, name: &str) -> Result<Session, Status> {
        let coming = async {
            loop {
                let changed = self.0.changed.notified();
                if let Some(Some(session)) = self.0.lock().get(name) {
                    return session.clone();
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, coming).await;
        found.map_err(|_| Status::not_found(format!("no client has opened session {name:?}")))
    }
}

/// A client's name, and then the client. It is forgotten when this is dropped.
pub struct Place {
    names: Arc<Names>,
    name: String,
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
    pub(crate) fn over_messages(
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

    fn fill(&self, session: Session) {
        self.names.lock().insert(self.name.clone(), Some(session));
        self.names.changed.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.names.lock().remove(&self.name);
    }
}
