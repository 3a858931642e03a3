//! Connections.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::forward::{Reply, forward};
use crate::gate::{Gate, Refused};
use crate::page;

/// How long a connection may be without a request.
const IDLE: Duration = Duration::from_secs(60);
/// Pause after a connection could not be accepted, as for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);
/// What the engine's pages begin with.
const API: &str = "/v1.";

/// Answers browsers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, gate: Arc<Gate>, socket: Arc<Path>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&gate), Arc::clone(&socket)));
                }
                Err(error) => {
                    warn!(%error, "connection not accepted");
                    tokio::time::sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, gate: Arc<Gate>, socket: Arc<Path>) {
    let service = service_fn(move |request| {
        let (gate, socket) = (Arc::clone(&gate), Arc::clone(&socket));
        async move { Ok::<_, Infallible>(answer(&gate, &socket, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let served = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if let Err(error) = served {
        debug!(%error, "connection of the dashboard ended");
    }
}

async fn answer(gate: &Gate, socket: &Path, mut request: Request<Incoming>) -> Reply {
    if let Err(Refused(status, why)) = gate.visitor(&request) {
        return page::line(status, why);
    }
    let path = request.uri().path();
    if !path.starts_with(API) {
        return match page::file(path) {
            Some(file) if request.method() == Method::GET => file,
            _ => page::line(StatusCode::NOT_FOUND, "no such page"),
        };
    }
    if let Err(Refused(status, why)) = gate.owner(&mut request) {
        return page::line(status, why);
    }
    let upgrade = request.headers().get(UPGRADE);
    if upgrade.is_some_and(|to| to != HeaderValue::from_static("websocket")) {
        return page::line(StatusCode::BAD_REQUEST, "only websockets take a connection over here");
    }
    forward(socket, request).await.unwrap_or_else(|error| {
        warn!(%error, "the dashboard does not reach the engine");
        page::line(StatusCode::BAD_GATEWAY, "the engine does not answer")
    })
}
