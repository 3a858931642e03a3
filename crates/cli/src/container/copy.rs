//! Verbs that move files: `cp`, `export`, `commit`.
//!
//! What comes out of a container is hostile: it is unpacked beside its destination, in a directory that
//! holds nothing else, and moved into place piece by piece. A symbolic link in it is moved, never
//! followed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::SyncIoBridge;

use super::staging::{Staging, extract, merge, merge_one};
use crate::client::{Client, Page, lines};
use crate::error::Error;
use crate::verb::Verb;
use crate::{output, terminal};

/// Header that tells what a path is, and the bits of Go's file modes in it.
const STAT: &str = "X-Docker-Container-Path-Stat";
const DIRECTORY: u64 = 1 << 31;
const LINK: u64 = 1 << 27;
/// Bytes on their way to the engine.
const PIPE: usize = 256 << 10;

/// `hull cp`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hull cp web:/etc/nginx/nginx.conf .
  hull cp site/. web:/usr/share/nginx/html
  tar c site | hull cp - web:/srv")]
pub(crate) struct Cp {
    /// Keep owners
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
    /// PATH or CONTAINER:PATH; - for an archive on standard input
    source: String,
    /// CONTAINER:PATH or PATH; - for an archive on standard output
    destination: String,
}

/// `hull export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name or id
    name: String,
}

/// `hull commit`.
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who made it
    #[arg(short, long, default_value = "")]
    author: String,
    /// Leave a comment
    #[arg(short, long, default_value = "")]
    message: String,
    /// Apply a Dockerfile instruction, e.g. 'CMD sh'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Freeze the container meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set)]
    pause: bool,
    /// Name or id
    name: String,
    /// The image's name
    image: Option<String>,
}

/// One side of a copy.
enum Place<'a> {
    Here(&'a str),
    In(&'a str, &'a str),
}

impl<'a> Place<'a> {
    /// `CONTAINER:PATH`, unless it begins as a path does.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() && !text.starts_with(['/', '.']) => {
                Self::In(name, path)
            }
            _ => Self::Here(text),
        }
    }
}

impl Verb for Cp {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        match (Place::parse(&self.source), Place::parse(&self.destination)) {
            (Place::In(name, path), Place::Here("-")) => {
                self.stream_out(client, name, path).await?;
            }
            (Place::In(name, path), Place::Here(to)) => {
                self.copy_out(client, name, path, to).await?;
            }
            (Place::Here("-"), Place::In(name, path)) => {
                put(client, name, path, tokio::io::stdin()).await?;
            }
            (Place::Here(from), Place::In(name, path)) => {
                self.copy_in(client, from, name, path).await?;
            }
            _ => {
                return Err(Error::Copy {
                    to: self.destination,
                    why: "one side is to be CONTAINER:PATH, the other a path".into(),
                });
            }
        }
        Ok(0)
    }
}

/// What a path in a container is; `None` where there is nothing.
async fn stat(client: &Client, name: &str, path: &str) -> Result<Option<Value>, Error> {
    let page = Page::new(&["containers", name, "archive"]).query(&[("path", path)]);
    let header = match client.head(&page, STAT).await {
        Ok(header) => header.unwrap_or_default(),
        Err(Error::Refused { status: 404, .. }) => {
            // An answer to HEAD has no text: is it the container that is missing?
            client.get(&Page::new(&["containers", name, "json"])).await?;
            return Ok(None);
        }
        Err(error) => {
            // Nor has any other refusal; asked for with GET it has.
            client.stream(Method::GET, &page).await?;
            return Err(error);
        }
    };
    let json = STANDARD.decode(header).unwrap_or_default();
    Ok(Some(serde_json::from_slice(&json).unwrap_or(Value::Null)))
}

fn is_directory(stat: &Value) -> bool {
    stat["mode"].as_u64().is_some_and(|mode| mode & DIRECTORY != 0)
}

/// Puts an archive into a directory of a container.
async fn put(
    client: &Client,
    name: &str,
    path: &str,
    archive: impl AsyncRead + Send + 'static,
) -> Result<(), Error> {
    let page = Page::new(&["containers", name, "archive"]);
    let page = page.query(&[("path", path), ("noOverwriteDirNonDir", "true")]);
    let mut answer = client.upload(Method::PUT, &page, archive).await?;
    let mut rest = Vec::new();
    answer.read_to_end(&mut rest).await.map(drop).map_err(Error::file("read the answer"))
}

