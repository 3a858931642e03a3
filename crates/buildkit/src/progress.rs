//! What a build tells of itself, from its beginning, to whoever asks.
//!
//! The engine's builder tells one thing after the other; here each step is a vertex, which begins where the one
//! before it ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use build::Event;
use build::run::Told;
use futures_util::Stream;
use futures_util::stream;
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};
use spec::Digest;
use tokio::sync::Notify;
use tonic::Status;

use crate::job::Job;
use crate::messages::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};

/// A process's standard output.
const STDOUT: i64 = 1;
/// How much of a step's output is told, in bytes and in pieces; BuildKit has the first too.
const LOG: (usize, usize) = (2 << 20, 50_000);
/// What is said in place of the rest.
const CLIPPED: &[u8] = b"\n[output clipped, log limit 2MiB reached]\n";
/// How often it is told how far something is.
const BEAT: Duration = Duration::from_millis(100);

/// What was told so far.
#[derive(Default)]
pub(crate) struct Progress {
    told: Mutex<Messages>,
    more: Notify,
    /// How many steps there were.
    steps: AtomicUsize,
}

#[derive(Default)]
struct Messages {
    all: Vec<StatusResponse>,
    is_over: bool,
}

impl Progress {
    pub(crate) fn tell(&self, message: StatusResponse) {
        self.lock().all.push(message);
        self.more.notify_waiters();
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.more.notify_waiters();
    }

