//! What fronts ask about a container's files.

use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use image::{Image, Reference, Snapshot};
use serde_json::{Map, Value, json};
use spec::{Digest, Kind};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tree::pack::{Marks, Packer};

use super::archive::{self, PathStat, Put};
use super::changes::{self, Change};
use super::view;
use crate::container::{Container, Status};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::EventKind;
use crate::owner::blocking;

/// Pieces between who packs and who sends.
const QUEUE: usize = 8;
/// Bytes in a piece.
const PIECE: usize = 64 << 10;

/// An archive, piece by piece; an error ends it.
pub type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

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
        let root = self.shared().find(name)?.ask(|owner| Box::pin(owner.root())).await?;
        let (name, path) = (name.to_owned(), path.to_owned());
        blocking(move || root.with(|root| archive::stat(&root, &name, &path))).await
    }

    /// What is at `path` in a container, and an archive of it.
    pub async fn archive(&self, name: &str, path: &str) -> Result<(PathStat, Pieces), Error> {
        let handle = self.shared().find(name)?;
        let root = handle.ask(|owner| Box::pin(owner.root())).await?;
        let (found, stat) = oneshot::channel();
        let (name, path) = (name.to_owned(), path.to_owned());
        let (sender, pieces) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut found = Some(found);
            let out = BufWriter::with_capacity(PIECE, Sink(sender.clone()));
            let read = root.with(|root| {
                let tell = |stat| drop(found.take().map(|found| found.send(Ok(stat))));
                archive::read(&root, &name, &path, tell, out)
            });
            match (read, found) {
                (Err(error), Some(found)) => drop(found.send(Err(error))),
                (Err(error), None) => broken(&sender, &error),
                (Ok(()), _) => {}
            }
        });
        let stat = stat.await.unwrap_or(Err(Error::Closing))?;
        self.shared().tell(&handle.now().container, "archive-path", &[]);
        Ok((stat, pieces))
    }

    /// Unpacks an archive, plain or compressed, into a directory of a container.
    pub async fn put_archive(
        &self,
        name: &str,
        how: Put,
        body: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<(), Error> {
        let handle = self.shared().find(name)?;
        let container = handle.now().container;
        check_writable(&container, &how.path)?;
        let root = handle.ask(|owner| Box::pin(owner.root())).await?;
        let owner = if how.own { self.owner_of(&container).await? } else { None };
        let (name, body) = (name.to_owned(), Blocking { body, runtime: Handle::current() });
        blocking(move || root.with(|root| archive::write(root, &name, &how, owner, body))).await?;
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
        let (container, snapshot) = self.layers_of(name).await?;
        let (sender, pieces) = mpsc::channel(QUEUE);
        let mut layers = vec![snapshot.upper];
        layers.extend(snapshot.lower);
        let root = blocking(move || {
            let failed = |source| Error::File { action: "see", path: layers[0].clone(), source };
            view::layers(&layers, None).map_err(failed)
        });
        let root = root.await?;
        tokio::task::spawn_blocking(move || {
            let out = BufWriter::with_capacity(PIECE, Sink(sender.clone()));
            let mut packer = Packer::new(out, root.as_fd(), Marks::Files, &|_| false);
            let done = packer.add(b".", b"").and_then(|()| packer.finish().map(drop));
            if let Err(error) = done {
                broken(&sender, &error.into());
            }
        });
        self.shared().tell(&container, "export", &[]);
        Ok(pieces)
    }

    /// What a container has changed of its image.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>, Error> {
        let (_, snapshot) = self.layers_of(name).await?;
        let path = snapshot.upper.clone();
        let failed = move |source| Error::File { action: "compare", path, source };
        blocking(move || changes::changes(&snapshot).map_err(failed)).await
    }

    /// Makes an image of what a container is now.
    pub async fn commit(&self, name: &str, commit: Commit) -> Result<Image, Error> {
        let (container, snapshot) = self.layers_of(name).await?;
        let id = container.id.to_string();
        let parent: Digest =
            container.image.parse().map_err(|_| Error::NoSuchImage(container.image.clone()))?;
        let running = matches!(container.status, Status::Running { .. });
        let paused = commit.pause && running && self.pause(&id).await.is_ok();
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
        let pack = move |out: &mut dyn Write| changes::pack(&snapshot, out);
        let made = self.shared().images.commit(&parent, request, pack).await;
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

    async fn layers_of(&self, name: &str) -> Result<(Arc<Container>, Snapshot), Error> {
        let handle = self.shared().find(name)?;
        handle.ask(|owner| Box::pin(async { owner.reachable() })).await?;
        let container = handle.now().container;
        let snapshot = self.shared().images.snapshot(&container.id)?;
        Ok((container, snapshot))
    }
}

/// Docker's words where a container's own configuration forbids to write.
fn check_writable(container: &Container, path: &str) -> Result<(), Error> {
    let path = format!("/{}", String::from_utf8_lossy(&archive::normal(path)));
    let path = std::path::Path::new(&path);
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

/// The end of a stream that failed.
fn broken(sender: &mpsc::Sender<io::Result<Vec<u8>>>, error: &Error) {
    // A client that went away is no failure of ours.
    if sender.blocking_send(Err(io::Error::other(spec::chain(error)))).is_ok() {
        tracing::warn!(error = %spec::chain(error), "archive was cut off");
    }
}

/// Where pieces go, from a thread that may block.
struct Sink(mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::ErrorKind::BrokenPipe;
        self.0.blocking_send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's body, read by a thread that may block.
struct Blocking<R> {
    body: R,
    runtime: Handle,
}

impl<R: AsyncRead + Unpin> Read for Blocking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime.block_on(self.body.read(buffer))
    }
}
