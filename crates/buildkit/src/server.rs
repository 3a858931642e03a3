//! One client's calls: HTTP/2 over a connection that was HTTP/1 before.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use crate::Buildkit;
use crate::control::{info, workers};
use crate::messages::control::{InfoRequest, ListWorkersRequest};
use crate::messages::session::BytesMessage;

/// Answers a client until it goes. What it asks for ends with it.
pub(crate) async fn serve(
    front: Arc<Buildkit>,
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) {
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(Box::pin(answer(front, request)).await) }
    });
    let server = http2::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await {
        tracing::debug!(%error, "client of BuildKit's API ended");
    }
}

/// The table of all methods.
async fn answer(front: Arc<Buildkit>, request: Request<Incoming>) -> Response<Body> {
    let build = request.headers().get("buildkit-controlapi-buildid");
    let build = build.and_then(|build| build.to_str().ok()).unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    match path.strip_prefix("/moby.buildkit.v1.").unwrap_or_default() {
        "Control/Solve" => unary(request, |asked| Box::pin(front.solve(asked))).await,
        "Control/Status" => streaming(request, |asked| front.status(asked)).await,
        "Control/Session" => session(front, request).await,
        "Control/ListWorkers" => unary(request, |_: ListWorkersRequest| ready(Ok(workers()))).await,
        "Control/Info" => unary(request, |_: InfoRequest| ready(Ok(info()))).await,
        "Control/DiskUsage" => unary(request, |asked| ready(front.usage(&asked))).await,
        "Control/Prune" => streaming(request, |asked| front.prune(asked)).await,
        "frontend.LLBBridge/Ping" => unary(request, |asked| front.ping(&build, asked)).await,
        "frontend.LLBBridge/Solve" => {
            unary(request, |asked| Box::pin(front.carry_out(&build, asked))).await
        }
        "frontend.LLBBridge/StatFile" => {
            unary(request, |asked| front.stat_file(&build, asked)).await
        }
        "frontend.LLBBridge/ReadFile" => {
            unary(request, |asked| front.read_file(&build, asked)).await
        }
        "frontend.LLBBridge/Evaluate" => {
            unary(request, |asked| front.evaluate(&build, asked)).await
        }
        "frontend.LLBBridge/Return" => unary(request, |asked| front.give_back(&build, asked)).await,
        _ => Status::unimplemented(format!("{path}: Hull's builder has no such call")).into_http(),
    }
}

/// Keeps a client that can be asked over the messages of a call, as those have it that share one between builds.
async fn session(front: Arc<Buildkit>, request: Request<Incoming>) -> Response<Body> {
    let name = request.headers().get("x-docker-expose-session-uuid");
    let name = name.and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
    let Some(place) = front.session(&name).filter(|_| !name.is_empty()) else {
        let text = format!("session {name:?} has no name, or there is one already");
        return Status::already_exists(text).into_http();
    };
    let place = Mutex::new(Some(place));
    let service = tower::service_fn(move |asked: tonic::Request<Streaming<BytesMessage>>| {
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said = place.map(|place| place.over_messages(asked.into_inner()));
        ready(said.map(tonic::Response::new).ok_or_else(|| Status::internal("asked twice")))
    });
    Grpc::new(ProstCodec::<BytesMessage, BytesMessage>::default()).streaming(service, request).await
}

/// Answers a call with one message.
async fn unary<Q, A, F>(
    request: Request<Incoming>,
    call: impl Fn(Q) -> F + Clone + Send + Sync,
) -> Response<Body>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send,
{
    let service = tower::service_fn(move |asked: tonic::Request<Q>| {
        let answer = call(asked.into_inner());
        async move { answer.await.map(tonic::Response::new) }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

/// Answers a call with messages, as they come.
async fn streaming<Q, A, S, F>(
    request: Request<Incoming>,
    call: impl Fn(Q) -> F + Clone + Send + Sync,
) -> Response<Body>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    F: Future<Output = Result<S, Status>> + Send,
{
    let service = tower::service_fn(move |asked: tonic::Request<Q>| {
        let answer = call(asked.into_inner());
        async move { answer.await.map(tonic::Response::new) }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).server_streaming(service, request).await
}
