//! `COPY` and `ADD`.

use std::io::{Seek, Write};
use std::sync::Arc;

use image::Contents;
use sha2::{Digest as _, Sha256};
use spec::Digest;

use super::{NO_OPERATION, SCRATCH, Stage};
use crate::copy::{Arrive, Copy, Picked, Single};
use crate::dockerfile::{Heredoc, Instruction, Source as Word, Transfer};
use crate::error::Error;
use crate::expand;
use crate::layers::Layers;
use crate::mode::Chmod;
use crate::source::Source;

/// What may hide a file of the context, in Docker's words.
const HIDDEN: &str = "file not found in build context or excluded by .dockerignore: ";
/// What begins the name of a file that is fetched.
const SCHEMES: [&str; 2] = ["http://", "https://"];

impl Stage<'_> {
    /// Copies files into the stage.
    pub(super) async fn transfer(
        &mut self,
        instruction: &Instruction,
        verb: &'static str,
        transfer: &Transfer,
    ) -> Result<(), Error> {
        let (tree, place) = self.tree(instruction, transfer.from.as_deref()).await?;
        let (mut patterns, mut files) = (Vec::new(), Vec::new());
        for source in &transfer.sources {
            match source {
                Word::Heredoc(heredoc) => files.push(self.heredoc(instruction, heredoc)?),
                Word::Path(path) => {
                    let path = self.word(instruction, path)?;
                    if verb == "ADD" && SCHEMES.iter().any(|scheme| path.starts_with(scheme)) {
                        files.push(self.fetched(&path, transfer).await?);
                    } else if verb == "ADD" && is_git(&path) {
                        return Err(Error::Unsupported {
                            line: instruction.line,
                            what: format!("ADD {path}"),
                            why: "no git repositories are fetched; clone it first and copy it from the context",
                        });
                    } else {
                        patterns.push(path);
                    }
                }
            }
        }
        let written = self.word(instruction, &transfer.destination)?;
        let mut destination = self.absolute(&written);
        if matches!(written.as_str(), "." | "..")
            || written.ends_with("/.")
            || written.ends_with("/..")
        {
            destination.push('/');
        }
        let arrive = Arrive {
            destination: destination.clone(),
            owner: self.owner(instruction, transfer.chown.as_deref()).await?,
            mode: self.mode(instruction, transfer.chmod.as_deref())?,
            unpack: verb == "ADD" && transfer.unpack != Some(false),
            link: transfer.link,
        };
        let exclude = transfer.exclude.iter().map(|pattern| self.word(instruction, pattern));
        let copy = Copy {
            verb,
            tree,
            place: place.to_owned(),
            patterns,
            parents: transfer.parents,
            exclude: exclude.collect::<Result<_, _>>()?,
            files,
            arrive,
        };
        let found = tokio::task::spawn_blocking(move || {
            let mut picked = Picked::find(copy)?;
            picked.fingerprint().map(|known_by| (picked, known_by))
        });
        let (picked, known_by) = found.await.map_err(|_| Error::GivenUp)??;
        let words = format!("{NO_OPERATION}{verb} {known_by} in {destination} ");
        if self.take_known(&words).await? {
            return Ok(());
        }
        let draft = self.draft().await?;
        let put = tokio::task::spawn_blocking(move || picked.put(&draft).map(|()| draft));
        let draft = put.await.map_err(|_| Error::GivenUp)??;
        self.make(words, Contents::Draft(draft)).await
    }

    /// Where files are taken from, and what to say where something is missing in it.
    pub(super) async fn tree(
        &self,
        instruction: &Instruction,
        from: Option<&str>,
    ) -> Result<(Arc<dyn Source>, &'static str), Error> {
        let builder = self.builder;
        let Some(from) = from else {
            return Ok((Arc::clone(&builder.context) as Arc<dyn Source>, HIDDEN));
        };
        let name = self.word(instruction, from)?;
        let image = match builder.plan.named(&name, self.number) {
            Some(stage) => builder.of_stage(stage).await?,
            None if name == SCRATCH => None,
            None => Some(self.pulled(instruction, &name).await?),
        };
        let (layers, identity) = match &image {
            None => (Vec::new(), String::new()),
            Some(image) => {
                let top = image.chain.last().map(ToString::to_string).unwrap_or_default();
                (builder.images.layers(&image.id)?, top)
            }
        };
        let scratch = builder.request.scratch.clone();
        let opened = tokio::task::spawn_blocking(move || {
            // The root of an image without layers is an empty directory.
            let layers = if layers.is_empty() { vec![scratch.join("empty")] } else { layers };
            Layers::of(&layers, identity)
        });
        let tree = opened.await.map_err(|_| Error::GivenUp)?;
        let tree = tree
            .map_err(|source| Error::Scratch { what: format!("the layers of {name}"), source })?;
        Ok((Arc::new(tree), ""))
    }

    async fn owner(
        &self,
        instruction: &Instruction,
        chown: Option<&str>,
    ) -> Result<Option<(u32, u32)>, Error> {
        let Some(user) = chown else { return Ok(None) };
        let user = self.word(instruction, user)?;
        let image = self.image.as_ref().map(|image| &image.id);
        let (uid, gid) = self.builder.runner.identity(image, &user).await?;
        // A number alone, or a user that is known by no group, is its own group's.
        Ok(Some((uid, gid)))
    }

    fn mode(&self, instruction: &Instruction, chmod: Option<&str>) -> Result<Option<Chmod>, Error> {
        let Some(text) = chmod else { return Ok(None) };
        let text = self.word(instruction, text)?;
        Chmod::parse(&text).map(Some).ok_or_else(|| {
            let want = "want octal digits or clauses, such as 644 or u=rwX,go=rX";
            Error::at(instruction, format!("--chmod={text}: {want}"))
        })
    }

    /// A file that stands in the Dockerfile.
    fn heredoc(&self, instruction: &Instruction, heredoc: &Heredoc) -> Result<Single, Error> {
        let content = if heredoc.expand {
            expand::heredoc(&heredoc.content, self.builder.escape, &|name| self.variable(name))
                .map_err(|error| Error::expand(instruction, &error))?
        } else {
            heredoc.content.clone()
        };
        self.single(&heredoc.name, content.as_bytes(), 0o644)
    }

    fn single(&self, name: &str, content: &[u8], mode: u32) -> Result<Single, Error> {
        let data = crate::context::unnamed(&self.builder.request.scratch)?;
        let written = (&data).write_all(content).and_then(|()| (&data).rewind());
        written.map_err(|source| Error::Scratch { what: name.to_owned(), source })?;
        let mtime = crate::copy::now().0;
        Ok(Single { name: name.to_owned(), data, size: content.len() as u64, mtime, mode })
    }

    /// A file from a server.
    async fn fetched(&self, url: &str, transfer: &Transfer) -> Result<Single, Error> {
        let failed = |problem: String| Error::Fetch { url: url.to_owned(), problem };
        let mut answer = reqwest::get(url)
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|error| failed(spec::chain(&error)))?;
        let name = answer.url().path_segments().and_then(|mut parts| parts.next_back());
        let name = name.unwrap_or_default().to_owned();
        if name.is_empty() && transfer.destination.ends_with('/') {
            return Err(failed(
                "cannot determine filename from url: name it in the destination".to_owned(),
            ));
        }
        let modified = answer.headers().get("last-modified").and_then(|text| text.to_str().ok());
        let modified = modified.and_then(http_date);
        let data = crate::context::unnamed(&self.builder.request.scratch)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(piece) = answer.chunk().await.map_err(|error| failed(spec::chain(&error)))? {
            hash.update(&piece);
            size += piece.len() as u64;
            let written = (&data).write_all(&piece);
            written.map_err(|source| Error::Scratch { what: url.to_owned(), source })?;
        }
        let digest = Digest::from_sha256(hash.finalize().into()).to_string();
        match &transfer.checksum {
            Some(wanted) if *wanted != digest => {
                Err(failed(format!("digest mismatch {digest}: {wanted}")))
            }
            _ => Ok(Single { name, data, size, mtime: modified.unwrap_or(0), mode: 0o600 }),
        }
    }
}

/// Seconds since 1970 of an HTTP date.
fn http_date(text: &str) -> Option<i64> {
    let format = time::format_description::well_known::Rfc2822;
    let text = text.replace("GMT", "+0000");
    time::OffsetDateTime::parse(&text, &format).ok().map(time::OffsetDateTime::unix_timestamp)
}

/// Whether a source of ADD is a repository of git's.
fn is_git(path: &str) -> bool {
    path.starts_with("git://")
        || path.starts_with("git@")
        || path.starts_with("ssh://")
        || path
            .split('#')
            .next()
            .is_some_and(|url| url.contains("://") && url.strip_suffix(".git").is_some())
}
