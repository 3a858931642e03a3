//! The containers beneath one root directory.
//!
//! ```text
//!   ROOT/ID/state.json    Record, replaced by rename
//!   ROOT/ID/gate          unix socket on which init waits; gone once started
//!   ROOT/ID/seccomp.bpf   the compiled filter, for exec
//!   ROOT/ID/lock          flock: one start, exec or delete at a time
//! ```
//!
//! Every handle reads what other programs wrote: a container made by the shim is seen, killed and
//! deleted by `hull-runtime --root ROOT`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use spec::{ContainerId, Pid, ProcessInfo, Signal};

use crate::{CreateOptions, Error, Exec, ExecOptions, Launched};

/// A directory of containers. Two roots do not see each other.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A container that exists. Cheap; holds no descriptor and no lock between calls.
#[derive(Debug, Clone)]
pub struct Container {
    record: Record,
}

/// What is kept of a container, fixed at its creation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its name, unique in its store.
    pub id: ContainerId,
    /// Its init process.
    pub pid: Pid,
    /// Field 22 of the init's `/proc/PID/stat`: tells it from a later process with the same number.
    pub started: u64,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem, absolute, as the creator saw it.
    pub rootfs: PathBuf,
    /// When it was created.
    pub created: SystemTime,
    /// Annotations of the configuration.
    pub annotations: HashMap<String, String>,
}

/// Where a container is in its life, as found in the kernel just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its environment is being made, or the creator was killed while making it.
    Creating,
    /// Its init waits at the start gate.
    Created,
    /// The user's program runs.
    Running,
    /// Every process is frozen.
    Paused,
    /// The init process has ended; its status is known to whoever reaped it.
    Stopped,
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// The init process alone.
    Init,
    /// Every process of the container.
    All,
}

impl Store {
    /// The store at `root`. The directory is made by the first `create`.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes a container whose init waits at the start gate. A failure leaves nothing: no process,
    /// cgroup, mount or file.
    pub fn create(
        &self,
        id: &ContainerId,
        options: CreateOptions<'_>,
    ) -> Result<(Container, Launched), Error> {
        todo!("{id} {options:?} {:?}", self.root)
    }

    /// The container `id`; [`spec::Kind::NotFound`] when there is none.
    pub fn load(&self, id: &ContainerId) -> Result<Container, Error> {
        todo!("{id}")
    }

    /// Every container, in order of id. One that is being made or deleted meanwhile is left out.
    pub fn list(&self) -> Result<Vec<Container>, Error> {
        todo!()
    }
}

impl Container {
    /// What was recorded at its creation.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Where it is in its life now.
    pub fn status(&self) -> Result<Status, Error> {
        todo!()
    }

    /// Opens the start gate and returns once the user's program was executed.
    /// [`spec::Kind::Conflict`] unless created; [`spec::Kind::CommandNotFound`] or
    /// [`spec::Kind::CommandNotExecutable`] when execve(2) refused, the init has then ended.
    pub fn start(&self) -> Result<(), Error> {
        todo!()
    }

    /// Sends a signal; does not wait for its effect. To a stopped container:
    /// [`spec::Kind::Conflict`] for the init, nothing at all for all.
    pub fn signal(&self, signal: Signal, to: Recipients) -> Result<(), Error> {
        todo!("{signal} {to:?}")
    }

    /// Makes another process in the container; it waits at its gate.
    /// [`spec::Kind::Conflict`] when the container is stopped or paused.
    pub fn exec(&self, options: ExecOptions<'_>) -> Result<Exec, Error> {
        todo!("{options:?}")
    }

    /// Freezes every process; returns when all are frozen.
    pub fn pause(&self) -> Result<(), Error> {
        todo!()
    }

    /// Thaws every process.
    pub fn resume(&self) -> Result<(), Error> {
        todo!()
    }

    /// Its processes by cgroup membership, in order of pid, with pids of the caller's namespace.
    pub fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        todo!()
    }

    /// Frees everything: processes that are left, cgroups, state. A container that still runs is
    /// refused with [`spec::Kind::Conflict`] unless `force`, which kills it first. The caller still
    /// reaps the init it was given.
    pub fn delete(self, force: bool) -> Result<(), Error> {
        todo!("{force}")
    }
}
