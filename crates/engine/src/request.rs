//! Requests to the engine and its answers, other than a container's own description.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spec::{Isolation, Signal};
use tokio::sync::oneshot;

use crate::config::Size;
use crate::container::Wall;
use crate::logging::LogDriver;
use crate::walls::Walls;

/// Answer to a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The new container's id.
    pub id: String,
    /// What was accepted but will not be as asked.
    pub warnings: Vec<String>,
}

/// Whether a request changed anything; a front answers 204 or 304.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did what was asked.
    Done,
    /// It was so already.
    Already,
}

/// How to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stop {
    /// Seconds until SIGKILL, negative for ever; `None` takes the container's.
    pub timeout: Option<i64>,
    /// What to send first; `None` takes the container's.
    pub signal: Option<Signal>,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remove {
    /// Kill it if it runs.
    pub force: bool,
    /// Remove its volumes that nobody named.
    pub volumes: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does not run: at once if it is created or has ended.
    #[default]
    NotRunning,
    /// The next end of a run, or its removal before there is one.
    NextExit,
    /// It is removed.
    Removed,
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The exit status, 0 to 255.
    pub code: u8,
    /// What went wrong in waiting, as when the container's removal failed.
    pub error: Option<String>,
}

/// Which containers to list. Within one list a match of any entry suffices; all lists must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Those that do not run too. Implied by `status`, `exited` and `limit`.
    pub all: bool,
    /// The newest so many.
    pub limit: Option<usize>,
    /// Ids or their prefixes.
    pub id: Vec<String>,
    /// Parts of names.
    pub name: Vec<String>,
    /// `key` or `key=value`; every one must be there.
    pub label: Vec<String>,
    /// Words of [`crate::Status::name`].
    pub status: Vec<String>,
    /// Exit statuses.
    pub exited: Vec<u8>,
    /// Images by reference or id.
    pub ancestor: Vec<String>,
    /// Ports that the image or the client exposes, `80/tcp`.
    pub expose: Vec<String>,
    /// Sources or destinations of what is mounted.
    pub volume: Vec<String>,
    /// Networks by name.
    pub network: Vec<String>,
    /// Words of [`crate::HealthStatus::name`], or `none`.
    pub health: Vec<String>,
    /// Walls.
    pub isolation: Vec<Isolation>,
    /// Those made before the container with this name or id.
    pub before: Option<String>,
    /// Those made after the container with this name or id.
    pub since: Option<String>,
}

/// Which streams to attach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Feed standard input.
    pub stdin: bool,
    /// See standard output.
    pub stdout: bool,
    /// See standard error.
    pub stderr: bool,
}

/// A process to be started in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecCreate {
    /// Its words; at least one.
    pub cmd: Vec<String>,
    /// Over the container's environment.
    pub env: Vec<String>,
    /// `user[:group]`; empty takes the container's.
    pub user: String,
    /// Empty takes the container's.
    pub working_dir: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it has all capabilities.
    pub privileged: bool,
    /// The keys by which its client leaves the terminal; `None` for the usual ones.
    pub detach_keys: Option<String>,
    /// Which of its streams its client will see.
    pub streams: Streams,
    /// The terminal's first size.
    pub console_size: Option<Size>,
}

/// How to start an exec.
#[derive(Debug, Default)]
pub struct ExecStart {
    /// Nobody looks at its streams.
    pub detach: bool,
    /// The terminal's first size, over the one told at creation.
    pub console_size: Option<Size>,
    /// Tells when the program may run; all that goes before is done meanwhile. If the other side is
    /// dropped it does not run. `None` for at once.
    pub gate: Option<oneshot::Receiver<()>>,
}

/// An exec as its inspection shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container it is in.
    pub container: String,
    /// As it was asked.
    pub request: ExecCreate,
    /// Where it is in its life.
    pub state: ExecState,
}

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecState {
    /// Not started yet.
    Created,
    /// Being started, or running with this host process (0 until it is known).
    Running {
        /// Process number on the host; a VM's worker for all behind it.
        pid: i32,
    },
    /// It ended, or could not be started (126, 127).
    Exited {
        /// The exit status.
        code: u8,
    },
}

/// A container's processes as `ps` prints them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// Column heads.
    pub titles: Vec<String>,
    /// One row a process, as wide as `titles`.
    pub rows: Vec<Vec<String>>,
}

/// Facts for `info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Containers that run, without the paused.
    pub running: usize,
    /// Containers that are paused.
    pub paused: usize,
    /// Containers that do not run.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// Which wall is usual, and why.
    pub usual: Walls,
    /// How the output of a container that does not say it is kept.
    pub logging: LogDriver,
    /// Who listens to events.
    pub listeners: usize,
    /// Where everything is kept.
    pub data_root: std::path::PathBuf,
    /// What each isolation's wall is made of on this host, as its newest container found it.
    pub walls: BTreeMap<String, Wall>,
    /// An id that is the same for every start of this engine, made with its database.
    pub id: String,
    /// What the engine is called by, `KEY=VALUE`.
    pub labels: Vec<String>,
}
