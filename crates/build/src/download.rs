//! Files from servers of HTTP.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use reqwest::header::{CONTENT_TYPE, HeaderName, LAST_MODIFIED};
use sha2::{Digest as _, Sha256};
use spec::Digest;

use crate::context::unnamed;
use crate::error::Error;

/// How the names of what is fetched begin.
const SCHEMES: [&str; 2] = ["http://", "https://"];

/// What a server has sent.
#[derive(Debug)]
pub(crate) struct Download {
    /// The last part of its address, perhaps nothing.
    pub(crate) name: String,
    /// All of it, from its beginning.
    pub(crate) data: File,
    /// Bytes of it.
    pub(crate) size: u64,
    /// Of the bytes.
    pub(crate) digest: Digest,
    /// When the server says that it was changed, in seconds since 1970.
    pub(crate) modified: Option<i64>,
    /// What the server says that it is, without parameters.
    pub(crate) media_type: Option<String>,
}

impl Download {
    /// Whether that names something on a server.
    pub(crate) fn is_meant(url: &str) -> bool {
        SCHEMES.iter().any(|scheme| url.starts_with(scheme))
    }

    /// Fetches a file. Its bytes lie beneath `dir`, without a name.
    pub(crate) async fn fetch(url: &str, dir: &Path) -> Result<Self, Error> {
        let failed = |error: reqwest::Error| fetch(url, spec::chain(&error));
        let keep = |source: io::Error| Error::Scratch { what: url.to_owned(), source };
        let answer = reqwest::get(url).await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(failed)?;
        let header = |name: HeaderName| {
            answer.headers().get(name).and_then(|text| text.to_str().ok()).map(str::to_owned)
        };
        let name = answer.url().path_segments().and_then(|mut parts| parts.next_back());
        let name = name.unwrap_or_default().to_owned();
        let modified = header(LAST_MODIFIED).as_deref().and_then(http_date);
        let media_type = header(CONTENT_TYPE)
            .and_then(|text| Some(text.split(';').next()?.trim().to_ascii_lowercase()));
        let mut data = unnamed(dir)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            hash.update(&piece);
            size += piece.len() as u64;
            data.write_all(&piece).map_err(keep)?;
        }
        data.rewind().map_err(keep)?;
        let digest = Digest::from_sha256(hash.finalize().into());
        Ok(Self { name, data, size, digest, modified, media_type })
    }
}

/// Why `url` was not fetched.
pub(crate) fn fetch(url: &str, problem: impl Into<String>) -> Error {
    Error::Fetch { url: url.to_owned(), problem: problem.into() }
}

/// Seconds since 1970 of an HTTP date.
fn http_date(text: &str) -> Option<i64> {
    let format = time::format_description::well_known::Rfc2822;
    let text = text.replace("GMT", "+0000");
    time::OffsetDateTime::parse(&text, &format).ok().map(time::OffsetDateTime::unix_timestamp)
}
