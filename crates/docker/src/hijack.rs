//! Streams that take a connection over: attach and exec.
//!
//! ```text
//!   client                      server                      shim
//!     |-- POST, Upgrade: tcp --->|                            |
//!     |<- 101 UPGRADED ----------|  (the process may still    |
//!     |-- stdin, raw ----------->|   wait for its start)      |
//!     |                          |-- stdin, raw ------------->|
//!     |<- frames, or raw bytes --|<- the same ----------------|
//!     |-- half-close = end of stdin                           |
//!     |<- half-close = end of output, after the last byte     |
//! ```
//!
//! The shim's socket already speaks what Docker's clients expect, so bytes are copied and not looked
//! at, but for an exec whose client calls for the other form at its start. A client that asks for no upgrade gets the output as the body of a 200, and the request's body
//! is the input.

mod detach;
mod frames;
mod websocket;

use std::io::{self, Cursor};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use engine::{Attached, LogLine, Logs};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http_body_util::BodyDataStream;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{StatusCode, ext::ReasonPhrase};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::task::JoinSet;
use tracing::debug;

use crate::call::Call;
use crate::containers::logs::{self, Front};
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::server::HangUp;

pub(crate) use detach::Keys;

/// Bytes, with or without a terminal.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// Bytes in frames that say which stream they are of.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// How long input that nobody reads any more is thrown away before the connection is closed. A close
/// with unread bytes would look to the client like a broken connection.
const LINGER: Duration = Duration::from_secs(5);
/// How long a client may take to read the head of the answer.
const HEARING: Duration = Duration::from_millis(500);
/// How often it is looked whether it did.
const BEAT: Duration = Duration::from_millis(1);
/// Bytes read at a time of what is typed.
const KEYSTROKES: usize = 4 << 10;
/// Bytes read at a time where a body is made of a stream.
const CHUNK: usize = 32 << 10;

/// Gives the streams once the client has been told that it will get streams, or else the last words
/// that are sent instead.
pub(crate) type Opening = Pin<Box<dyn Future<Output = Result<Attached, LogLine>> + Send>>;

/// What a client is connected to.
pub(crate) struct Line {
    /// What was logged before, if the client asks for it.
    pub(crate) past: Option<Logs>,
    /// The streams; `None` when the client wants the past only.
    pub(crate) live: Option<Opening>,
    /// Whether the client expects a terminal's output: raw bytes, not frames.
    pub(crate) tty: bool,
    /// The keys by which a client leaves a terminal, and who is told of it.
    pub(crate) leave: Option<Leave>,
}

/// How a client leaves without ending the process.
pub(crate) struct Leave {
    pub(crate) keys: Keys,
    pub(crate) tell: Box<dyn Fn() + Send + Sync>,
}

/// Answers with the streams of a process.
pub(crate) fn take_over(call: &mut Call, line: Line) -> Reply {
    let multiplexed = !line.tty && call.version.since_minor(42);
    let content_type = if multiplexed { MULTIPLEXED } else { RAW };
    if !call.request.headers().contains_key(UPGRADE) {
        return in_bodies(call, line, content_type);
    }
    let upgrade = hyper::upgrade::on(&mut call.request);
    tokio::spawn(async move {
        if let Err(error) = relay(upgrade, line).await {
            debug!(%error, "stream ended");
        }
    });
    switched(content_type)
}

/// Gives the connection to `take`, as what comes in and what goes out, once the client has been told that it speaks
/// `protocol` from now on.
pub(crate) fn hand_over<F: Future<Output = ()> + Send>(
    call: &mut Call,
    protocol: &'static str,
    take: impl FnOnce(Box<dyn AsyncRead + Send + Unpin>, OwnedWriteHalf) -> F + Send + 'static,
) -> Result<Reply, Error> {
    if !call.header(UPGRADE.as_str()).is_some_and(|asked| asked.eq_ignore_ascii_case(protocol)) {
        let want = format!("this page wants Connection: Upgrade, Upgrade: {protocol}");
        return Err(Error::invalid(want));
    }
    let upgrade = hyper::upgrade::on(&mut call.request);
    tokio::spawn(async move {
        match upgrade.await.map_err(io::Error::other).and_then(socket) {
            Ok((client, early)) => {
                let (from, to) = client.into_split();
                take(Box::new(Cursor::new(early).chain(from)), to).await;
            }
            Err(error) => debug!(%error, "connection not taken over"),
        }
    });
    let mut reply = switched(RAW);
    reply.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    Ok(reply)
}

