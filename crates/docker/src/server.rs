//! Connections.
//!
//! One task a connection, one task a request. A request's handler is never cancelled; the body of its
//! answer is, when the client goes away. A client that only ends its sending side is still there: with
//! `half_close` hyper goes on answering it, so a full hang-up is watched for here.

mod line;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use buildkit::Buildkit;
use dash::Dash;
use engine::Engine;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::answers::Answers;
use crate::error::Error;
use crate::reply::Reply;
use crate::route;
use crate::version::Version;

/// How long requests may take to end once the server is to stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long a connection may be without a request, as long as with dockerd: clients keep idle ones,
/// and one that is closed under the next request looks to them like a failure.
const IDLE: Duration = Duration::from_secs(300);
/// How often it is looked whether a client has hung up.
const BEAT: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, as for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// What requests are answered with.
#[derive(Clone)]
struct Site {
    engine: Engine,
    answers: Answers,
    dash: Arc<Dash>,
    buildkit: Arc<Buildkit>,
}

/// Serves the Docker API on `listener` until `shutdown` resolves; then lets requests end, but not for
/// longer than two seconds. Counts what it answers, and opens `dash` when it is asked to.
pub async fn serve(
    engine: Engine,
    listener: UnixListener,
    answers: Answers,
    dash: Arc<Dash>,
    shutdown: impl Future<Output = ()>,
) {
    let buildkit = Arc::new(Buildkit::new(engine.clone()));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let site = Site {
                        engine: engine.clone(),
                        answers: answers.clone(),
                        dash: Arc::clone(&dash),
                        buildkit: Arc::clone(&buildkit),
                    };
                    connections.spawn(connection(site, stream, stopping.clone()));
                }
                Err(error) => {
                    warn!(%error, "connection not accepted");
                    tokio::time::sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut shutdown => break,
        }
    }
    drop((listener, stop));
    dash.close().await;
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        debug!(connections = connections.len(), "requests were cut off");
    }
}

/// Serves one connection until its client hangs up, or `stopping` closes and no request is left.
async fn connection(site: Site, stream: UnixStream, mut stopping: watch::Receiver<()>) {
    let stream = tokio::select! {
        stream = tokio::time::timeout(IDLE, line::legal(stream)) => match stream {
            Ok(Ok(stream)) => stream,
            // It has gone, or never said anything.
            Ok(Err(_)) | Err(_) => return,
        },
        _ = stopping.changed() => return,
    };
    let hung_up = HangUp::of(&stream);
    let service = service_fn(move |request| answer(site.clone(), request));
    let mut http = http1::Builder::new();
    // Names of headers do not have a case, but scripts look for them as Go spells them.
    http.title_case_headers(true);
    http.half_close(true).timer(TokioTimer::new()).header_read_timeout(IDLE);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let mut stopped = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "connection ended");
                }
                return;
            }
            () = hung_up.wait() => return,
            _ = stopping.changed(), if !stopped => {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Watches for the moment when a peer has closed its socket, not only one direction of it.
///
/// A look once a second: tokio has no safe way to wait for this event without also waking for every
/// byte that the peer reads.
pub(crate) struct HangUp(Option<OwnedFd>);

impl HangUp {
    /// Watches `stream`'s peer. Without a descriptor to spare, a client that went away is noticed by
    /// the next write to it.
    pub(crate) fn of(stream: &UnixStream) -> Self {
        Self(stream.as_fd().try_clone_to_owned().ok())
    }

    /// Resolves within a second of the peer's closing its socket.
    pub(crate) async fn wait(&self) {
        let Some(fd) = &self.0 else {
            return std::future::pending().await;
        };
        let mut beat = tokio::time::interval(BEAT);
        while !closed(fd) {
            beat.tick().await;
        }
    }
}

/// Whether both directions of the socket are closed, which poll(2) always reports.
fn closed(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// Answers one request in a task of its own, which a lost connection does not end.
async fn answer(site: Site, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let Site { engine, answers, dash, buildkit } = site;
    let answered = tokio::spawn(route::answer(engine, dash, buildkit, request)).await;
    let mut reply = match answered {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => error.reply(),
        Err(_) => Error::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler panicked").reply(),
    };
    introduce(reply.headers_mut());
    answers.count(reply.status());
    Ok(reply)
}

/// The headers of every answer, by which clients know whom they talk to.
fn introduce(headers: &mut HeaderMap) {
    let version = HeaderValue::from_str(&Version::NEWEST.to_string());
    headers.insert("Api-Version", version.expect("digits and a dot"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Hull/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn half_a_close_is_no_hang_up() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        let hung_up = HangUp::of(&server);
        client.write_all(b"x").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, hung_up.wait()).await.is_err(), "half");
        drop(client);
        assert!(tokio::time::timeout(Duration::from_secs(5), hung_up.wait()).await.is_ok());
    }
}
