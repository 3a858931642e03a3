//! The server: one sandbox, its processes, their streams and exit codes, until it holds nothing.
//!
//! ```text
//!   threads: main (waits for the end of all)   ttrpc's   one keeper and one waiter a process
//!            reaper                            events, with a real containerd
//! ```

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::args::Target;
use crate::events::Events;
use crate::tasks::{Idle, Tasks};
use crate::{files, log, place, reaper, service};

/// How long a server that holds nothing waits for a create or a shutdown. A caller who died in
/// between leaves no server behind.
const LINGER: Duration = Duration::from_secs(60);
/// How long the last events may take.
const EVENTS_PATIENCE: Duration = Duration::from_secs(5);
/// What ttrpc's threads get to send the reply to the request that ended the server: they do not
/// tell when they have.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// The OOM score that keeps the kernel from killing the supervisor before what it supervises.
const OOM_SCORE: i32 = -998;

/// Why the server could not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No bundle to work in.
    #[error("find the bundle")]
    Bundle(#[source] io::Error),
    /// Standard input is not the listening socket.
    #[error("take the socket from standard input")]
    Socket(#[source] io::Error),
    /// The process cannot be made a daemon.
    #[error("leave the caller's session")]
    Session(#[source] io::Error),
    /// The kernel does not hand over orphans.
    #[error("become the reaper of orphans")]
    Subreaper(#[source] io::Error),
    /// ttrpc does not start.
    #[error("serve the task API")]
    Server(#[source] ttrpc::Error),
}

/// Serves until there is nothing left to serve.
pub(crate) fn run(target: &Target) -> Result<(), Error> {
    let bundle = place::bundle(target).map_err(Error::Bundle)?;
    log::open(&bundle, target.debug);
    let listener = take_socket().map_err(|error| Error::Socket(error.into()))?;
    become_daemon()?;
    let oom_score = lower_oom_score();
    reaper::start();

    let events = Arc::new(Events::from_environment(&target.namespace));
    let (idle, told) = mpsc::channel();
    let tasks = Arc::new(Tasks::new(Arc::clone(&events), oom_score, idle));
    let mut server = ttrpc::Server::new()
        .add_listener(listener.into_raw_fd())
        .map_err(Error::Server)?
        .register_service(service::methods(&tasks))
        .register_service(files::methods(&tasks));
    server.start().map_err(Error::Server)?;
    tracing::info!(container = %target.id, "shim serves");

    wait_until_idle(&tasks, &told);
    let socket = target.socket.as_deref().and_then(|address| address.strip_prefix("unix://"));
    if let Some(socket) = socket {
        place::remove(&bundle, Path::new(socket));
    }
    tasks.flush();
    events.finish(EVENTS_PATIENCE);
    std::thread::sleep(LAST_WORDS);
    tracing::info!(container = %target.id, "shim ends");
    Ok(())
}

/// The listening socket, which `start` passed as standard input; `/dev/null` takes its place.
fn take_socket() -> rustix::io::Result<OwnedFd> {
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(listener)
}

fn become_daemon() -> Result<(), Error> {
    rustix::process::setsid().map_err(|error| Error::Session(error.into()))?;
    let own = Some(rustix::process::getpid());
    rustix::process::set_child_subreaper(own).map_err(|error| Error::Subreaper(error.into()))?;
    // So that no mount is kept busy.
    std::env::set_current_dir("/").map_err(Error::Session)
}

/// Lowers our OOM score where we may; gives the score before, which containers are to have.
fn lower_oom_score() -> i32 {
    const FILE: &str = "/proc/self/oom_score_adj";
    let before = std::fs::read_to_string(FILE).ok();
    let before = before.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    match std::fs::write(FILE, before.min(OOM_SCORE).to_string()) {
        Ok(()) => {}
        Err(error) => tracing::debug!(%error, "oom score stays"),
    }
    before
}

fn wait_until_idle(tasks: &Tasks, told: &Receiver<Idle>) {
    loop {
        let word = if tasks.idle() {
            told.recv_timeout(LINGER)
        } else {
            told.recv().map_err(RecvTimeoutError::from)
        };
        match word {
            Ok(Idle::Empty) => {}
            Err(RecvTimeoutError::Timeout) if !tasks.idle() => {}
            Ok(Idle::Quit) | Err(_) => return,
        }
    }
}
