//! Starting: from the record to a running program, or back.
//!
//! ```text
//!   namespace, address  ->  bundle, shim  ->  record  ->  create  ->  attachers  ->  start
//!         |                     |               |           |             |            |
//!         +---------------------+---------------+-any failure: free what there is------+
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use image::Snapshot;
use spec::{Kind, Pid};

use super::Owner;
use super::join::Joined;
use crate::bundle;
use crate::config::Share;
use crate::container::{Status, Wall};
use crate::error::{Error, StateError};
use crate::logging;
use crate::request::Change;
use crate::shim::{self, Creation, Shim};
use crate::shm;
use crate::staged;

/// Where the shim tells what the wall is made of.
pub(super) const WALL: &str = "isolation.json";

impl Owner {
    /// Runs the program. On failure nothing of it is left and the record tells why.
    pub(crate) async fn start(&mut self) -> Result<Change, Error> {
        self.keep = false;
        match self.container.status {
            Status::Running { .. } | Status::Restarting => return Ok(Change::Already),
            Status::Paused { .. } => {
                return Err(StateError::Paused(self.id().to_owned()).into());
            }
            Status::Removing => return Err(StateError::Removing(self.id().to_owned()).into()),
            Status::Created | Status::Exited | Status::Dead => {}
        }
        self.start_counting();
        self.try_launch().await.map(|()| Change::Done)
    }