impl Cp {
    /// What `path` is in the end, and where, when links are to be followed.
    async fn source(&self, client: &Client, name: &str, path: &str) -> Result<String, Error> {
        if !self.follow_link {
            return Ok(path.to_owned());
        }
        match stat(client, name, path).await? {
            Some(found) if found["mode"].as_u64().is_some_and(|mode| mode & LINK != 0) => {
                let target = found["linkTarget"].as_str().unwrap_or(path);
                Ok(Path::new(path).with_file_name(target).to_string_lossy().into_owned())
            }
            _ => Ok(path.to_owned()),
        }
    }

    async fn archive(
        &self,
        client: &Client,
        name: &str,
        path: &str,
    ) -> Result<impl AsyncRead + Unpin + Send + 'static + use<>, Error> {
        let path = self.source(client, name, path).await?;
        let page = Page::new(&["containers", name, "archive"]).query(&[("path", &path)]);
        client.stream(Method::GET, &page).await
    }

    async fn stream_out(&self, client: &Client, name: &str, path: &str) -> Result<(), Error> {
        if terminal::output() {
            return Err(Error::ArchiveOnTerminal);
        }
        let mut archive = self.archive(client, name, path).await?;
        let copied = tokio::io::copy(&mut archive, &mut tokio::io::stdout()).await;
        copied.map(drop).map_err(Error::file("write the archive"))
    }

    async fn copy_out(
        &self,
        client: &Client,
        name: &str,
        path: &str,
        to: &str,
    ) -> Result<(), Error> {
        let archive = self.archive(client, name, path).await?;
        let unpacking = Unpacking {
            contents: path.ends_with("/.") || path == ".",
            to: to.to_owned(),
            owners: self.archive,
        };
        let bridge = SyncIoBridge::new(archive);
        blocking(move || unpacking.unpack(bridge)).await
    }

    async fn copy_in(
        &self,
        client: &Client,
        from: &str,
        name: &str,
        path: &str,
    ) -> Result<(), Error> {
        let failed = |source| Error::File { what: from.to_owned(), source };
        let plain = if self.follow_link { fs::metadata(from) } else { fs::symlink_metadata(from) };
        let directory = plain.map_err(failed)?.is_dir();
        let contents = from.ends_with("/.") || from == ".";
        let base = base_name(from).map_err(failed)?;
        let mut target = path.to_owned();
        let mut found = stat(client, name, &target).await?;
        if let Some(link) =
            found.as_ref().filter(|f| f["mode"].as_u64().is_some_and(|m| m & LINK != 0))
        {
            let leads = link["linkTarget"].as_str().unwrap_or(path);
            target = Path::new(path).with_file_name(leads).to_string_lossy().into_owned();
            found = stat(client, name, &target).await?;
        }
        let wrong = |why: &str| Error::Copy { to: format!("{name}:{path}"), why: why.into() };
        let (into, called) = match found {
            Some(found) if is_directory(&found) && contents => (target, ".".into()),
            Some(found) if is_directory(&found) => (target, base),
            Some(_) if directory => return Err(wrong("a directory cannot replace a file")),
            None if !directory && target.ends_with('/') => return Err(wrong("no such directory")),
            _ => {
                let place = Path::new(target.trim_end_matches('/'));
                let parent = place.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("/")).to_string_lossy().into_owned();
                let name = place.file_name().ok_or_else(|| wrong("a name is missing"))?;
                (parent, name.to_string_lossy().into_owned())
            }
        };
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let pack = Packing { from: from.into(), called, follow: self.follow_link, directory };
        let bridge = SyncIoBridge::new(ours);
        let packing = tokio::spawn(blocking(move || pack.pack(bridge)));
        let sent = put(client, name, &into, theirs).await;
        // When packing failed the engine saw a torn archive: our own reason is the better one.
        packing.await.map_err(|error| failed(io::Error::other(error)))??;
        sent
    }
}

/// The last name of a local path; of `.` and `..` the directory's own.
fn base_name(path: &str) -> io::Result<String> {
    let path = Path::new(path);
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => path.canonicalize()?.file_name().unwrap_or_default().to_owned(),
    };
    Ok(name.to_string_lossy().into_owned())
}

pub(super) async fn blocking(
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::file("copy")(io::Error::other(error)))?
}

/// A local tree on its way into a container.
struct Packing {
    from: PathBuf,
    /// The name of its root in the archive.
    called: String,
    follow: bool,
    directory: bool,
}

impl Packing {
    fn pack(self, to: impl Write) -> Result<(), Error> {
        let failed = |source| Error::File { what: self.from.display().to_string(), source };
        let mut archive = tar::Builder::new(to);
        // Links in a tree stay links; only what is named itself may be followed.
        archive.follow_symlinks(false);
        let from =
            if self.follow { self.from.canonicalize().map_err(failed)? } else { self.from.clone() };
        let packed = if self.directory {
            archive.append_dir_all(&self.called, &from)
        } else {
            archive.append_path_with_name(&from, &self.called)
        };
        packed.and_then(|()| archive.into_inner()?.flush()).map_err(failed)
    }
}