/// The answer to a client whose connection is taken over.
fn switched(content_type: &'static str) -> Reply {
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    reply.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    reply
}

/// Answers with the streams of a process over a websocket.
pub(crate) fn by_websocket(call: &mut Call, line: Line) -> Result<Reply, Error> {
    let accept = websocket::accept(call.header("Sec-WebSocket-Key"))?;
    let accept = HeaderValue::from_str(&accept).expect("base64 is ASCII");
    let upgrade = hyper::upgrade::on(&mut call.request);
    tokio::spawn(async move {
        let carried = async {
            let client = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
            let (near, far) = UnixStream::pair()?;
            let multiplexed = !line.tty;
            let mut work = JoinSet::new();
            work.spawn(connect(near, Bytes::new(), line));
            websocket::carry(tokio::io::split(client), far, multiplexed).await
        };
        if let Err(error) = carried.await {
            debug!(%error, "websocket ended");
        }
    });
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("Sec-WebSocket-Accept", accept);
    Ok(reply)
}

/// Connects both sides once the connection is handed over.
async fn relay(upgrade: OnUpgrade, line: Line) -> io::Result<()> {
    let (client, early) = socket(upgrade.await.map_err(io::Error::other)?)?;
    heard(&client).await;
    connect(client, early, line).await
}

/// Resolves when the client has read the answer's head, or takes too long. Python's clients read the
/// head through a buffer and the streams past it: what comes with the head is lost to them.
async fn heard(client: &UnixStream) {
    let reading = async {
        while sys::unread::unread(client.as_fd()).is_ok_and(|bytes| bytes > 0) {
            tokio::time::sleep(BEAT).await;
        }
    };
    let _ = tokio::time::timeout(HEARING, reading).await;
}

/// Connects `client` until the output has ended or the client has gone. `early` was read from it
/// before.
async fn connect(client: UnixStream, early: Bytes, line: Line) -> io::Result<()> {
    let hung_up = HangUp::of(&client);
    let (mut input, mut output) = client.into_split();
    let connected = async {
        if let Some(past) = line.past {
            replay(past, line.tty, &mut output).await?;
        }
        if let Some(live) = line.live {
            match live.await {
                Ok(attached) => {
                    let input = Input { early, from: &mut input, leave: line.leave };
                    speak(attached, input, &mut output, line.tty).await?;
                }
                Err(words) => {
                    output.write_all(&logs::encode(&words, line.tty, Front::default())).await?;
                }
            }
        }
        output.shutdown().await
    };
    tokio::select! {
        ended = connected => ended?,
        () = hung_up.wait() => return Ok(()),
    }
    let mut nowhere = tokio::io::sink();
    let rest = tokio::io::copy(&mut input, &mut nowhere);
    // Whether the client ends, breaks or is cut off: there is nobody left to tell.
    let _ = tokio::time::timeout(LINGER, rest).await;
    Ok(())
}

/// Connects both sides once the process is started.
async fn speak(
    attached: Attached,
    input: Input<impl AsyncRead + Unpin>,
    output: &mut (impl AsyncWrite + Unpin),
    tty: bool,
) -> io::Result<()> {
    let (once, ended) = (attached.stdin_once, attached.ended());
    let framed = (!attached.tty, !tty);
    if let Some(process) = attached.stream().await {
        if !join(input, output, process, once, framed).await? {
            return Ok(());
        }
        // A client that sees its stream end asks at once for an exec's exit status.
        ended.await;
    }
    Ok(())
}

