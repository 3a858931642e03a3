//! Contexts that the engine fetches itself: `POST /build?remote=`.
//!
//! ```text
//!   a repository of git's          its files                     (git)
//!   http://, https:// an archive   what is in it
//!                     a text       the Dockerfile, and nothing else
//! ```
//!
//! Spec: Docker Engine API, `POST /build`, `remote`; what is told from its bytes, moby goes by the media type.

use std::io::{BufReader, Read, Seek};
use std::path::Path;

use tree::archive::{Archive, Members};

use crate::context::{Context, DOCKERFILE};
use crate::download::{Download, fetch};
use crate::error::Error;
use crate::git::{Repository, Whose};
use crate::scratch::Scratch;

/// Bytes of a file that tell what it is.
const HEAD: u64 = 512;
/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// A context, and the Dockerfile if that is all there is of it.
#[derive(Debug)]
pub struct Remote {
    /// What was fetched.
    pub context: Context,
    /// The name of the only file.
    pub dockerfile: Option<&'static str>,
}

impl Remote {
    /// Fetches what `named` names. What it is made of lies beneath `scratch` as long as it lives.
    pub async fn fetch(named: &str, scratch: &Path) -> Result<Self, Error> {
        if let Some(repository) = Repository::parse(named) {
            return Self::of(&repository, scratch).await;
        }
        if !Download::is_meant(named) {
            let want = "want a git repository (URL.git#REF:DIR), or http:// or https:// of an archive or a Dockerfile";
            return Err(fetch(named, want));
        }
        let download = Download::fetch(named, scratch).await?;
        let (named, scratch) = (named.to_owned(), scratch.to_owned());
        let taken = move || Self::take(download, &named, &scratch);
        tokio::task::spawn_blocking(taken).await.map_err(|_| Error::GivenUp)?
    }

    async fn of(repository: &Repository, scratch: &Path) -> Result<Self, Error> {
        let keep = |source| Error::Scratch { what: "the repository".to_owned(), source };
        let whole = Scratch::beneath(scratch).map_err(keep)?;
        let fetched = repository.check_out(whole.path(), Whose::Nobodys, false).await?;
        let scratch = scratch.to_owned();
        let taken = move || {
            let context = Context::of_directory(&fetched.root, &scratch);
            drop(whole);
            context
        };
        let context = tokio::task::spawn_blocking(taken).await.map_err(|_| Error::GivenUp)??;
        Ok(Self { context, dockerfile: None })
    }

    fn take(mut download: Download, named: &str, scratch: &Path) -> Result<Self, Error> {
        let read = |source| Error::Scratch { what: named.to_owned(), source };
        let data = &mut download.data;
        if begins_as_archive(&*data) {
            data.rewind().map_err(read)?;
            let (plain, _) = image::compression::decompress(&*data)
                .map_err(|error| fetch(named, spec::chain(&error)))?;
            let context = Context::read(BufReader::with_capacity(BUFFER, plain), scratch)?;
            return Ok(Self { context, dockerfile: None });
        }
        let said = download.media_type.as_deref().unwrap_or_default();
        let may_be_text = matches!(said, "" | "text/plain" | "application/octet-stream");
        data.rewind().map_err(read)?;
        let text = may_be_text.then(|| Context::of_dockerfile(&*data, scratch)).transpose()?;
        let context = text.flatten().ok_or_else(|| {
            fetch(
                named,
                format!("it is neither an archive nor a Dockerfile (Content-Type {said:?})"),
            )
        })?;
        Ok(Self { context, dockerfile: Some(DOCKERFILE) })
    }
}

/// Whether data begins as an archive does, perhaps compressed.
fn begins_as_archive(data: impl Read) -> bool {
    let Ok((plain, compression)) = image::compression::decompress(data) else { return true };
    let mut block = Vec::new();
    let read = plain.take(HEAD).read_to_end(&mut block);
    compression != image::compression::Compression::None
        || read.is_ok() && matches!(Archive::new(&block[..]).next_member(), Ok(Some(_)))
}