    /// Launches it, or leaves nothing of it.
    pub(super) async fn try_launch(&mut self) -> Result<(), Error> {
        // Whoever copies into it or out of it comes first.
        drop(Arc::clone(&self.still).write_owned().await);
        match self.launch().await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.not_started(&error).await;
                Err(error)
            }
        }
    }

    async fn launch(&mut self) -> Result<(), Error> {
        self.shared.settings.walls.check(self.container.isolation)?;
        let snapshot = self.shared.images.snapshot(&self.container.id)?;
        let joined = self.joined()?;
        self.left_alone()?;
        self.make_streams()?;
        let (shared, id) = (Arc::clone(&self.shared), self.id().to_owned());
        let (bundle, vm) = (self.places.bundle.clone(), joined.vm.clone());
        self.container.vm_of = vm.as_ref().map(|vm| vm.of.clone());
        let (written, shim) = tokio::join!(
            async {
                self.connect().await?;
                self.write_bundle(&snapshot, joined).await
            },
            async {
                match &vm {
                    Some(vm) => Shim::connect(&id, &vm.address).await,
                    None => Shim::spawn(&shared.settings, &id, &bundle).await,
                }
            },
        );
        let shim = self.shim.insert(shim?).clone();
        written?;
        self.container.shim = Some(shim.address().to_owned());
        // Whoever finds the record after a crash must find the shim.
        let mut recorded = self.shared.store.put(&self.container);
        if vm.is_some() {
            // Another's shim leaves no trace of this container on the host.
            recorded.done().await?;
            recorded = self.shared.store.put(&self.container);
        }
        let creation = Creation {
            places: &self.places,
            snapshot: &snapshot,
            settings: &self.shared.settings,
            terminal: self.container.config.tty,
            stdin: self.container.config.open_stdin,
        };
        let created = shim.create(&creation).await.map_err(|error| self.refused(&error))?;
        recorded.done().await?;
        self.connect_waiting().await?;
        self.watch_end(&shim);
        let started = shim.start("").await.map_err(|error| self.refused(&error))?;
        self.running(started.or(created));
        self.shared.introduce(&self.container).await;
        Ok(())
    }

    /// The directory of stream sockets, and what the shim is to do with the log.
    fn make_streams(&self) -> Result<(), Error> {
        use std::os::unix::fs::DirBuilderExt;
        let failed = |action, path: &std::path::Path| {
            let path = path.to_owned();
            move |source| Error::File { action, path, source }
        };
        let streams = &self.places.streams;
        let _ = std::fs::remove_dir_all(streams);
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(streams).map_err(failed("make", streams))?;
        let plan = logging::plan(&self.container, &self.places.bundle)?;
        let plan = serde_json::to_vec(&plan).expect("strings and numbers become JSON");
        let file = streams.join(spec::journal::FILE);
        std::fs::write(&file, plan).map_err(failed("write", &file))
    }

    async fn write_bundle(&self, snapshot: &Snapshot, joined: Joined) -> Result<(), Error> {
        let (container, snapshot) = (self.container.clone(), snapshot.clone());
        let (places, size) =
            (self.places.clone(), self.size.or(self.container.config.console_size));
        let shared = Arc::clone(&self.shared);
        let (links, served) = (self.shared.link_variables(&container), self.names.is_some());
        let gateways = self.shared.bridge.gateways();
        self.shared.check_links(&container)?;
        let neighbours = self.shared.neighbours(&container, &self.shared.live());
        blocking(move || {
            if joined.shm.is_some() && container.host.openings.ipc == Share::Shareable {
                shm::mount(&places.shm, container.host.shm_size)?;
            }
            shared.mount_volumes(&container)?;
            staged::mount(&places.mounts, &container, &shared.images)?;
            bundle::write(&bundle::Inputs {
                container: &container,
                snapshot: &snapshot,
                network: joined.network.as_deref(),
                links: &links,
                served,
                gateways: &gateways,
                pid: joined.pid.as_deref(),
                ipc: joined.ipc.as_deref(),
                shm: joined.shm.as_deref(),
                vm: joined.vm.as_ref(),
                bundle: &places.bundle,
                staged: &places.mounts,
                init: &shared.settings.init(),
                size,
                cdi_dirs: &shared.settings.cdi_dirs,
            })?;
            if !neighbours.is_empty() {
                bundle::introduce(&container, &gateways, &neighbours)?;
            }
            joined.copy_files()
        })
        .await
    }

    /// Opens the lines of those who attached before the start.
    async fn connect_waiting(&mut self) -> Result<(), Error> {
        let socket = self.places.streams.join("attach.sock");
        for (streams, client) in std::mem::take(&mut self.waiting) {
            if !client.is_closed() {
                // The client may go at any time.
                let _ = client.send(shim::attach(&socket, streams).await?);
            }
        }
        Ok(())
    }

    /// Has the end of this run told to the owner.
    pub(super) fn watch_end(&mut self, shim: &Shim) {
        self.run += 1;
        let (run, shim, queue) = (self.run, shim.clone(), self.queue.clone());
        tokio::spawn(async move {
            let outcome = shim.wait("").await;
            Self::later(&queue, move |owner| Box::pin(owner.ended(run, outcome)));
        });
    }

    fn running(&mut self, pid: Option<Pid>) {
        let Some(pid) = pid.or_else(|| Pid::new(1)) else { return };
        self.container.status = Status::Running { pid };
        self.container.started = Some(SystemTime::now());
        self.container.exit_code = 0;
        self.container.oom_killed = false;
        self.container.error.clear();
        self.read_wall();
        self.begin_checks();
        self.record();
        self.tell("start", &[]);
        tracing::info!(container = %self.container.id, isolation = %self.container.isolation, "container started");
    }

    /// Reads what the shim told of the wall.
    pub(super) fn read_wall(&mut self) {
        let text = std::fs::read(self.places.file(WALL)).unwrap_or_default();
        self.container.wall = serde_json::from_slice::<Wall>(&text).ok();
    }

    async fn not_started(&mut self, error: &Error) {
        self.run += 1;
        self.tear_down().await;
        self.waiting.clear();
        self.container.exit_code = match error.kind() {
            Kind::CommandNotFound => 127,
            Kind::CommandNotExecutable => 126,
            _ => 128,
        };
        self.container.error = spec::chain(error);
        self.on_disk(self.record()).await;
        if self.container.host.auto_remove
            && let Err(error) = self.remove(true).await
        {
            self.warn("removal", &error);
        }
    }

    /// What the shim says of a container that it did not make or start. Clients tell the exit codes
    /// 126 and 127 by the text, so it is there whatever the runtime says.
    fn refused(&self, error: &shim::Error) -> Error {
        let kind = error.kind();
        let message = spec::chain(error);
        let (known, text) = match kind {
            Kind::CommandNotFound => ("executable file not found", " in $PATH"),
            Kind::CommandNotExecutable => ("permission denied", ""),
            _ => return Error::Start { message, kind },
        };
        if message.contains(known) {
            return Error::Start { message, kind };
        }
        let path = &self.container.path;
        Error::Start { message: format!("exec: {path:?}: {known}{text}: {message}"), kind }
    }

    /// Frees what a run holds: task, shim, network, stream sockets. Goes on over failures.
    pub(super) async fn tear_down(&mut self) {
        if let Some(shim) = self.shim.take() {
            let shared = self.shares_vm();
            match shim.delete("").await {
                Ok(_) => shim.shutdown(!shared).await,
                Err(error) if error.kind() == Kind::NotFound => shim.shutdown(!shared).await,
                Err(error) => {
                    self.warn("delete of the task", &error);
                    shim.shutdown(!shared).await;
                    self.bury().await;
                }
            }
        }
        self.container.vm_of = None;
        self.container.shim = None;
        self.container.wall = None;
        self.free_host().await;
    }

    /// Has the shim's program free what a killed shim left; gives the exit if it was known.
    pub(super) async fn bury(&mut self) -> Option<spec::Exit> {
        match shim::bury(&self.shared.settings, self.id(), &self.places.bundle).await {
            Ok(exit) => exit,
            Err(error) => {
                self.warn("clean-up after the shim", &error);
                None
            }
        }
    }

    /// Frees network and sockets.
    pub(super) async fn free_host(&mut self) {
        let (shared, places) = (Arc::clone(&self.shared), self.places.clone());
        let networks: Vec<String> = self.container.endpoints.keys().cloned().collect();
        let free_network = self.free_network();
        let container = self.container.clone();
        let free = move || {
            if let Err(error) = staged::unmount(&places.mounts) {
                tracing::warn!(container = %container.id, error = %spec::chain(&error), "a mount of it is still there");
            }
            shared.unmount_volumes(&container);
            if container.host.openings.ipc == Share::Shareable
                && let Err(error) = shm::unmount(&places.shm)
            {
                tracing::warn!(container = %container.id, error = %spec::chain(&error), "shared memory is still mounted");
            }
            free_network()
        };
        if let Err(error) = blocking(free).await {
            self.warn("network clean-up", &error);
        }
        for network in networks {
            self.shared.tell_network(&self.container, &network, "disconnect");
        }
        let _ = std::fs::remove_dir_all(&self.places.streams);
    }

    pub(super) fn warn(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) {
        tracing::warn!(container = %self.container.id, error = %spec::chain(error), "{what} failed");
    }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Closing))
}
