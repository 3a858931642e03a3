//! Builds: containers for `RUN`, and what is told of images.
//!
//! A command's container is made, run and taken away like any other, with nothing kept of its output. When
//! the build is dropped meanwhile, it is killed and taken away.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use build::remote::Remote;
use build::run::{Command, Error as RunError, Ingredient, Later, Mount, Runner, Told};
use build::{Event, Link};
use image::{Auth, Draft, Healthcheck, Image, Platform, Progress, Reference};
use spec::files::Request;
use spec::{Digest, Kind};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::bundle::user::Accounts;
use crate::config::{Config, Create, HostConfig, NetworkMode, Share};
use crate::engine::Engine;
use crate::error::Error;
use crate::files::{gather, receive, taken};
use crate::hidden::Hidden;
use crate::logging::{LogDriver, Logging};
use crate::mountpoint;
use crate::owner::blocking;
use crate::request::{Condition, Remove, Streams};

mod links;
mod prune;

pub(crate) use links::Links;
pub use prune::{CachedStep, Keep, Prune, Pruned};

/// Bytes in front of each piece of output, see [`crate::Attached`].
const FRAME: usize = 8;
/// Bytes of a context read at a time.
const BUFFER: usize = 256 << 10;

/// What is asked of a build besides what is built.
pub struct Surroundings {
    /// The walls, limits and connections of its containers.
    pub host: HostConfig,
    /// As whom base images are fetched.
    pub credentials: Credentials,
    /// Who says of what a build may be made; of everything where there is nobody.
    pub permit: Option<Permit>,
    /// Whether commands' containers stay.
    pub keep: bool,
    /// Whether the container of a command that failed stays.
    pub keep_failed: bool,
}

/// Who is asked as whom images of a registry are fetched, by its host.
pub type Ask =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Auth>> + Send>> + Send + Sync>;

