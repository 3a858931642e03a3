//! Requests to the engine, a connection each.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::UPGRADE;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tracing::debug;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(crate) type Reply = Response<Body>;

pub(crate) fn never<T>(never: Infallible) -> T {
    match never {}
}

/// The engine's answer. One that becomes a websocket is carried on until either side ends it.
pub(crate) async fn forward(socket: &Path, mut request: Request<Incoming>) -> io::Result<Reply> {
    let engine = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(engine)).await.map_err(io::Error::other)?;
    // Ends when the answer's body has, or is dropped.
    tokio::spawn(connection.with_upgrades());
    let upgrades = request.headers().contains_key(UPGRADE);
    let browser = upgrades.then(|| hyper::upgrade::on(&mut request));
    let mut reply = sender.send_request(request).await.map_err(io::Error::other)?;
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(browser)) = (reply.status(), browser) {
        let engine = hyper::upgrade::on(&mut reply);
        tokio::spawn(async move {
            let joined = async {
                let mut browser = TokioIo::new(browser.await.map_err(io::Error::other)?);
                let mut engine = TokioIo::new(engine.await.map_err(io::Error::other)?);
                tokio::io::copy_bidirectional(&mut browser, &mut engine).await
            };
            if let Err(error) = joined.await {
                debug!(%error, "websocket of the dashboard ended");
            }
        });
    }
    Ok(reply.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}
