//! Builds that go on, by the names that their clients have made up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build::Context;
use image::Image;
use tokio::sync::{Notify, OnceCell, watch};
use tonic::Status;

use crate::messages::control::SolveRequest;
use crate::progress::Progress;

/// How long what asks for a build waits for its beginning.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a build can be asked for after its end.
const MEMORY: Duration = Duration::from_secs(10);
/// The most builds that are known at a time.
const MOST: usize = 1024;

/// The id of a result, or why there is none; `None` for a build of nothing.
type Returned = Result<Option<String>, Status>;

/// A build.
pub(crate) struct Job {
    /// What its client said at its beginning.
    pub(crate) request: SolveRequest,
    pub(crate) progress: Progress,
    /// What the client has made of it by the gateway.
    returned: watch::Sender<Option<Returned>>,
    /// Results by their ids.
    parts: Mutex<Vec<Part>>,
}

/// A result.
#[derive(Clone)]
pub(crate) enum Part {
    /// What was built.
    Image(Box<Image>),
    /// Files that are somewhere else, fetched when they are looked at.
    Remote(Arc<Fetched>),
}

/// Files that are somewhere else.
pub(crate) struct Fetched {
    /// Where, as a context's address.
    pub(crate) named: String,
    pub(crate) context: OnceCell<Context>,
}

impl Job {
    /// Waits until the client has done its part.
    pub(crate) async fn returned(&self) -> Result<Option<Image>, Status> {
        let mut returned = self.returned.subscribe();
        let gone = |_| Status::aborted("the build was given up");
        let returned = returned.wait_for(Option::is_some).await.map_err(gone)?.clone();
        let Some(id) = returned.transpose()?.flatten() else { return Ok(None) };
        match self.find(&id)? {
            Part::Image(image) => Ok(Some(*image)),
            // Only looked at.
            Part::Remote(_) => Ok(None),
        }
    }

    pub(crate) fn give_back(&self, returned: Returned) {
        self.returned.send_replace(Some(returned));
    }

    /// Keeps a result; gives its id.
    pub(crate) fn keep(&self, part: Part) -> String {
        let mut parts = self.lock();
        parts.push(part);
        parts.len().to_string()
    }

    /// The result of this id.
    pub(crate) fn find(&self, id: &str) -> Result<Part, Status> {
        let parts = self.lock();
        let found = id.parse().ok().and_then(|number: usize| parts.get(number.checked_sub(1)?));
        found.cloned().ok_or_else(|| Status::not_found(format!("no such ref: {id}")))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All builds.
#[derive(Default)]
pub(crate) struct Jobs {
    all: Arc<Mutex<HashMap<String, Arc<Job>>>>,
    changed: Notify,
}

impl Jobs {
    /// A new build, which is over when what this gives is dropped.
    pub(crate) fn begin(&self, request: SolveRequest) -> Result<Running, Status> {
        let name = request.r#ref.clone();
        let job = Arc::new(Job {
            request,
            progress: Progress::default(),
            returned: watch::Sender::new(None),
            parts: Mutex::default(),
        });
        let mut all = lock(&self.all);
        if name.is_empty() || all.contains_key(&name) {
            return Err(Status::already_exists(format!("there is a build {name:?} already")));
        }
        if all.len() >= MOST {
            return Err(Status::resource_exhausted(format!("{MOST} builds go on")));
        }
        all.insert(name.clone(), Arc::clone(&job));
        drop(all);
        self.changed.notify_waiters();
        Ok(Running { job, name, all: Arc::clone(&self.all) })
    }

    /// The build of this name, which may be about to begin.
    pub(crate) async fn find(&self, name: &str) -> Result<Arc<Job>, Status> {
        let beginning = async {
            loop {
                let changed = self.changed.notified();
                if let Some(job) = lock(&self.all).get(name) {
                    return Arc::clone(job);
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, beginning).await;
        found.map_err(|_| Status::not_found(format!("no such build: {name:?}")))
    }
}

/// A build that goes on.
pub(crate) struct Running {
    pub(crate) job: Arc<Job>,
    name: String,
    all: Arc<Mutex<HashMap<String, Arc<Job>>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.job.progress.end();
        let (name, all) = (std::mem::take(&mut self.name), Arc::clone(&self.all));
        // The runtime is there: this is dropped by one of its tasks.
        tokio::spawn(async move {
            tokio::time::sleep(MEMORY).await;
            lock(&all).remove(&name);
        });
    }
}

fn lock(all: &Mutex<HashMap<String, Arc<Job>>>) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
