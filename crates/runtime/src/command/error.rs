//! What can go wrong with a command.

use std::io;
use std::path::PathBuf;

use spec::Kind;

use crate::{layers, vm, wall};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The container could not be made, changed or removed.
    #[error("{action} {id}")]
    Container {
        /// The command.
        action: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: container::Error,
    },
    /// The list of containers could not be read.
    #[error("list")]
    List(#[source] container::Error),
    /// A file that the command line names or implies.
    #[error("{action} {}", path.display())]
    File {
        /// What was done to it.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A JSON file that is not what it should be.
    #[error("{}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The flags and the configuration do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A descriptor that was to be handed on is not there.
    #[error("--preserve-fds: descriptor {number}")]
    Descriptor {
        /// Which.
        number: i32,
        /// Why.
        source: io::Error,
    },
    /// ps(1) did not list the processes.
    #[error("ps: {status}: {output}")]
    Ps {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        output: String,
    },
    /// ps(1) was told to print no process ids.
    #[error("couldn't find PID field in ps output")]
    NoPids,
    /// It asks for a wall or a kernel that is not the host's.
    #[error("{action} {id}")]
    Wall {
        /// The command.
        action: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: wall::Error,
    },
    /// Its root filesystem of layers could not be made.
    #[error("{action} {id}")]
    Layers {
        /// The command.
        action: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: layers::Error,
    },
    /// The container in a VM could not be made, changed or removed.
    #[error("{action} {id}")]
    Vm {
        /// The command.
        action: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: vm::Error,
    },
    /// criu did not do it.
    #[error(transparent)]
    Criu(#[from] crate::criu::Error),
    /// Whatever kept `exec` from running its program.
    #[error(transparent)]
    Exec(Box<Error>),
    /// Waiting for the process, or writing the answer.
    #[error("{step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            // Told from the statuses of programs, as runc does.
            Self::Exec(error) => match error.status() {
                1 => 255,
                status => status,
            },
            Self::Container { source, .. } => of_kind(source.kind()),
            Self::Vm { source: vm::Error::Interrupted { signal }, .. } => {
                u8::try_from(128 + signal).unwrap_or(1)
            }
            Self::Vm { source, .. } => of_kind(source.kind()),
            Self::Layers { source, .. } => of_kind(source.kind()),
            _ => 1,
        }
    }

    pub(super) fn vm(action: &'static str, id: impl ToString) -> impl FnOnce(vm::Error) -> Self {
        move |source| Self::Vm { action, id: id.to_string(), source }
    }

    pub(super) fn layers(
        action: &'static str,
        id: impl ToString,
    ) -> impl FnOnce(layers::Error) -> Self {
        move |source| Self::Layers { action, id: id.to_string(), source }
    }

    /// For `map_err` on an inherited descriptor.
    pub(crate) fn descriptor(number: i32) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Descriptor { number, source }
    }

    pub(super) fn container(
        action: &'static str,
        id: impl ToString,
    ) -> impl FnOnce(container::Error) -> Self {
        move |source| Self::Container { action, id: id.to_string(), source }
    }

    /// For `map_err` on a file.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }

    pub(super) fn step(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

fn of_kind(kind: Kind) -> u8 {
    match kind {
        Kind::CommandNotFound => 127,
        Kind::CommandNotExecutable => 126,
        _ => 1,
    }
}
