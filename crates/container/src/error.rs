//! What can go wrong with a container.

use std::io;
use std::path::PathBuf;

use spec::{ContainerId, Kind};

use crate::store::Status;
use crate::{cgroup, check, mapping, netdevice, rdt, seccomp, source};

/// Why a container could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong, or asks for what Hull does not do.
    #[error(transparent)]
    Config(#[from] check::Error),
    /// The seccomp profile cannot be compiled.
    #[error("linux.seccomp")]
    Seccomp(#[from] seccomp::Error),
    /// Users or groups cannot be mapped.
    #[error(transparent)]
    Mapping(#[from] mapping::Error),
    /// A device for a user namespace cannot be made.
    #[error(transparent)]
    Node(#[from] crate::node::Error),
    /// A mount's source cannot be opened.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The container's cgroup refused.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A network interface cannot be taken over.
    #[error(transparent)]
    NetDevice(#[from] netdevice::Error),
    /// A resctrl group refused.
    #[error(transparent)]
    Rdt(#[from] rdt::Error),
    /// systemd, which was to manage the container's cgroups.
    #[error(transparent)]
    Systemd(Box<crate::systemd::Error>),
    /// No such container in this store; the words are those that containerd looks for.
    #[error("container does not exist")]
    NotFound {
        /// Its name.
        id: ContainerId,
    },
    /// The name is taken in this store.
    #[error("container with given ID already exists")]
    Exists {
        /// The name.
        id: ContainerId,
    },
    /// The container is not in a state that allows it.
    #[error("{}", refusal(action, *status))]
    State {
        /// What was asked, by the command's name.
        action: &'static str,
        /// Where it is in its life.
        status: Status,
    },
    /// There is no process to signal; the words are those that containerd looks for.
    #[error("container not running")]
    NotRunning,
    /// A file or directory of the store.
    #[error("{action} {}", path.display())]
    File {
        /// What was done to it.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of starting init.
    #[error("{step}")]
    Launch {
        /// The step.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Init ended without a word: it was killed, or the caller's `main` lacks `init::dispatch`.
    #[error("init ended before the container was ready")]
    Vanished,
    /// A step in the container failed; the message is the chain of causes.
    #[error("{message}")]
    Init {
        /// The class of the failure.
        kind: Kind,
        /// The chain of what failed.
        message: String,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] crate::hook::Error),
}

impl From<crate::systemd::Error> for Error {
    fn from(error: crate::systemd::Error) -> Self {
        Self::Systemd(Box::new(error))
    }
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Mapping(error) => error.kind(),
            Self::Source(error) => error.kind(),
            Self::Node(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
            Self::Cgroup(error) => error.kind(),
            Self::Systemd(error) => error.kind(),
            Self::NotFound { .. } => Kind::NotFound,
            Self::Exists { .. } => Kind::Exists,
            Self::State { .. } | Self::NotRunning => Kind::Conflict,
            Self::File { source, .. } | Self::Launch { source, .. } => kind_of(source),
            Self::Init { kind, .. } => *kind,
            Self::Vanished | Self::NetDevice(_) | Self::Rdt(_) | Self::Hook(_) => Kind::Internal,
        }
    }

    /// For `map_err` on a file of the store.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }

    /// For `map_err` on a step of the launch.
    pub(crate) fn launch<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Launch { step, source: source.into() }
    }
}

/// Why `action` is refused, in the words of runc, which its callers look for.
fn refusal(action: &str, status: Status) -> String {
    match (action, status) {
        ("start", Status::Running) => "cannot start an already running container".to_owned(),
        ("start", Status::Stopped) => "cannot start a container that has stopped".to_owned(),
        ("exec", Status::Stopped) => "cannot exec in a stopped container".to_owned(),
        ("exec", Status::Paused) => {
            "cannot exec in a paused container (use --ignore-paused to override)".to_owned()
        }
        ("pause", _) => format!("container not running: it is {}", status.name()),
        ("resume", _) => format!("container not paused: it is {}", status.name()),
        ("delete", _) => {
            format!("cannot delete container that is not stopped: {}", status.name())
        }
        _ => format!("cannot {action} a container in the {} state", status.name()),
    }
}

/// The kind of a system call's failure where nothing more is known.
pub(crate) fn kind_of(error: &io::Error) -> Kind {
    match error.raw_os_error() {
        Some(
            libc::ENOSPC | libc::ENOMEM | libc::EDQUOT | libc::EAGAIN | libc::EMFILE | libc::ENFILE,
        ) => Kind::Exhausted,
        _ => Kind::Internal,
    }
}