/// Says of what a build may be made; why not, where it may not.
pub type Permit = Arc<
    dyn Fn(Ingredient<'_>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        + Send
        + Sync,
>;

/// As whom images are fetched.
pub enum Credentials {
    /// By the registry's host.
    Known(BTreeMap<String, Auth>),
    /// The client is asked when a registry is.
    Asked(Ask),
}

impl Credentials {
    async fn of(&self, registry: &str) -> Option<Auth> {
        match self {
            Self::Known(known) => known.get(registry).cloned(),
            Self::Asked(ask) => ask(registry.to_owned()).await,
        }
    }
}

impl Engine {
    /// Where builds keep what they need for a while, made if need be.
    pub fn build_scratch(&self) -> Result<PathBuf, Error> {
        let root = self.settings().data_root.join("build");
        let made = std::fs::create_dir_all(root.join("empty"));
        made.map_err(|source| Error::File { action: "make", path: root.clone(), source })?;
        Ok(root)
    }

    /// A directory for what builds keep in memory: what an engine leaves there, the next one unmounts.
    pub fn build_memory(&self) -> PathBuf {
        self.settings().shm()
    }

    /// Takes in a client that can be asked while it builds, and tells it; false when it cannot be kept.
    pub async fn offer_link(&self, name: &str, link: Link) -> bool {
        self.shared().links.put(name, link).await
    }

    /// The client that was taken in under this name.
    pub fn take_link(&self, name: &str) -> Option<Arc<Link>> {
        self.shared().links.take(name)
    }

    /// Takes in a build's context: an archive, plain or compressed.
    pub async fn build_context(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<build::Context, Error> {
        let scratch = self.build_scratch()?;
        let archive = gather(archive);
        blocking(move || take_context(archive, &scratch)).await
    }

    /// Fetches a build's context, see [`Remote`].
    pub async fn build_remote(&self, named: &str) -> Result<Remote, Error> {
        Ok(Remote::fetch(named, &self.build_scratch()?).await?)
    }

    /// Builds an image, see [`build::build`]. Given up when this is dropped.
    pub async fn build(
        &self,
        context: build::Context,
        request: build::Request,
        surroundings: Surroundings,
        listener: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Image, Error> {
        let names = request.names.clone();
        let runner = Builds { engine: self, surroundings };
        let going_on = self.shared().builds.read().await;
        let built = build::build(self.images(), &runner, context, request, listener).await;
        drop(going_on);
        self.limit_builds().await;
        let image = built?;
        let id = image.id.to_string();
        for name in names {
            self.tell_image("tag", &id, &name.to_string(), Some(&image));
        }
        Ok(image)
    }
}

fn take_context(body: impl Read, scratch: &Path) -> Result<build::Context, Error> {
    let (plain, _) = image::compression::decompress(body)?;
    let plain = BufReader::with_capacity(BUFFER, plain);
    Ok(build::Context::read(plain, scratch).map_err(build::Error::from)?)
}

/// The engine, as a build sees it.
struct Builds<'a> {
    engine: &'a Engine,
    surroundings: Surroundings,
}

/// A command's container. It goes when this is dropped.
struct Guard {
    engine: Engine,
    id: Option<String>,
    /// Stays as long as it.
    hidden: Option<Arc<build::Hidden>>,
}

impl Guard {
    fn keep(mut self) {
        self.id = None;
    }

    async fn remove(mut self) -> Result<(), Error> {
        let Some(id) = self.id.take() else { return Ok(()) };
        self.engine.remove(&id, Remove { force: true, volumes: true }).await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let (engine, hidden) = (self.engine.clone(), self.hidden.take());
        // The runtime is there: this is dropped by one of its tasks.
        tokio::spawn(async move {
            let how = Remove { force: true, volumes: true };
            if let Err(error) = engine.remove(&id, how).await {
                tracing::warn!(container = id, %error, "container of a build not removed");
            }
            drop(hidden);
        });
    }
}

impl Builds<'_> {
    fn create(&self, command: &Command) -> Result<Create, Error> {
        let mut host = self.surroundings.host.clone();
        match command.network.as_deref() {
            Some("none") => host.network = NetworkMode::None,
            // A Dockerfile pierces no wall: whoever builds it must have asked for that.
            Some("host") if host.openings.network != Share::Host => {
                let problem = "unless the build itself is given --network=host".to_owned();
                return Err(Error::Unsupported { field: "RUN --network=host", problem });
            }
            _ => {}
        }
        host.openings.privileged = command.insecure;
        host.logging = Some(Logging { driver: LogDriver::None, ..Logging::default() });
        host.mounts = command.mounts.iter().map(mount).collect();
        let image = command.image.as_ref().ok_or(Error::NoSuchImage("scratch".to_owned()))?;
        let config = Config {
            image: image.to_string(),
            entrypoint: Some(Vec::new()),
            cmd: Some(command.words.clone()),
            env: command.env.clone(),
            user: command.user.clone(),
            working_dir: command.working_dir.clone(),
            healthcheck: Some(Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            }),
            attach_stdout: true,
            attach_stderr: true,
            ..Config::default()
        };
        Ok(Create { name: None, config, host })
    }

    async fn carry_out(
        &self,
        command: Command,
        told: &(dyn Fn(Told) + Send + Sync),
    ) -> Result<Draft, BuildError> {
        let engine = self.engine;
        let hidden = command
            .hidden
            .as_ref()
            .map(|hidden| Hidden { env: hidden.env().to_vec(), dir: hidden.dir().to_owned() });
        let id = engine.create_hiding(self.create(&command)?, hidden).await?.id;
        let hidden = command.hidden.clone();
        let guard = Guard { engine: engine.clone(), id: Some(id.clone()), hidden };
        told(Told::Made(id.clone()));
        let streams = Streams { stdin: false, stdout: true, stderr: true };
        let attached = engine.attach(&id, streams).await?;
        let ended = engine.wait(&id, Condition::NextExit).await?;
        let (started, ()) = tokio::join!(engine.start(&id), async {
            if let Some(stream) = attached.stream().await {
                listen(stream, told).await;
            }
        });
        started?;
        let code = ended.await.code;
        // What was hidden goes now: its container could never run again.
        let may_keep = command.hidden.is_none();
        let (keep, keep_failed) =
            (self.surroundings.keep && may_keep, self.surroundings.keep_failed && may_keep);
        if code != 0 {
            if keep || keep_failed {
                guard.keep();
            } else {
                guard.remove().await?;
                told(Told::Removed(id));
            }
            let command = command.words.join(" ");
            return Err(RunError::Failed { command, code }.into());
        }
        let draft = self.written(&id, command.image.as_ref(), keep).await?;
        let targets: Vec<String> = command.mounts.into_iter().map(|mount| mount.target).collect();
        let draft = blocking(move || Ok(draft.clear(&targets).map(|()| draft)?)).await?;
        if keep {
            guard.keep();
        } else {
            guard.remove().await?;
            told(Told::Removed(id));
        }
        Ok(draft)
    }

    /// What a container has written, as a layer.
    async fn written(&self, id: &str, image: Option<&Digest>, keep: bool) -> Result<Draft, Error> {
        let images = self.engine.images();
        let container = self.engine.find(id)?.now().container;
        if container.isolation.files_on_host() && !keep {
            return Ok(images.taken(&container.id).await?);
        }
        let mut pieces = taken(self.engine.reach(id).await?, Request::Layer);
        let pack = move |out: &mut dyn Write| receive(&mut pieces, out);
        Ok(images.filled(image, Box::new(pack)).await?)
    }
}

