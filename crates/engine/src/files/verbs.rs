//! What fronts ask about a container's files.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::{Image, Reference};
use serde_json::{Map, Value, json};
use spec::files::{self, Answer, Change, PathStat, Request};
use spec::{Digest, Kind};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::gather::gather;
use super::reach::Reach;
use crate::container::{Container, Status};
use crate::engine::{Engine, ended};
use crate::error::{Error, StateError};
use crate::event::EventKind;
use crate::owner::blocking;

/// Pieces between who packs and who sends.
const QUEUE: usize = 8;
/// Bytes that are decompressed ahead.
const PIECE: usize = 64 << 10;
/// How long the end of a program that does not run any more may take to be recorded.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest list of changes that is taken, in bytes: a guest may invent one without end.
const MAX_CHANGES: usize = 64 << 20;

/// An archive, piece by piece; an error ends it.
pub type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

/// How an archive is to be put into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Put {
    /// A directory of the container.
    pub path: String,
    /// Refuse to put a directory in a file's place, or a file in a directory's.
    pub keep_kinds: bool,
    /// Everything becomes the container's user's.
    pub own: bool,
}

/// What an image of a container is to be.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its name; `None` for one without.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// What is to replace the container's configuration, with the keys of an image's.
    pub config: Value,
    /// Freeze the container meanwhile.
    pub pause: bool,
}

impl Engine {
    /// What is at `path` in a container.
    pub async fn path_stat(&self, name: &str, path: &str) -> Result<PathStat, Error> {
        let (reach, path) = (self.reach(name).await?, path.to_owned());
        let told = tokio::spawn(async move {
            let stat = stat(&reach, path).await;
            reach.end().await;
            stat
        });
        told.await.unwrap_or(Err(Error::Closing))
    }

    /// What is at `path` in a container, and an archive of it.
    pub async fn archive(&self, name: &str, path: &str) -> Result<(PathStat, Pieces), Error> {
        let reach = self.reach(name).await?;
        let container = Arc::clone(&reach.container);
        let (found, stat) = oneshot::channel();
        let (path, (sender, pieces)) = (path.to_owned(), mpsc::channel(QUEUE));
        tokio::spawn(async move {
            match self::stat(&reach, path.clone()).await {
                Ok(stat) => {
                    let _ = found.send(Ok(stat));
                    let taken = reach.take(Request::Get { path }, &sender).await;
                    finish(&sender, taken).await;
                }
                Err(error) => drop(found.send(Err(error))),
            }
            reach.end().await;
        });
        let stat = stat.await.unwrap_or(Err(Error::Closing))?;
        self.shared().tell(&container, "archive-path", &[]);
        Ok((stat, pieces))
    }

    /// Unpacks an archive, plain or compressed, into a directory of a container.
    pub async fn put_archive(
        &self,
        name: &str,
        how: Put,
        body: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<(), Error> {
        let container = self.shared().find(name)?.now().container;
        check_writable(&container, &how.path)?;
        let owner = if how.own { self.owner_of(&container).await? } else { None };
        let request = files::Put { path: how.path, keep_kinds: how.keep_kinds, owner };
        let reach = self.reach(name).await?;
        let done = tokio::spawn(async move {
            let (plain, unpacked) = decompressed(body);
            let done = reach.give(Request::Put(request), plain).await;
            reach.end().await;
            // A compression that is not known ends the archive early: that is the reason to tell.
            unpacked.await.unwrap_or(Err(Error::Closing)).and(done)
        });
        done.await.unwrap_or(Err(Error::Closing))?;
        self.shared().tell(&container, "extract-to-dir", &[]);
        Ok(())
    }

    /// The numbers of a container's user, if it has one.
    async fn owner_of(&self, container: &Container) -> Result<Option<(u32, u32)>, Error> {
        if container.config.user.is_empty() {
            return Ok(None);
        }
        let snapshot = self.shared().images.snapshot(&container.id)?;
        let user = container.config.user.clone();
        blocking(move || {
            let identity = crate::bundle::accounts(&snapshot)?.resolve(&user, &[])?;
            Ok(Some((identity.uid, identity.gid)))
        })
        .await
    }

    /// A container's whole tree, without volumes, as an archive.
    pub async fn export(&self, name: &str) -> Result<Pieces, Error> {
        let reach = self.reach(name).await?;
        self.shared().tell(&reach.container, "export", &[]);
        Ok(taken(reach, Request::Export))
    }

    /// What a container has changed of its image.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>, Error> {
        let mut pieces = taken(self.reach(name).await?, Request::Changes);
        let failed = |source| Error::File { action: "compare", path: name.into(), source };
        let mut text = Vec::new();
        while let Some(piece) = pieces.recv().await {
            text.extend(piece.map_err(failed)?);
            if text.len() > MAX_CHANGES {
                return Err(failed(io::ErrorKind::FileTooLarge.into()));
            }
        }
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|e| failed(e.into()))).collect()
    }

    /// Makes an image of what a container is now.
    pub async fn commit(&self, name: &str, commit: Commit) -> Result<Image, Error> {
        let handle = self.shared().find(name)?;
        let life = handle.now();
        let container = life.container;
        let id = container.id.to_string();
        let parent: Digest =
            container.image.parse().map_err(|_| Error::NoSuchImage(container.image.clone()))?;
        let running = matches!(container.status, Status::Running { .. });
        let mut paused = false;
        if commit.pause && running {
            match self.pause(&id).await {
                Ok(()) => paused = true,
                // It has just ended: its files are another shim's once that is recorded.
                Err(Error::State(StateError::NotRunning(_))) => {
                    ended(&handle, life.ends, Some(PATIENCE)).await;
                }
                Err(_) => {}
            }
        }
        let words = std::iter::once(&container.path).chain(&container.args);
        let request = image::commit::Commit {
            reference: commit.reference,
            author: commit.author,
            message: commit.message,
            command: words.map(String::as_str).collect::<Vec<_>>().join(" "),
            config: image_config(&container),
            over: commit.config,
            changes: commit.changes,
        };
        let made = match self.reach(&id).await {
            Ok(reach) => {
                let mut pieces = taken(reach, Request::Layer);
                let pack = move |out: &mut dyn Write| receive(&mut pieces, out);
                self.shared().images.commit(&parent, request, pack).await.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if paused {
            match self.unpause(&id).await {
                // It ended meanwhile, or a signal has thawed it.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                unpaused => unpaused?,
            }
        }
        let image = made?;
        let mut facts = vec![("imageID", image.id.to_string())];
        facts.extend(image.tags.first().map(|tag| ("imageRef", tag.to_string())));
        self.shared().tell(&container, "commit", &facts);
        let name = [("name".to_owned(), image.id.to_string())].into();
        self.shared().broker.publish(EventKind::Image, "create", image.id.to_string(), name);
        Ok(image)
    }

    pub(crate) async fn reach(&self, name: &str) -> Result<Reach, Error> {
        let asked = name.to_owned();
        self.shared().find(name)?.ask(|owner| Box::pin(owner.reach(asked))).await
    }
}

/// What is at `path`.
async fn stat(reach: &Reach, path: String) -> Result<PathStat, Error> {
    match reach.ask(Request::Stat { path }).await? {
        Answer::Stat(stat) => Ok(stat),
        Answer::Done => Err(Error::Closing),
    }
}

/// Has work done by a task of its own; gives what comes of it.
pub(crate) fn taken(reach: Reach, request: Request) -> Pieces {
    let (sender, pieces) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let taken = reach.take(request, &sender).await;
        finish(&sender, taken).await;
        reach.end().await;
    });
    pieces
}