    /// What comes after the first `known` messages; `None` at the end.
    async fn after(&self, known: usize) -> Option<StatusResponse> {
        loop {
            let more = self.more.notified();
            {
                let told = self.lock();
                if let Some(message) = told.all.get(known) {
                    return Some(message.clone());
                }
                if told.is_over {
                    return None;
                }
            }
            more.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that a build tells.
pub(crate) fn follow(job: Arc<Job>) -> impl Stream<Item = Result<StatusResponse, Status>> + Send {
    stream::unfold((job, 0), |(job, known)| async move {
        let message = job.progress.after(known).await?;
        Some((Ok(message), (job, known + 1)))
    })
}

/// A build's steps as vertices.
pub(crate) struct Steps<'a> {
    job: &'a Job,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that goes on.
    now: Option<Vertex>,
    /// What goes on within it, and when that was told.
    within: Vec<(VertexStatus, Option<Instant>)>,
    /// Bytes of its output, and pieces.
    logged: (usize, usize),
}

impl<'a> Steps<'a> {
    pub(crate) fn new(job: &'a Job) -> Self {
        Self { job, state: Mutex::default() }
    }

    /// Begins a step; the one before has ended.
    pub(crate) fn begin(&self, name: impl Into<String>) {
        let mut state = self.lock();
        self.end(&mut state, "");
        let number = self.job.progress.steps.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{}/{number}", self.job.request.r#ref));
        let vertex = Vertex {
            digest: Digest::from_sha256(digest.into()).to_string(),
            name: name.into(),
            started: Some(now()),
            ..Vertex::default()
        };
        state.now = Some(vertex.clone());
        self.tell_vertex(vertex);
    }

    /// Ends the last step: well, or by this error.
    pub(crate) fn finish(&self, error: &str) {
        self.end(&mut self.lock(), error);
    }

    fn end(&self, state: &mut State, error: &str) {
        state.logged = (0, 0);
        let within = std::mem::take(&mut state.within).into_iter();
        let mut statuses: Vec<_> = within.map(|(status, _)| status).collect();
        if let Some(mut vertex) = state.now.take() {
            for status in &mut statuses {
                status.completed = Some(now());
            }
            if !statuses.is_empty() {
                self.job.progress.tell(StatusResponse { statuses, ..StatusResponse::default() });
            }
            vertex.completed = Some(now());
            error.clone_into(&mut vertex.error);
            self.tell_vertex(vertex);
        }
    }

    /// Tells how far something within the step is: bytes, and of how many, where that is known.
    pub(crate) fn count(&self, what: &str, bytes: u64, total: u64) {
        let mut state = self.lock();
        let Some(vertex) = state.now.as_ref().map(|vertex| vertex.digest.clone()) else { return };
        let known = state.within.iter().position(|(status, _)| status.id == what);
        let at = known.unwrap_or_else(|| {
            let (id, started) = (what.to_owned(), Some(now()));
            let status = VertexStatus { id, vertex, started, ..VertexStatus::default() };
            state.within.push((status, None));
            state.within.len() - 1
        });
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (status, told) = &mut state.within[at];
        (status.current, status.total) = (number(bytes), number(total));
        status.timestamp = Some(now());
        if told.is_some_and(|told| told.elapsed() < BEAT) {
            return;
        }
        *told = Some(Instant::now());
        let statuses = vec![status.clone()];
        drop(state);
        self.job.progress.tell(StatusResponse { statuses, ..StatusResponse::default() });
    }

    /// Tells what the builder says.
    pub(crate) fn hear(&self, event: Event) {
        match event {
            Event::Step { number, total, text } => self.begin(format!("[{number}/{total}] {text}")),
            Event::Cached => {
                let mut state = self.lock();
                if let Some(vertex) = &mut state.now {
                    vertex.cached = true;
                }
            }
            Event::Run(Told::Output(bytes)) => self.log(bytes),
            Event::Warning(text) => self.warn(&text, String::new()),
            Event::Pull(progress) => {
                let id = progress.id.unwrap_or_default();
                let bytes = progress.bytes.map_or((0, 0), |bytes| (bytes.current, bytes.total));
                self.count(format!("{id} {}", progress.status).trim(), bytes.0, bytes.1);
            }
            Event::Triggers(_) | Event::Image(_) | Event::Run(Told::Made(_) | Told::Removed(_)) => {
            }
        }
    }

    fn log(&self, mut msg: Vec<u8>) {
        let mut state = self.lock();
        let Some(vertex) = state.now.as_ref().map(|vertex| vertex.digest.clone()) else { return };
        let (bytes, pieces) = state.logged;
        if bytes > LOG.0 || pieces > LOG.1 {
            return;
        }
        state.logged = (bytes + msg.len(), pieces + 1);
        if state.logged.0 > LOG.0 || state.logged.1 > LOG.1 {
            msg.truncate(LOG.0 - bytes);
            msg.extend_from_slice(CLIPPED);
        }
        drop(state);
        let log = VertexLog { vertex, timestamp: Some(now()), stream: STDOUT, msg };
        let logs = vec![log];
        self.job.progress.tell(StatusResponse { logs, ..StatusResponse::default() });
    }

    /// Tells a warning, and the page that explains it, if there is one.
    pub(crate) fn warn(&self, text: &str, url: String) {
        let Some(vertex) = self.digest() else { return };
        let warnings = vec![VertexWarning { vertex, level: 1, short: text.into(), url }];
        self.job.progress.tell(StatusResponse { warnings, ..StatusResponse::default() });
    }

    fn tell_vertex(&self, vertex: Vertex) {
        let vertexes = vec![vertex];
        self.job.progress.tell(StatusResponse { vertexes, ..StatusResponse::default() });
    }

    /// The step that goes on.
    fn digest(&self) -> Option<String> {
        self.lock().now.as_ref().map(|vertex| vertex.digest.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::job::Jobs;
    use crate::messages::control::SolveRequest;

    fn running() -> crate::job::Running {
        let request = SolveRequest { r#ref: "one".to_owned(), ..SolveRequest::default() };
        Jobs::default().begin(request).expect("the first")
    }

    fn step(text: &str) -> Event {
        Event::Step { number: 1, total: 2, text: text.to_owned() }
    }

    #[tokio::test]
    async fn a_step_ends_where_the_next_begins() {
        let running = running();
        let steps = Steps::new(&running.job);
        steps.hear(step("FROM x"));
        steps.hear(Event::Cached);
        steps.hear(step("RUN y"));
        steps.hear(Event::Run(Told::Output(b"said".to_vec())));
        steps.finish("it failed");
        let job = Arc::clone(&running.job);
        drop(running);
        let told: Vec<StatusResponse> = follow(job).map(|told| told.expect("told")).collect().await;
        let vertexes: Vec<_> = told.iter().flat_map(|told| &told.vertexes).collect();
        let [from, from_ended, run, run_ended] = vertexes[..] else { panic!("{vertexes:?}") };
        assert_eq!(from.name, "[1/2] FROM x");
        assert_eq!((from.cached, from_ended.cached), (false, true));
        assert!(from.completed.is_none() && from_ended.completed.is_some());
        assert_ne!(from.digest, run.digest);
        assert_eq!(
            (run_ended.digest.as_str(), run_ended.error.as_str()),
            (run.digest.as_str(), "it failed")
        );
        let logs: Vec<_> = told.iter().flat_map(|told| &told.logs).collect();
        assert_eq!(
            (logs[0].vertex.as_str(), &logs[0].msg[..]),
            (run.digest.as_str(), &b"said"[..])
        );
    }

    #[tokio::test]
    async fn what_is_told_has_an_end() {
        let running = running();
        let steps = Steps::new(&running.job);
        steps.hear(step("RUN yes"));
        for _ in 0..100 {
            steps.hear(Event::Run(Told::Output(vec![b'y'; 1 << 16])));
            steps.count("transferring", 1, 2);
        }
        let told = running.job.progress.lock();
        let logged: usize =
            told.all.iter().flat_map(|told| &told.logs).map(|log| log.msg.len()).sum();
        assert_eq!(logged, LOG.0 + CLIPPED.len());
        assert!(told.all.iter().flat_map(|told| &told.statuses).count() < 50);
    }
}
