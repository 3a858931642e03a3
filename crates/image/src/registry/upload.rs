//! What is sent to a registry.
//!
//! Spec: OCI distribution-spec, "Push".

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, StatusCode, Url};
use spec::Digest;

use super::Error;
use super::session::Session;

impl Session {
    /// Asks whether the credentials are good. Gives an identity token, where the registry has such, to be
    /// kept in the password's place.
    pub(crate) async fn log_in(&self) -> Result<Option<String>, Error> {
        let answer = self.once(self.request(Method::GET, &self.base), None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return self.door.enter(self, &answer).await;
        }
        self.good(answer).await.map(|_| None)
    }

    /// Whether the repository has this blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let answer = self.send(|| self.request(Method::HEAD, &url)).await?;
        match self.good(answer).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a blob of `size` bytes.
    pub(crate) async fn put_blob(
        &self,
        bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        digest: &Digest,
        size: u64,
    ) -> Result<(), Error> {
        let begin = self.url("blobs/uploads/")?;
        let request = || self.request(Method::POST, &begin).header(CONTENT_LENGTH, 0);
        let answer = self.good(self.send(request).await?).await?;
        let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.and_then(|place| answer.url().join(place).ok());
        let mut place = place.ok_or_else(|| self.nonsense("no place for a blob"))?;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        // What opens the registry is for the registry alone.
        let key = self.door.key().await.filter(|_| same_place(&place, &self.base));
        let request = self
            .request(Method::PUT, &place)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, size)
            .body(Body::wrap_stream(bytes));
        let answer = self.once(request, key.as_ref()).await?;
        self.good(answer).await.map(drop)
    }

    /// Names a manifest whose blobs are all there.
    pub(crate) async fn put_manifest(&self, bytes: Vec<u8>, media_type: &str) -> Result<(), Error> {
        let (url, bytes) = (self.url(&format!("manifests/{}", self.target))?, Bytes::from(bytes));
        let request = || {
            let request = self.request(Method::PUT, &url).header(CONTENT_TYPE, media_type);
            request.body(bytes.clone())
        };
        let answer = self.send(request).await?;
        self.good(answer).await.map(drop)
    }
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}