/// Why a command has no layer: it says so itself, or the engine does.
enum BuildError {
    Run(RunError),
    Engine(Error),
}

impl From<RunError> for BuildError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<BuildError> for RunError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Run(error) => error,
            BuildError::Engine(error) => {
                Self::Engine { text: spec::chain(&error), kind: error.kind() }
            }
        }
    }
}

impl Runner for Builds<'_> {
    fn run<'a>(
        &'a self,
        command: Command,
        told: &'a (dyn Fn(Told) + Send + Sync),
    ) -> Later<'a, Draft> {
        Box::pin(async move { Ok(self.carry_out(command, told).await?) })
    }

    fn permit<'a>(&'a self, ingredient: Ingredient<'a>) -> Later<'a, ()> {
        Box::pin(async move {
            let Some(permit) = &self.surroundings.permit else { return Ok(()) };
            let denied = |text| RunError::Engine { text, kind: Kind::Denied };
            permit(ingredient).await.map_err(denied)
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        told: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> Later<'a, Image> {
        Box::pin(async move {
            let auth = self.surroundings.credentials.of(reference.registry()).await;
            let pulled = self.engine.pull(reference, platform, auth, told).await;
            pulled.map_err(|error| BuildError::from(error).into())
        })
    }

    fn identity<'a>(&'a self, image: Option<&'a Digest>, user: &'a str) -> Later<'a, (u32, u32)> {
        Box::pin(async move {
            let layers = match image {
                Some(image) => self.engine.images().layers(image).map_err(Error::from),
                None => Ok(Vec::new()),
            };
            let layers = layers.map_err(BuildError::from)?;
            let user = user.to_owned();
            let found = blocking(move || Ok(Accounts::read(&layers)?.resolve(&user, &[])?)).await;
            let found = found.map_err(BuildError::from)?;
            Ok((found.uid, found.gid))
        })
    }
}

/// Passes a container's output on until it ends.
async fn listen(mut stream: impl AsyncRead + Unpin, told: &(dyn Fn(Told) + Send + Sync)) {
    let mut header = [0; FRAME];
    while stream.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let mut piece = Vec::new();
        let read = (&mut stream).take(length.into()).read_to_end(&mut piece).await;
        told(Told::Output(piece));
        if read.is_err() {
            return;
        }
    }
}

fn mount(mount: &Mount) -> mountpoint::Mount {
    let (kind, source) = match &mount.source {
        Some(source) => ("bind", source.to_string_lossy().into_owned()),
        None => ("tmpfs", String::new()),
    };
    mountpoint::Mount {
        kind: kind.to_owned(),
        source,
        target: mount.target.clone(),
        read_only: mount.readonly,
        tmpfs_options: mount.size.map(|size| mountpoint::TmpfsOptions {
            size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            ..mountpoint::TmpfsOptions::default()
        }),
        ..mountpoint::Mount::default()
    }
}
