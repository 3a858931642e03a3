//! The way to a container's files: its shim, which alone knows on which side of the wall they are.
//!
//! ```text
//!   runs           its shim                                          ┐   request, answer: ttrpc
//!   does not run   a shim that is started for the work, and ended    ┴─▶ data: a socket of ours
//! ```

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spec::files::{Answer, Call, Request};
use spec::{Kind, annotation};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedRwLockWriteGuard, mpsc, oneshot};

use crate::container::Container;
use crate::error::{Error, StateError};
use crate::mountpoint::MountKind;
use crate::names;
use crate::owner::blocking;
use crate::shared::Shared;
use crate::shim::{self, Shim};
use crate::staged;

/// Bytes in a piece.
const PIECE: usize = 64 << 10;

/// The way to a container's files. Ended by [`Reach::end`].
pub(crate) struct Reach {
    pub(crate) shared: Arc<Shared>,
    pub(crate) container: Arc<Container>,
    /// What the client calls the container.
    pub(crate) asked: String,
    pub(crate) shim: Shim,
    /// For a container that does not run, and will not while this is there.
    pub(crate) still: Option<OwnedRwLockWriteGuard<()>>,
}

impl Reach {
    /// Starts a shim for the files of a container that does not run.
    pub(crate) async fn still(
        shared: &Arc<Shared>,
        container: Arc<Container>,
        asked: String,
        guard: OwnedRwLockWriteGuard<()>,
    ) -> Result<Self, Error> {
        let (volumes, of) = (Arc::clone(shared), Arc::clone(&container));
        let mounted = blocking(move || mount_volumes(&volumes, &of)).await;
        if let Err(error) = mounted {
            unmount_volumes(Arc::clone(shared), container).await;
            return Err(error);
        }
        let places = shared.places(container.id.as_str());
        let spawned = Shim::spawn(&shared.settings, container.id.as_str(), &places.bundle).await;
        let shared = Arc::clone(shared);
        match spawned {
            Ok(shim) => Ok(Self { shared, container, asked, shim, still: Some(guard) }),
            Err(error) => {
                unmount_volumes(shared, container).await;
                Err(error.into())
            }
        }
    }

    /// Ends a shim that was started for this.
    pub(crate) async fn end(self) {
        if self.still.is_some() {
            self.shim.shutdown(true).await;
            shim::until_gone(&self.shared.places(self.container.id.as_str()).bundle).await;
            unmount_volumes(self.shared, self.container).await;
        }
    }

    /// Has work done that takes no data and gives none.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, Error> {
        let call = self.call(request.clone(), None)?;
        self.told(&request, self.shim.files(&call).await)
    }

    /// Has work done on what `body` gives.
    pub(crate) async fn give(
        &self,
        request: Request,
        mut body: impl AsyncRead + Send + Unpin,
    ) -> Result<(), Error> {
        let (socket, call) = self.open(request)?;
        let (over, ended) = oneshot::channel();
        let asked = self.asked(&call, over);
        let passed = async {
            let Some(mut stream) = socket.accept(ended).await? else { return Ok(()) };
            let passed = tokio::io::copy(&mut body, &mut stream).await;
            stream.shutdown().await?;
            passed.map(drop)
        };
        let (answer, passed) = tokio::join!(asked, passed);
        self.told(&call.request, answer)?;
        match passed {
            // Whoever unpacks may have enough before the end.
            Err(error) if !tree::files::is_enough(&error) => Err(socket.failed(error)),
            _ => Ok(()),
        }
    }

    /// Has work done whose data goes to `pieces`; a failure is the last of them.
    pub(crate) async fn take(
        &self,
        request: Request,
        pieces: &mpsc::Sender<io::Result<Vec<u8>>>,
    ) -> Result<(), Error> {
        let (socket, call) = self.open(request)?;
        let (over, ended) = oneshot::channel();
        let asked = self.asked(&call, over);
        let passed = async {
            let Some(mut stream) = socket.accept(ended).await? else { return Ok(()) };
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                if stream.read_buf(&mut piece).await? == 0 {
                    return Ok(());
                }
                if pieces.send(Ok(piece)).await.is_err() {
                    return Ok(()); // who wanted it has gone
                }
            }
        };
        let (answer, passed) = tokio::join!(asked, passed);
        self.told(&call.request, answer)?;
        passed.map_err(|error| socket.failed(error))
    }

    /// Asks the shim; tells `over` when it has answered, and whether that was a success.
    async fn asked(&self, call: &Call, over: oneshot::Sender<bool>) -> Result<Answer, shim::Error> {
        let answer = self.shim.files(call).await;
        // Who waits for the connection may have it.
        let _ = over.send(answer.is_ok());
        answer
    }

    fn open(&self, request: Request) -> Result<(Socket, Call), Error> {
        let socket = Socket::open(&self.shared.settings.streams())?;
        let call = self.call(request, Some(socket.path.clone()))?;
        Ok((socket, call))
    }

    fn call(&self, request: Request, data: Option<PathBuf>) -> Result<Call, Error> {
        let snapshot = self.shared.images.snapshot(&self.container.id)?;
        Ok(Call {
            container: self.container.id.clone(),
            request,
            data,
            bundle: self.shared.places(self.container.id.as_str()).bundle,
            options: self.shared.settings.shim_options(),
            lower: snapshot.lower,
            upper: snapshot.upper,
            work: snapshot.work,
            config: config(&self.container, &self.shared.places(self.container.id.as_str()).mounts),
        })
    }

    /// What the shim's answer means to a client.
    fn told(
        &self,
        request: &Request,
        answer: Result<Answer, shim::Error>,
    ) -> Result<Answer, Error> {
        let path = match request {
            Request::Stat { path } | Request::Get { path } => path,
            Request::Put(put) => &put.path,
            _ => "",
        };
        let container = || self.asked.clone();
        answer.map_err(|error| match error {
            shim::Error::Refused { kind: Kind::NotFound, .. } if !path.is_empty() => {
                Error::NoSuchFile { path: path.to_owned(), container: container() }
            }
            shim::Error::Refused { kind: Kind::Invalid, message } => Error::Mount(message),
            shim::Error::Refused { kind: Kind::Conflict, .. } => {
                StateError::NotRunning(container()).into()
            }
            error => error.into(),
        })
    }
}