/// Ends a stream.
async fn finish(sender: &mpsc::Sender<io::Result<Vec<u8>>>, taken: Result<(), Error>) {
    let Err(error) = taken else { return };
    let text = spec::chain(&error);
    // A client that went away is no failure of ours.
    if sender.send(Err(io::Error::other(text.clone()))).await.is_ok() {
        tracing::warn!(error = text, "archive was cut off");
    }
}

/// Writes what comes, which must come to its end.
pub(crate) fn receive(pieces: &mut Pieces, out: &mut dyn Write) -> Result<(), tree::pack::Error> {
    use tree::pack::Error::{Read, Write};
    while let Some(piece) = pieces.blocking_recv() {
        let piece = piece.map_err(|source| Read { name: "the container's layer".into(), source });
        out.write_all(&piece?).map_err(Write)?;
    }
    Ok(())
}

/// A client's archive, decompressed by a thread that may block; the second says how that went.
fn decompressed(
    body: impl AsyncRead + Send + Unpin + 'static,
) -> (tokio::io::DuplexStream, JoinHandle<Result<(), Error>>) {
    let (ours, plain) = tokio::io::duplex(PIECE);
    let (body, runtime) = (gather(body), Handle::current());
    let decompress = move || {
        let mut ours = Blocking { body: ours, runtime };
        let (mut archive, _) = image::compression::decompress(body)?;
        match io::copy(&mut archive, &mut ours) {
            // Whoever unpacks knows better why it takes no more.
            Err(error) if !tree::files::is_enough(&error) => {
                Err(image::compression::Error::Read(error).into())
            }
            _ => Ok(()),
        }
    };
    (plain, tokio::task::spawn_blocking(decompress))
}

/// Docker's words where a container's own configuration forbids to write.
fn check_writable(container: &Container, path: &str) -> Result<(), Error> {
    let path = format!("/{}", String::from_utf8_lossy(&tree::path::normal(path)));
    let path = Path::new(&path);
    let under = container.mounts.iter().filter(|point| path.starts_with(&point.destination));
    match under.max_by_key(|point| point.destination.len()) {
        Some(point) if !point.writable => {
            Err(Error::Mount("mounted volume is marked read-only".to_owned()))
        }
        None if container.host.readonly_rootfs => {
            Err(Error::Mount("container rootfs is marked read-only".to_owned()))
        }
        _ => Ok(()),
    }
}

/// A container's configuration with the keys of an image's.
fn image_config(container: &Container) -> Value {
    let config = &container.config;
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| {
        let blank = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !blank {
            object.insert(key.to_owned(), value);
        }
    };
    let keys = |list: &[String]| -> Value {
        list.iter().map(|key| (key.clone(), json!({}))).collect::<Map<_, _>>().into()
    };
    set("Cmd", json!(config.cmd));
    set("Entrypoint", json!(config.entrypoint));
    set("Env", json!(config.env));
    set("ExposedPorts", keys(&config.exposed_ports));
    set("Labels", json!(config.labels));
    set("StopSignal", json!(config.stop_signal.map(|signal| signal.to_string())));
    set("User", json!(config.user));
    set("Volumes", keys(&config.volumes));
    set("WorkingDir", json!(config.working_dir));
    object.into()
}

/// A stream of the runtime's, written by a thread that may block.
struct Blocking<W> {
    body: W,
    runtime: Handle,
}

impl<W: AsyncWrite + Unpin> Write for Blocking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.runtime.block_on(self.body.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.runtime.block_on(self.body.flush())
    }
}
