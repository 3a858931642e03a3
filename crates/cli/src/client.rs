//! Requests over the engine's socket, a connection each.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use spec::fault::{self, Fault};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead};
use tokio::net::UnixStream;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::daemon;
use crate::error::Error;

/// Where the engine listens unless told otherwise.
pub(crate) const SOCKET: &str = "/run/hull/hull.sock";
/// The version of the API that is spoken.
const API: &str = "/v1.51";
/// What is not escaped in a path. A slash is part of an image's name.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b':');

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The socket that `host`, or the environment, names.
pub(crate) fn socket(host: Option<&str>) -> Result<PathBuf, Error> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(host) = host
        .map(str::to_owned)
        .or_else(|| variable("HULL_HOST"))
        .or_else(|| variable("DOCKER_HOST"))
    else {
        return Ok(SOCKET.into());
    };
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(Error::Host(host)),
    }
}

/// A request's path and parameters.
#[derive(Debug, Clone)]
pub(crate) struct Page(String);

impl Page {
    /// The page of these path components, of which names may hold any character.
    pub(crate) fn new(path: &[&str]) -> Self {
        let escaped = path.iter().map(|part| utf8_percent_encode(part, PATH).to_string());
        Self(format!("{API}/{}", escaped.collect::<Vec<_>>().join("/")))
    }

    /// The same with parameters.
    pub(crate) fn query(self, parameters: &[(&str, &str)]) -> Self {
        if parameters.is_empty() {
            return self;
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        Self(format!("{}?{}", self.0, query.extend_pairs(parameters).finish()))
    }
}

/// The engine, as seen from here.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    /// Start an engine where none listens.
    starts: bool,
}

impl Client {
    /// The engine that listens at `socket`. Where nobody does, one is started if the socket is the usual
    /// one: an engine elsewhere has roots of its own, which only whoever started it knows.
    pub(crate) fn new(socket: PathBuf) -> Self {
        let starts = socket == Path::new(SOCKET);
        Self { socket, starts }
    }

    /// The engine that listens at `socket`; none is started.
    pub(crate) fn of_running(socket: PathBuf) -> Self {
        Self { socket, starts: false }
    }

    /// Where the engine listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// True when an engine answers.
    pub(crate) async fn answers(&self) -> bool {
        self.get(&Page::new(&["_ping"])).await.is_ok()
    }

    /// A page's JSON.
    pub(crate) async fn get(&self, page: &Page) -> Result<Value, Error> {
        self.json(Method::GET, page, &Value::Null).await
    }

    /// A page's JSON, `None` where what it is about does not exist.
    pub(crate) async fn find(&self, page: &Page) -> Result<Option<Value>, Error> {
        match self.get(page).await {
            Ok(value) => Ok(Some(value)),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends JSON, or nothing for `null`; gives the JSON that comes back.
    pub(crate) async fn post(&self, page: &Page, body: &Value) -> Result<Value, Error> {
        self.json(Method::POST, page, body).await
    }

    /// Deletes; gives the JSON that comes back.
    pub(crate) async fn delete(&self, page: &Page) -> Result<Value, Error> {
        self.json(Method::DELETE, page, &Value::Null).await
    }

    /// The answer's bytes, as they come.
    pub(crate) async fn stream(
        &self,
        method: Method,
        page: &Page,
    ) -> Result<impl AsyncBufRead + Unpin + Send + use<>, Error> {
        self.stream_as(method, page, None).await
    }

    /// The same for who has this `X-Registry-Auth`.
    pub(crate) async fn stream_as(
        &self,
        method: Method,
        page: &Page,
        auth: Option<&str>,
    ) -> Result<impl AsyncBufRead + Unpin + Send + use<>, Error> {
        let mut request = Request::builder().method(method).uri(&page.0).header(HOST, "hull");
        if let Some(auth) = auth {
            request = request.header("X-Registry-Auth", auth);
        }
        Ok(reader(self.exchange(request.body(empty()).expect("a page is a legal path")).await?))
    }

    /// A header of the answer to `HEAD`.
    pub(crate) async fn head(&self, page: &Page, header: &str) -> Result<Option<String>, Error> {
        let request = Request::head(&page.0).header(HOST, "hull").body(empty());
        let response = self.exchange(request.expect("a page is a legal path")).await?;
        let value = response.headers().get(header).and_then(|value| value.to_str().ok());
        Ok(value.map(str::to_owned))
    }

    /// Sends an archive; gives the answer's bytes, as they come.
    pub(crate) async fn upload<A: AsyncRead + Send + 'static>(
        &self,
        method: Method,
        page: &Page,
        archive: A,
    ) -> Result<impl AsyncBufRead + Unpin + Send + use<A>, Error> {
        let body = StreamBody::new(ReaderStream::new(archive).map_ok(Frame::data)).boxed_unsync();
        let request = Request::builder().method(method).uri(&page.0).header(HOST, "hull");
        let request = request.header(CONTENT_TYPE, "application/x-tar").body(body);
        Ok(reader(self.exchange(request.expect("a page is a legal path")).await?))
    }

    /// Sends a build's context, an archive, with further headers; gives the answer's bytes, as they come.
    pub(crate) async fn send_context<A>(
        &self,
        page: &Page,
        headers: &[(&str, &str)],
        archive: A,
    ) -> Result<impl AsyncBufRead + Unpin + Send + use<A>, Error>
    where
        A: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let body = BodyExt::boxed_unsync(StreamBody::new(archive.map_ok(Frame::data)));
        let mut request = Request::post(&page.0).header(HOST, "hull");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header(CONTENT_TYPE, "application/x-tar").body(body);
        Ok(reader(self.exchange(request.expect("a page is a legal path")).await?))
    }

