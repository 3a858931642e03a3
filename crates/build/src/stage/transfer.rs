//! `COPY` and `ADD`.

use std::io::{Seek, Write};
use std::sync::Arc;

use image::Contents;

use super::run::mounts;
use super::{NO_OPERATION, SCRATCH, Stage};
use crate::builder::Named;
use crate::copy::{Arrive, Copy, Picked, Single, Whole};
use crate::dockerfile::{Heredoc, Instruction, Source as Word, Transfer};
use crate::download::{self, Download};
use crate::error::Error;
use crate::expand;
use crate::git::{Checkout, Repository, Whose};
use crate::layers::Layers;
use crate::mode::Chmod;
use crate::run::Ingredient;
use crate::scratch::Scratch;
use crate::source::Source;

/// What may hide a file of the context, in Docker's words.
const HIDDEN: &str = "file not found in build context or excluded by .dockerignore: ";
/// In place of a stage's name that is not known early enough.
const FROM: &str =
    "begin another FROM ${VARIABLE}, with an ARG before the first FROM, and name that";
/// The mode of what is in a repository, whatever the engine's own mask.
const OF_REPOSITORY: &str = "u=rwX,go=rX";

impl Stage<'_> {
    /// Copies files into the stage.
    pub(super) async fn transfer(
        &mut self,
        instruction: &Instruction,
        verb: &'static str,
        transfer: &Transfer,
    ) -> Result<(), Error> {
        let (tree, place) = self.tree(instruction, transfer.from.as_deref()).await?;
        let (mut patterns, mut files, mut wholes) = (Vec::new(), Vec::new(), Vec::new());
        for source in &transfer.sources {
            match source {
                Word::Heredoc(heredoc) => files.push(self.heredoc(instruction, heredoc)?),
                Word::Path(path) => {
                    let path = self.word(instruction, path)?;
                    match Origin::of(verb, &path) {
                        Origin::Repository(repository) => {
                            let whole = self.repository(instruction, &repository, transfer).await?;
                            wholes.push(whole);
                        }
                        Origin::Server => {
                            files.push(self.fetched(instruction, &path, transfer).await?);
                        }
                        Origin::Tree => patterns.push(path),
                    }
                }
            }
        }
        check_flags(instruction, transfer, files.len() + wholes.len(), wholes.len())?;
        let written = self.word(instruction, &transfer.destination)?;
        let mut destination = self.absolute(&written);
        if matches!(written.as_str(), "." | "..")
            || written.ends_with("/.")
            || written.ends_with("/..")
        {
            destination.push('/');
        }
        let mode = transfer.chmod.as_deref().or((!wholes.is_empty()).then_some(OF_REPOSITORY));
        let arrive = Arrive {
            destination: destination.clone(),
            owner: self.owner(instruction, transfer.chown.as_deref()).await?,
            mode: self.mode(instruction, mode)?,
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
            wholes,
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
        let given = builder.request.contexts.get(&name);
        if let Some(Named::Files(files)) = given {
            return Ok((Arc::clone(files) as Arc<dyn Source>, HIDDEN));
        }
        let image = match builder.plan.named(&name, self.number) {
            _ if let Some(Named::Image(image)) = given => {
                Some(self.pulled(instruction, image).await?)
            }
            Some(stage) if builder.needed.contains(&stage) => builder.of_stage(stage).await?,
            // What a variable of a stage stands for is not known when stages are chosen.
            Some(_) => {
                let problem = format!("from={from}: a stage cannot be named by a variable: {FROM}");
                return Err(Error::at(instruction, problem));
            }
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
        let (name, size) = (name.to_owned(), content.len() as u64);
        Ok(Single { name, data, size, mtime, mode, unpack: false })
    }

    /// A file from a server.
    async fn fetched(
        &self,
        instruction: &Instruction,
        url: &str,
        transfer: &Transfer,
    ) -> Result<Single, Error> {
        self.builder.runner.permit(Ingredient::File(url)).await?;
        let Download { name, data, size, digest, modified, .. } =
            Download::fetch(url, &self.builder.request.scratch).await?;
        if name.is_empty() && transfer.destination.ends_with('/') {
            let problem = "cannot determine filename from url: name it in the destination";
            return Err(download::fetch(url, problem));
        }
        if let Some(wanted) = self.checksum(instruction, transfer)?
            && wanted != digest.to_string()
        {
            return Err(download::fetch(url, format!("digest mismatch {digest}: {wanted}")));
        }
        let unpack = transfer.unpack == Some(true);
        Ok(Single { name, data, size, mtime: modified.unwrap_or(0), mode: 0o600, unpack })
    }

    /// The files of a repository.
    async fn repository(
        &self,
        instruction: &Instruction,
        repository: &Repository,
        transfer: &Transfer,
    ) -> Result<Whole, Error> {
        let keep = transfer.keep_git_dir;
        if keep && !repository.directory().is_empty() {
            let problem = "--keep-git-dir: a directory of a repository has none: leave :DIR away";
            return Err(Error::at(instruction, problem));
        }
        self.builder.runner.permit(Ingredient::Repository(&repository.to_string())).await?;
        let failed = |source| Error::Scratch { what: "the repository".to_owned(), source };
        let scratch = Scratch::beneath(&self.builder.request.scratch).map_err(failed)?;
        let mut hidden = None;
        let socket = if repository.is_by_ssh() {
            self.lent_agent(instruction, mounts::DEFAULT, (0, 0), 0o600, &mut hidden).await?
        } else {
            None
        };
        let whose = socket.as_deref().map_or(Whose::Nobodys, Whose::Lent);
        let Checkout { root, commit } = repository.check_out(scratch.path(), whose, keep).await?;
        drop(hidden);
        if let Some(wanted) = self.checksum(instruction, transfer)?
            && !commit.starts_with(&wanted.to_ascii_lowercase())
        {
            let problem = format!("expected checksum to match {wanted}, got {commit}");
            return Err(Error::at(instruction, problem));
        }
        let identity = format!("git {commit} {keep} {:?}", repository.directory());
        let tree = Layers::known(tree::view::open(&root).map_err(failed)?, identity);
        Ok(Whole { tree, _kept: scratch })
    }

    fn checksum(
        &self,
        instruction: &Instruction,
        transfer: &Transfer,
    ) -> Result<Option<String>, Error> {
        transfer.checksum.as_deref().map(|wanted| self.word(instruction, wanted)).transpose()
    }
}

/// Where a source is.
enum Origin {
    /// In the context, a stage or an image.
    Tree,
    Server,
    Repository(Repository),
}

impl Origin {
    fn of(verb: &str, path: &str) -> Self {
        if verb != "ADD" {
            return Self::Tree;
        }
        // Without a scheme it is a path, whatever clients make of such a context.
        let is_path = !path.contains("://") && !path.starts_with("git@");
        match Repository::parse(path).filter(|_| !is_path) {
            Some(repository) => Self::Repository(repository),
            None if Download::is_meant(path) => Self::Server,
            None => Self::Tree,
        }
    }
}

/// Refuses flags of ADD that mean nothing for its sources.
fn check_flags(
    instruction: &Instruction,
    transfer: &Transfer,
    fetched: usize,
    repositories: usize,
) -> Result<(), Error> {
    let problem = match () {
        () if transfer.checksum.is_some() && transfer.sources.len() > 1 => {
            "checksum can't be specified for multiple sources"
        }
        () if transfer.checksum.is_some() && fetched == 0 => {
            "checksum requires HTTP(S) or Git sources"
        }
        () if transfer.keep_git_dir && repositories == 0 => "--keep-git-dir requires Git sources",
        () => return Ok(()),
    };
    Err(Error::at(instruction, problem))
}
