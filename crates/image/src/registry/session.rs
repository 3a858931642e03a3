//! Questions to one registry about one repository.
//!
//! ```text
//!   request  ->  401 with a challenge?  ->  credentials or a token  ->  request, once more  ->  answer
//! ```
//!
//! Nothing that a registry sends is taken into memory without a limit but the pieces of a blob, which go
//! on at once.
//!
//! Spec: OCI distribution-spec, "Pulling manifests", "Pulling blobs", "Content Discovery".

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spec::Digest;

use super::door::Door;
use super::{Cause, Error};
use crate::manifest::{ACCEPTED, Descriptor, MAX_MANIFEST};

/// How often a busy registry is asked for a manifest.
const ATTEMPTS: u32 = 4;
/// Names on one page of a list.
const PAGE: usize = 1000;
/// The most names that are taken from a list.
const MAX_NAMES: usize = 100_000;
/// The most bytes of an answer that says why not.
const MAX_REASON: u64 = 64 << 10;

/// A connection to one registry about one repository.
pub(crate) struct Session {
    pub(super) client: Client,
    pub(super) host: String,
    /// `https://HOST/v2/`.
    pub(super) base: Url,
    pub(super) repository: String,
    /// What a manifest is asked for by, if not by a digest of its own.
    pub(super) target: String,
    pub(super) door: Door,
}

/// Bytes of a blob.
pub(crate) struct Blob {
    /// Whether they begin at the offset that was asked for, or at 0.
    pub(crate) resumed: bool,
    pub(crate) stream: BoxStream<'static, io::Result<Bytes>>,
}

impl Session {
    /// Host and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// What the name leads to, a manifest or index; with `digest`, that one in the same repository. A
    /// registry that is busy is asked again; one that does not answer at all is not.
    pub(crate) async fn manifest(&self, digest: Option<&Digest>) -> Result<Bytes, Error> {
        let target = digest.map_or_else(|| self.target.clone(), Digest::to_string);
        let url = self.url(&format!("manifests/{target}"))?;
        let mut pause = Duration::from_millis(500);
        for _ in 1..ATTEMPTS {
            match self.fetch(&url).await {
                Err(e @ Error::Answer { .. }) if e.is_passing() => {
                    tracing::debug!(host = self.host, error = %e, "registry is busy");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        self.fetch(&url).await
    }

    async fn fetch(&self, url: &Url) -> Result<Bytes, Error> {
        let accepted = ACCEPTED.join(", ");
        let answer = self.send(|| self.request(Method::GET, url).header(ACCEPT, &accepted)).await?;
        let answer = self.good(answer).await?;
        self.whole(answer, MAX_MANIFEST, "a manifest larger than 4 MiB").await
    }

    /// A blob's bytes, if possible from `offset` on; none when it ends before. They are not verified.
    pub(crate) async fn blob(&self, blob: &Descriptor, offset: u64) -> Result<Blob, Error> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let request = || match offset {
            0 => self.request(Method::GET, &url),
            _ => self.request(Method::GET, &url).header(RANGE, format!("bytes={offset}-")),
        };
        let answer = self.send(request).await?;
        if offset > 0 && answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(Blob { resumed: true, stream: futures_util::stream::empty().boxed() });
        }
        let answer = self.good(answer).await?;
        let resumed = answer.status() == StatusCode::PARTIAL_CONTENT;
        if resumed && begins_at(&answer) != Some(offset) {
            return Err(self.nonsense("other bytes than the range that was asked for"));
        }
        let stream =
            answer.bytes_stream().map(|piece| piece.map_err(|e| io::Error::other(deepest(&e))));
        Ok(Blob { resumed: resumed || offset == 0, stream: stream.boxed() })
    }

    /// The tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let url = self.url("tags/list")?;
        self.names(url, |page: Tags| page.tags.unwrap_or_default()).await
    }