/// An archive on its way out of a container.
struct Unpacking {
    /// Not the directory itself, what is in it.
    contents: bool,
    to: String,
    owners: bool,
}

impl Unpacking {
    fn unpack(self, archive: impl io::Read) -> Result<(), Error> {
        let to = Path::new(&self.to);
        let failed = |source| Error::File { what: self.to.clone(), source };
        let is_dir = to.is_dir();
        let parent = if is_dir { to } else { to.parent().unwrap_or(to) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if !parent.is_dir() {
            let why = format!("{} is no directory", parent.display());
            return Err(Error::Copy { to: self.to.clone(), why });
        }
        let staging = Staging::make(parent).map_err(failed)?;
        let mut archive = tar::Archive::new(archive);
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(self.owners);
        archive.set_overwrite(false);
        let bare = extract(&mut archive, &staging.0).map_err(failed)?;
        self.place(&staging.0, bare, to, is_dir)
    }

    /// `bare` is true when the archive's root was `.`: its pieces are in `staging` itself.
    fn place(&self, staging: &Path, bare: bool, to: &Path, is_dir: bool) -> Result<(), Error> {
        let failed = |source| Error::File { what: self.to.clone(), source };
        let wrong = |why: &str| Error::Copy { to: self.to.clone(), why: why.into() };
        if bare {
            if !is_dir {
                fs::create_dir(to).map_err(failed)?;
            }
            return merge(staging, to).map_err(failed);
        }
        let root = fs::read_dir(staging).map_err(failed)?.next();
        let root = root.ok_or_else(|| wrong("the archive is empty"))?.map_err(failed)?;
        let tree = root.file_type().map_err(failed)?.is_dir();
        if tree && self.contents {
            if !is_dir {
                fs::create_dir(to).map_err(failed)?;
            }
            return merge(&root.path(), to).map_err(failed);
        }
        if is_dir {
            return merge_one(&root.path(), &to.join(root.file_name())).map_err(failed);
        }
        if tree && to.exists() {
            return Err(wrong("a directory cannot replace a file"));
        }
        if !tree && self.to.ends_with('/') {
            return Err(wrong("no such directory"));
        }
        merge_one(&root.path(), to).map_err(failed)
    }
}

impl Verb for Export {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let page = Page::new(&["containers", &self.name, "export"]);
        save(client, &page, self.output.as_deref()).await
    }
}

/// Writes an archive to a file, or to standard output. A file is complete or not there.
pub(crate) async fn save(client: &Client, page: &Page, to: Option<&Path>) -> Result<u8, Error> {
    let Some(path) = to else {
        if terminal::output() {
            return Err(Error::ArchiveOnTerminal);
        }
        let mut archive = client.stream(Method::GET, page).await?;
        let copied = tokio::io::copy(&mut archive, &mut tokio::io::stdout()).await;
        return copied.map(|_| 0).map_err(Error::file("write the archive"));
    };
    let failed = |source| Error::File { what: path.display().to_string(), source };
    let mut archive = client.stream(Method::GET, page).await?;
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        // A pipe or a device: nothing to put another in the place of.
        let file = File::options().write(true).open(path).map_err(failed)?;
        let copied = tokio::io::copy(&mut archive, &mut tokio::fs::File::from_std(file)).await;
        return copied.map(|_| 0).map_err(failed);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = async {
        let mut file = tokio::fs::File::create(&part).await?;
        tokio::io::copy(&mut archive, &mut file).await?;
        file.sync_all().await?;
        tokio::fs::rename(&part, path).await
    };
    if let Err(error) = written.await {
        let _ = fs::remove_file(&part);
        return Err(failed(error));
    }
    Ok(0)
}

impl Verb for Commit {
    async fn run(self, client: &Client) -> Result<u8, Error> {
        let name = self.image.as_deref().unwrap_or_default();
        let mut query = vec![
            ("container", &*self.name),
            ("repo", name),
            ("author", &self.author),
            ("comment", &self.message),
            ("pause", if self.pause { "1" } else { "0" }),
        ];
        query.extend(self.change.iter().map(|change| ("changes", change.as_str())));
        let made = client.post(&Page::new(&["commit"]).query(&query), &json!({})).await?;
        output::line(made["Id"].as_str().unwrap_or_default());
        Ok(0)
    }
}

/// The last message of an upload's answer.
pub(crate) async fn last_message(
    answer: impl tokio::io::AsyncBufRead + Unpin,
) -> Result<Value, Error> {
    let mut last = Value::Null;
    lines(answer, |line| last = line).await?;
    Ok(last)
}

#[cfg(test)]
mod tests;