/// The socket beneath an upgraded connection, and what was read from it too early.
fn socket(upgraded: Upgraded) -> io::Result<(UnixStream, Bytes)> {
    let parts = upgraded
        .downcast::<TokioIo<UnixStream>>()
        .map_err(|_| io::Error::other("the connection is no unix socket"))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// What a client sends.
struct Input<R> {
    early: Bytes,
    from: R,
    leave: Option<Leave>,
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// Passes it on to its end; tells whether the client left by its keys instead.
    async fn feed(self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        let mut from = Cursor::new(self.early).chain(self.from);
        let Some(Leave { mut keys, tell }) = self.leave else {
            return tokio::io::copy(&mut from, to).await.map(|_| false);
        };
        let mut chunk = vec![0; KEYSTROKES];
        loop {
            let length = from.read(&mut chunk).await?;
            match keys.pass(&chunk[..length]) {
                _ if length == 0 => return Ok(false),
                Some(through) => to.write_all(&through).await?,
                None => {
                    tell();
                    return Ok(true);
                }
            }
        }
    }
}

/// Copies both ways. Ends with the process's output, true, or when the client leaves, false: input may
/// go on for ever. `once` tells whether the end of the input is passed on, `framed` whether the process's
/// output is in frames and whether the client expects it so.
async fn join(
    input: Input<impl AsyncRead + Unpin>,
    output: &mut (impl AsyncWrite + Unpin),
    mut process: UnixStream,
    once: bool,
    framed: (bool, bool),
) -> io::Result<bool> {
    // Halves that leave the socket alone when they are dropped: a client that goes away is not the
    // end of the input.
    let (mut from_process, mut to_process) = process.split();
    let feed = async {
        let fed = input.feed(&mut to_process).await;
        if matches!(fed, Ok(true)) {
            return;
        }
        // A process that ended, or closed its input, does not want the rest; its output still counts.
        let closed = if once { to_process.shutdown().await } else { Ok(()) };
        if let Err(error) = fed.map(drop).and(closed) {
            debug!(%error, "input ended");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = frames::copy(&mut from_process, output, framed.0, framed.1) => match ended {
            // The process ended with input left unread: that too is the end of its output.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            ended => ended.map(|()| true),
        },
        () = feed => Ok(false),
    }
}

/// Writes what was logged before.
async fn replay(mut past: Logs, tty: bool, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    while let Some(line) = past.next().await {
        let line = line.map_err(io::Error::other)?;
        to.write_all(&logs::encode(&line, tty, Front::default())).await?;
    }
    Ok(())
}

/// The streams in the bodies of request and answer, for clients that ask for no upgrade. The bodies
/// are pumped through a socket of our own, which then is the client.
fn in_bodies(call: &mut Call, line: Line, content_type: &'static str) -> Reply {
    let (near, far) = match UnixStream::pair() {
        Ok(pair) => pair,
        Err(error) => return reply::stream(content_type, stream::iter([Err(error)])),
    };
    let (output, mut input) = far.into_split();
    let mut body = stream::iter(call.body.take()).flat_map(BodyDataStream::new);
    let mut work = JoinSet::new();
    work.spawn(connect(near, Bytes::new(), line));
    work.spawn(async move {
        while let Some(chunk) = body.try_next().await.map_err(io::Error::other)? {
            input.write_all(&chunk).await?;
        }
        input.shutdown().await
    });
    reply::stream(content_type, chunks(output, work))
}

/// What can be read from `from`; `work` ends when the stream is dropped.
fn chunks(
    from: impl AsyncRead + Unpin,
    work: JoinSet<io::Result<()>>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((from, work), |(mut from, work)| async move {
        let mut chunk = vec![0; CHUNK];
        let length = from.read(&mut chunk).await?;
        chunk.truncate(length);
        Ok((length > 0).then(|| (Bytes::from(chunk), (from, work))))
    })
}

#[cfg(test)]
mod tests;