/// What a sandbox must know of a container that does not run: its wall and its bind mounts.
fn config(container: &Container, staged: &Path) -> serde_json::Value {
    let points = container.mounts.iter().enumerate();
    let points = points.filter(|(_, point)| point.kind != MountKind::Tmpfs);
    let mounts = points.map(|(number, point)| {
        let (fstype, source, options) = point.oci(&staged::place(staged, number));
        let destination = &point.destination;
        serde_json::json!({
            "type": fstype, "source": source, "destination": destination, "options": options,
        })
    });
    let mut config = serde_json::json!({
        "ociVersion": "1.2.0",
        "annotations": { annotation::ISOLATION: container.isolation.to_string() },
        "mounts": mounts.collect::<Vec<_>>(),
    });
    if let Some(mib) = container.host.storage_mib {
        config["annotations"][annotation::SCRATCH_MIB] = mib.to_string().into();
    }
    config
}

/// A volume's user while its files are worked on: not the container itself, whose starts and ends are
/// told as events.
fn user(container: &Container) -> String {
    format!("files of {}", container.id)
}

fn mount_volumes(shared: &Shared, container: &Container) -> Result<(), Error> {
    let user = user(container);
    let points = container.mounts.iter().filter(|point| point.kind == MountKind::Volume);
    points.map(|point| &point.name).try_for_each(|name| shared.volumes.mount(name, &user))?;
    staged::mount(&shared.places(container.id.as_str()).mounts, container, &shared.images)
}

async fn unmount_volumes(shared: Arc<Shared>, container: Arc<Container>) {
    let unmount = move || {
        let user = user(&container);
        if let Err(error) = staged::unmount(&shared.places(container.id.as_str()).mounts) {
            tracing::warn!(container = %container.id, %error, "a mount of it is still there");
        }
        for point in container.mounts.iter().filter(|point| point.kind == MountKind::Volume) {
            if let Err(error) = shared.volumes.unmount(&point.name, &user) {
                tracing::warn!(volume = point.name, %error, "volume is still mounted");
            }
        }
        Ok(())
    };
    // What failed was told.
    let _ = blocking(unmount).await;
}

/// Where the shim brings or fetches data. Its name goes with it.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    fn open(directory: &Path) -> Result<Self, Error> {
        let id = names::fresh_id();
        let path =
            directory.join(format!("files-{}.sock", id.as_str().get(..16).unwrap_or_default()));
        let failed = |source| Error::File { action: "listen on", path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(directory).map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        Ok(Self { listener, path })
    }

    /// The shim's connection; `None` when it answered without one.
    async fn accept(&self, ended: oneshot::Receiver<bool>) -> io::Result<Option<UnixStream>> {
        let done = tokio::select! {
            biased;
            accepted = self.listener.accept() => return accepted.map(|(stream, _)| Some(stream)),
            done = ended => done,
        };
        match done {
            // It has connected, then.
            Ok(true) => self.listener.accept().await.map(|(stream, _)| Some(stream)),
            _ => Ok(None),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File { action: "pass data through", path: self.path.clone(), source }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What is not there need not go.
        let _ = std::fs::remove_file(&self.path);
    }
}