    /// Takes the connection over: what comes back are a process's streams.
    pub(crate) async fn hijack(&self, page: &Page, body: &Value) -> Result<Hijacked, Error> {
        let response = self.send(Method::POST, page, body, true).await?;
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| Error::Http { request: page.0.clone(), source })?;
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .expect("the connection was made of a unix stream");
        Ok(Hijacked { stream: parts.io.into_inner(), early: parts.read_buf })
    }

    async fn json(&self, method: Method, page: &Page, body: &Value) -> Result<Value, Error> {
        let response = self.send(method, page, body, false).await?;
        let bytes = read(response, &page.0).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn send(
        &self,
        method: Method,
        page: &Page,
        body: &Value,
        upgrade: bool,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method).uri(&page.0).header(HOST, "hull");
        if upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let body = if body.is_null() {
            empty()
        } else {
            request = request.header(CONTENT_TYPE, "application/json");
            let bytes = Full::new(Bytes::from(body.to_string()));
            bytes.map_err(|never: Infallible| match never {}).boxed_unsync()
        };
        self.exchange(request.body(body).expect("a page is a legal path")).await
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        let failed = |source| Error::Connect { socket: self.socket.clone(), source };
        let nobody = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
        };
        match UnixStream::connect(&self.socket).await {
            Err(error) if self.starts && nobody(&error) => {
                // Boxed, as it asks the engine in turn.
                Box::pin(daemon::start(&self.socket, &[])).await?;
                UnixStream::connect(&self.socket).await.map_err(failed)
            }
            connected => connected.map_err(failed),
        }
    }

    /// Sends a request on a connection of its own. An answer that says no becomes an error.
    async fn exchange(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let page = request.uri().path().to_owned();
        let broken = |source| Error::Http { request: page.clone(), source };
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Its failure is also the request's.
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = read(response, &page).await?;
            return Err(refusal(status, &body));
        }
        Ok(response)
    }
}

/// A connection that became a process's streams.
#[derive(Debug)]
pub(crate) struct Hijacked {
    /// Both directions.
    pub(crate) stream: UnixStream,
    /// Output that came with the answer's head.
    pub(crate) early: Bytes,
}

/// Reads JSON values, a line each, until the end. A line that reports an error is one.
pub(crate) async fn lines(
    reader: impl AsyncBufRead + Unpin,
    mut each: impl FnMut(Value),
) -> Result<(), Error> {
    let mut lines = reader.lines();
    while let Some(line) = lines.next_line().await.map_err(Error::file("read the answer"))? {
        let Ok(value) = serde_json::from_str::<Value>(line.trim()) else { continue };
        if let Some(message) = value["error"].as_str() {
            return Err(Error::Refused {
                status: 500,
                fault: fault(&value),
                message: message.into(),
            });
        }
        each(value);
    }
    Ok(())
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn reader(response: Response<Incoming>) -> impl AsyncBufRead + Unpin + Send {
    StreamReader::new(BodyDataStream::new(response.into_body()).map_err(io::Error::other))
}

async fn read(response: Response<Incoming>, page: &str) -> Result<Bytes, Error> {
    let body = response.into_body().collect().await;
    let body = body.map_err(|source| Error::Http { request: page.to_owned(), source })?;
    Ok(body.to_bytes())
}

/// The page that an answer names; an engine that is not Hull's names none.
fn fault(answer: &Value) -> &'static Fault {
    answer["fault"].as_str().and_then(fault::by_code).unwrap_or(&fault::INTERNAL)
}

/// An answer that says no, whoever wrote it.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let parsed = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let message = parsed["message"].as_str();
    Error::Refused {
        status: status.as_u16(),
        fault: fault(&parsed),
        message: message.map_or_else(|| format!("the engine answers {status}"), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        let page = Page::new(&["containers", "a?b#c d%", "json"]);
        assert_eq!(page.0, "/v1.51/containers/a%3Fb%23c%20d%25/json");
        let page = Page::new(&["images", "127.0.0.1:5000/me/app:1", "json"]);
        assert_eq!(page.0, "/v1.51/images/127.0.0.1:5000/me/app:1/json");
        assert_eq!(Page::new(&["info"]).query(&[("a", "b c")]).0, "/v1.51/info?a=b+c");
    }

    #[test]
    fn only_unix_sockets_are_hosts() {
        assert_eq!(socket(Some("unix:///x/y")).ok(), Some("/x/y".into()));
        for host in ["tcp://127.0.0.1:2375", "unix://relative", "/x/y", "ssh://me@there"] {
            assert!(socket(Some(host)).is_err(), "{host}");
        }
    }
}
