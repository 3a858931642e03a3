//! One container's owner: the task that alone changes its record and talks to its shim.
//!
//! ```text
//!   fronts --ask--> queue --> owner --> record --> watchers (inspect, list, wait, logs)
//!   wait on the shim --tell--^    `--> shim, network, database, events
//! ```
//!
//! A job runs to its end even if who asked has gone: a client that hangs up during `start` leaves
//! nothing half made. Jobs are short or bounded; waiting for a container's end is done by watching.

mod control;
pub(crate) mod egress;
mod end;
mod exec;
mod files;
mod health;
mod join;
mod network;
mod publish;
mod recover;
mod restart;
mod start;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::config::Size;
use crate::container::Container;
use crate::error::Error;
use crate::request::Streams;
use crate::settings::Places;
use crate::shared::Shared;
use crate::shim::Shim;
use crate::store::Written;
use exec::Entry;

pub(crate) use join::SharedVm;
pub use publish::Bindings;
pub(crate) use start::blocking;

/// What an owner is asked to do.
type Job = Box<dyn for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, ()> + Send>;

/// A container as watchers see it.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) container: Arc<Container>,
    /// How many runs have ended since the engine started.
    pub(crate) ends: u64,
    /// Set when it is removed.
    pub(crate) gone: bool,
}

/// The way to a container's owner.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    id: String,
    queue: mpsc::UnboundedSender<Job>,
    life: watch::Receiver<Life>,
}

/// The owner.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    container: Container,
    places: Places,
    life: watch::Sender<Life>,
    queue: mpsc::WeakUnboundedSender<Job>,
    /// Tells the ends of earlier runs, which come late, from that of the present one.
    run: u64,
    /// While there is a task, started or not.
    shim: Option<Shim>,
    /// Who attached before the start.
    waiting: Vec<(Streams, oneshot::Sender<UnixStream>)>,
    /// The terminal's size as a client set it before the start.
    size: Option<Size>,
    /// While it runs on networks where names are.
    names: Option<crate::dns::Server>,
    /// Set during a restart: its end does not remove it.
    keep: bool,
    /// The task that checks its health while it runs.
    monitor: Option<AbortHandle>,
    /// The wait before the present run, if it was a restart.
    waited: Option<Duration>,
    execs: BTreeMap<String, Entry>,
    /// Held by whoever reaches its files while it does not run.
    still: Arc<tokio::sync::RwLock<()>>,
}

impl Handle {
    /// Has `job` done by the owner, after what it was asked before.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        job: impl for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let job = in_order(move |owner| {
            Box::pin(async move {
                // Who asked may have gone.
                let _ = answer.send(job(owner).await);
            })
        });
        if self.queue.send(job).is_err() {
            return Err(self.gone());
        }
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// The container as it is now.
    pub(crate) fn now(&self) -> Life {
        self.life.borrow().clone()
    }

    /// A watcher of the container.
    pub(crate) fn watch(&self) -> watch::Receiver<Life> {
        self.life.clone()
    }

    fn gone(&self) -> Error {
        Error::NoSuchContainer(self.id.clone())
    }
}

/// Names the type of a job, so that its lifetimes are general.
fn in_order<F>(job: F) -> Job
where
    F: for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, ()> + Send + 'static,
{
    Box::new(job)
}

impl Owner {
    /// Starts the owner of `container` and makes it known.
    pub(crate) fn spawn(shared: &Arc<Shared>, container: Container) -> Handle {
        let (queue, jobs) = mpsc::unbounded_channel();
        let first = Life { container: Arc::new(container.clone()), ends: 0, gone: false };
        let (life, watcher) = watch::channel(first);
        let (id, name) = (container.id.to_string(), container.name.clone());
        let owner = Self {
            shared: Arc::clone(shared),
            places: shared.places(&id),
            container,
            life,
            queue: queue.downgrade(),
            run: 0,
            shim: None,
            waiting: Vec::new(),
            size: None,
            names: None,
            keep: false,
            monitor: None,
            waited: None,
            execs: BTreeMap::new(),
            still: Arc::default(),
        };
        tokio::spawn(owner.work(jobs));
        let handle = Handle { id: id.clone(), queue, life: watcher };
        shared.insert(&name, &id, handle.clone());
        handle
    }

    /// Does jobs in order until the container is removed.
    async fn work(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            job(&mut self).await;
            if self.life.borrow().gone {
                return;
            }
        }
    }

    /// Has `job` done later, from a task of the owner's own.
    fn later(
        queue: &mpsc::WeakUnboundedSender<Job>,
        job: impl for<'a> FnOnce(&'a mut Self) -> BoxFuture<'a, ()> + Send + 'static,
    ) {
        if let Some(queue) = queue.upgrade() {
            // An owner that has ended wants nothing any more.
            let _ = queue.send(in_order(job));
        }
    }

    fn id(&self) -> &str {
        self.container.id.as_str()
    }

    /// Shows the record to watchers and sends it to disk.
    fn record(&self) -> Written {
        self.show(0);
        self.shared.store.put(&self.container)
    }

    /// Waits until a change is on disk. What cannot be written is told and not waited for: the
    /// container goes on all the same.
    async fn on_disk(&self, written: Written) {
        if let Err(error) = written.done().await {
            self.warn("record", &error);
        }
    }

    /// Shows the record to watchers, and so many ends more.
    fn show(&self, ends: u64) {
        let container = Arc::new(self.container.clone());
        self.life.send_modify(|life| {
            life.container = container;
            life.ends += ends;
        });
    }

    fn tell(&self, action: &str, facts: &[(&str, String)]) {
        self.shared.tell(&self.container, action, facts);
    }
}