    /// The repositories of the registry.
    pub(crate) async fn catalog(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Catalog {
            repositories: Option<Vec<String>>,
        }
        let url = self.join("_catalog")?;
        self.names(url, |page: Catalog| page.repositories.unwrap_or_default()).await
    }

    /// All pages of a list.
    async fn names<T: DeserializeOwned>(
        &self,
        url: Url,
        of: impl Fn(T) -> Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("n", &PAGE.to_string());
            if let Some(last) = names.last() {
                url.query_pairs_mut().append_pair("last", last);
            }
            let answer = self.send(|| self.request(Method::GET, &url)).await?;
            let answer = self.good(answer).await?;
            let bytes = self.whole(answer, MAX_MANIFEST, "a list larger than 4 MiB").await?;
            let page = serde_json::from_slice(&bytes).map_err(|_| self.nonsense("no list"))?;
            let page = of(page);
            let full = page.len() == PAGE;
            names.extend(page);
            if names.len() > MAX_NAMES {
                return Err(self.nonsense("more than 100000 names"));
            }
            if !full {
                return Ok(names);
            }
        }
    }

    /// A page about the repository.
    pub(super) fn url(&self, page: &str) -> Result<Url, Error> {
        self.join(&format!("{}/{page}", self.repository))
    }

    fn join(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|_| self.nonsense("an address that is none"))
    }

    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.client.request(method, url.clone())
    }

    /// Asks, with credentials once the registry wants them.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        let known = self.door.key().await;
        let answer = self.once(request(), known.as_ref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match self.door.open(self, &answer, known.as_ref()).await? {
            Some(key) => self.once(request(), Some(&key)).await,
            None => Ok(answer),
        }
    }

    pub(super) async fn once(
        &self,
        request: RequestBuilder,
        key: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let request = match key {
            Some(key) => request.header(AUTHORIZATION, key.clone()),
            None => request,
        };
        let sent = request.send().await;
        sent.map_err(|e| Error::Unreachable { host: self.host.clone(), source: deepest(&e) })
    }

    /// The answer, if it is what was asked for; else what the registry says instead.
    pub(super) async fn good(&self, answer: Response) -> Result<Response, Error> {
        let (host, status) = (self.host.clone(), answer.status());
        match status.as_u16() {
            200..=299 => Ok(answer),
            401 | 403 => Err(Error::Denied { host }),
            404 => Err(Error::NotFound { host }),
            status => {
                let reason = answer.status().canonical_reason().unwrap_or("an error");
                let body = self.whole(answer, MAX_REASON, "").await.unwrap_or_default();
                let message = said(&body).unwrap_or_else(|| reason.to_owned());
                Err(Error::Answer { host, status, message })
            }
        }
    }

    /// The whole of an answer, which has at most `most` bytes unless it is `otherwise`.
    pub(super) async fn whole(
        &self,
        answer: Response,
        most: u64,
        otherwise: &'static str,
    ) -> Result<Bytes, Error> {
        let mut bytes = BytesMut::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece
                .map_err(|e| Error::Unreachable { host: self.host.clone(), source: deepest(&e) })?;
            if (bytes.len() + piece.len()) as u64 > most {
                return Err(self.nonsense(otherwise));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// A stream that broke off.
    pub(crate) fn broken(&self, error: &io::Error) -> Error {
        Error::Unreachable { host: self.host.clone(), source: deepest(error) }
    }

    pub(super) fn nonsense(&self, problem: &'static str) -> Error {
        Error::Protocol { host: self.host.clone(), problem }
    }
}

/// The offset in `Content-Range: bytes 5-9/10`.
fn begins_at(answer: &Response) -> Option<u64> {
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// What an answer's errors say, as one line.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<Problem>,
    }
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    let problem = said.errors.into_iter().next()?;
    let text = if problem.message.is_empty() { problem.code } else { problem.message };
    let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    (!line.is_empty()).then_some(line)
}

pub(super) fn deepest(error: &(dyn StdError + 'static)) -> Cause {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    Cause(deepest.to_string())
}
