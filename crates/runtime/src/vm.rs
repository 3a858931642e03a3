//! Containers behind a VM's wall: supervised by `containerd-shim-hull-v2`, which this program starts and
//! asks by its task API. No hypervisor is linked into `hull-runtime`.
//!
//! ```text
//!   create:  reserve the name -> shim start -> vm.json -> Create, with the caller's streams
//!   others:  vm.json -> connect -> one call or two
//!   delete:  Delete -> Shutdown -> the shim is gone -> the directory goes
//!
//!   ROOT/ID/vm.json       Record, and the lock as other containers have it
//!   ROOT/ID/config.json   the configuration as the shim reads it: this directory is its bundle
//!   ROOT/ID/shim.log …    the shim's own
//! ```
//!
//! With `--host` a container is made by the shim of another, in its VM: both have the one address. Whoever
//! deletes the last of them ends the shim.
//!
//! A shim that is gone took the VM with it: such a container has stopped.

mod bundle;
mod create;
mod exec;
mod foreground;
mod host;
mod record;
mod shim;
mod tasks;
mod ttrpc;
mod verbs;

use std::io;
use std::path::PathBuf;

use spec::{ContainerId, Kind};

pub(crate) use create::{Making, create, run};
pub(crate) use record::Machine;

/// Why a container in a VM could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// As containers behind the other wall say it.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// The shim is not installed.
    #[error(
        "a VM needs containerd-shim-hull-v2, which is neither in HULL_BIN_DIR, nor beside hull-runtime, \
         nor in PATH"
    )]
    NoShim,
    /// The shim cannot be executed.
    #[error("execute {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The shim's program failed.
    #[error("containerd-shim-hull-v2 {command}: {said}")]
    Shim {
        /// What it should do.
        command: &'static str,
        /// What it said.
        said: String,
    },
    /// The shim answered with an error.
    #[error("{message}")]
    Refused {
        /// Its kind.
        kind: Kind,
        /// A chain already.
        message: String,
    },
    /// The shim does not answer.
    #[error("{call}: the container's shim is gone")]
    Gone {
        /// What was asked.
        call: &'static str,
        /// How that showed.
        source: io::Error,
    },
    /// The shim answers something else.
    #[error("{call}: what the shim says {what}")]
    Answer {
        /// What was asked.
        call: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The configuration or the command line asks for what a VM cannot have.
    #[error("{what}: {why}")]
    Unsupported {
        /// The field or flag.
        what: String,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// The container that `--host` names has no VM for another.
    #[error("--host {id}: {why}")]
    Host {
        /// It.
        id: ContainerId,
        /// Why not, and what to do.
        why: &'static str,
        /// Of this kind.
        kind: Kind,
    },
    /// The VM that `--host` names is not as the section `vm` wants it.
    #[error("{asked}: the VM that --host names has {has}: leave it out, or ask for that")]
    OtherVm {
        /// The field and what it says.
        asked: String,
        /// What that was made with.
        has: String,
    },
    /// Its name is that of a VM with others in it.
    #[error(
        "the VM that was made for a container of this name runs on for container {0}: delete that first, \
         or take another name"
    )]
    Lingers(ContainerId),
    /// The configuration is wrong.
    #[error("{field}: {why}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The host's set-up.
    #[error(transparent)]
    Options(#[from] spec::options::InvalidVariable),
    /// A file or directory.
    #[error("{action} {}", path.display())]
    File {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A document.
    #[error("{what}")]
    Json {
        /// Which.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Whoever asked for it has changed his mind.
    #[error("signal {signal} came while the VM was being made")]
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// Something of this process.
    #[error("{step}")]
    Step {
        /// What was done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Container(error) => error.kind(),
            Self::Refused { kind, .. } | Self::Host { kind, .. } => *kind,
            Self::Unsupported { .. } | Self::OtherVm { .. } | Self::NoShim => Kind::Unsupported,
            Self::Lingers(_) => Kind::Conflict,
            Self::Invalid { .. } | Self::Options(_) => Kind::Invalid,
            Self::Gone { .. } | Self::Interrupted { .. } => Kind::Unavailable,
            Self::Spawn { .. }
            | Self::Shim { .. }
            | Self::Answer { .. }
            | Self::File { .. }
            | Self::Json { .. }
            | Self::Step { .. } => Kind::Internal,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }

    pub(crate) fn unsupported(what: impl Into<String>, why: &'static str) -> Self {
        Self::Unsupported { what: what.into(), why }
    }
}
