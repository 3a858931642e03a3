//! The handle that fronts hold.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::Stream;
use image::{Auth, Image, Images, Import, Platform, Progress, Reference, Removed};
use spec::Signal;
use tokio::io::AsyncRead;

use crate::attach::Attached;
use crate::config::{Create, Size};
use crate::container::Container;
use crate::error::Error;
use crate::event::{Broker, Events};
use crate::log::{LogLine, LogRequest};
use crate::request::{
    Change, Condition, Created, Exec, ExecCreate, ExecStart, Info, List, Remove, Stop, Streams,
    Top, Waited,
};
use crate::settings::Settings;

/// The engine. Clones are handles to the same one.
///
/// `name` is always a name (with or without Docker's slash), an id, or a prefix of just one id; where
/// none matches the error is [`Error::NoSuchContainer`].
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    broker: Broker,
    images: Images,
}

/// A container's log, line by line.
pub type Logs = Pin<Box<dyn Stream<Item = Result<LogLine, Error>> + Send>>;
/// Resolves when what was waited for happens.
pub type Waiting = Pin<Box<dyn Future<Output = Waited> + Send>>;

impl Engine {
    /// Opens the database, takes up what the last engine left (reconnects to shims, buries the dead,
    /// collects orphans) and is ready.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let images = Images::open(&settings.data_root, settings.registries.clone())?;
        Ok(Self { shared: Arc::new(Shared { settings, broker: Broker::new(), images }) })
    }

    /// What it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Makes a container. Nothing of it runs yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchImage`], [`Error::NameInUse`], [`Error::Invalid`] and [`Error::Unsupported`] by
    /// the field's name.
    pub async fn create(&self, request: Create) -> Result<Created, Error> {
        Err(pending(request))
    }

    /// Runs it. On failure it is as before, with the exit code 126 or 127 for a command that cannot
    /// be executed, and nothing runs; if it is `auto_remove` it is removed.
    pub async fn start(&self, name: &str) -> Result<Change, Error> {
        Err(pending(name))
    }

    /// Sends its stop signal, waits, kills it, and waits for its end.
    pub async fn stop(&self, name: &str, how: Stop) -> Result<Change, Error> {
        Err(pending((name, how)))
    }

    /// Stops it if it runs, and starts it.
    pub async fn restart(&self, name: &str, how: Stop) -> Result<(), Error> {
        Err(pending((name, how)))
    }

    /// Sends a signal, SIGKILL if `None`; does not wait, except that after SIGKILL it has ended.
    pub async fn kill(&self, name: &str, signal: Option<Signal>) -> Result<(), Error> {
        Err(pending((name, signal)))
    }

    /// Freezes its processes.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        Err(pending(name))
    }

    /// Thaws them.
    pub async fn unpause(&self, name: &str) -> Result<(), Error> {
        Err(pending(name))
    }

    /// Gives it another name.
    pub async fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        Err(pending((name, new)))
    }

    /// Takes it away with everything it holds.
    pub async fn remove(&self, name: &str, how: Remove) -> Result<(), Error> {
        Err(pending((name, how)))
    }

    /// Begins to wait: when this returns, no end is missed any more, and the answer's headers can be
    /// sent. The inner future resolves when the condition is met.
    pub async fn wait(&self, name: &str, condition: Condition) -> Result<Waiting, Error> {
        Err(pending((name, condition)))
    }

    /// Everything about it.
    pub async fn inspect(&self, name: &str) -> Result<Container, Error> {
        Err(pending(name))
    }

    /// The containers that match, newest first.
    pub async fn list(&self, which: List) -> Result<Vec<Container>, Error> {
        Err(pending(which))
    }

    /// Its log. With `follow` the stream ends with the container's run.
    pub async fn logs(&self, name: &str, which: LogRequest) -> Result<Logs, Error> {
        Err(pending((name, which)))
    }

    /// Takes a place at its streams. If it is not started yet, the line opens with its start and
    /// misses nothing. [`crate::StateError::NotRunning`] if it has ended.
    pub async fn attach(&self, name: &str, streams: Streams) -> Result<Attached, Error> {
        Err(pending((name, streams)))
    }

    /// Sets its terminal's size; before the start, the size it will start with.
    pub async fn resize(&self, name: &str, size: Size) -> Result<(), Error> {
        Err(pending((name, size)))
    }

    /// Its processes, as `ps` with these arguments would print them; empty means `-ef`.
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<Top, Error> {
        Err(pending((name, ps_args)))
    }

    /// Prepares a process in a running container; gives the exec's id.
    pub async fn exec_create(&self, name: &str, request: ExecCreate) -> Result<String, Error> {
        Err(pending((name, request)))
    }

    /// Starts it. Gives the line to its streams unless `detach`; the line is open and misses nothing.
    pub async fn exec_start(&self, id: &str, how: ExecStart) -> Result<Option<Attached>, Error> {
        Err(pending((id, how)))
    }

    /// What became of it.
    pub async fn exec_inspect(&self, id: &str) -> Result<Exec, Error> {
        Err(pending(id))
    }

    /// Sets its terminal's size.
    pub async fn exec_resize(&self, id: &str, size: Size) -> Result<(), Error> {
        Err(pending((id, size)))
    }

    /// The images: list, look up, tag. What is told as an event goes through the engine instead.
    pub fn images(&self) -> &Images {
        &self.shared.images
    }

    /// Pulls an image, see [`Images::pull`].
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        auth: Option<Auth>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Image, Error> {
        Ok(self.shared.images.pull(reference, platform, auth, progress).await?)
    }

    /// Makes an image of an archive, see [`Images::import`].
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        reference: Option<&Reference>,
        import: &Import,
    ) -> Result<Image, Error> {
        Ok(self.shared.images.import(archive, reference, import).await?)
    }

    /// Removes an image's name, and the image with its last, unless a container uses it.
    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, Error> {
        Ok(self.shared.images.remove(name, &[], force).await?)
    }

    /// Facts for `info`.
    pub async fn info(&self) -> Result<Info, Error> {
        Err(pending(()))
    }

    /// Listens. With `since`, kept events of the past come first.
    pub fn events(&self, since: Option<SystemTime>) -> Events {
        self.shared.broker.subscribe(since)
    }
}

/// The interface is agreed before the work behind it: this goes away with the next commits.
fn pending(request: impl std::fmt::Debug) -> Error {
    Error::Unsupported { field: "engine", problem: format!("{request:?}") }
}
