//! Why a verb was not done.

use std::io;
use std::path::PathBuf;

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Hull listens on unix sockets only.
    #[error("host {0:?} is not supported: want unix:///PATH")]
    Host(String),
    /// Nobody listens at the socket.
    #[error("no engine answers at {}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    /// The conversation broke off.
    #[error("{request}")]
    Http { request: String, source: hyper::Error },
    /// The engine refused; the text is its.
    #[error("{message}")]
    Refused { status: u16, message: String },
    /// The container's program could not be started.
    #[error("{message}")]
    Start { code: u8, message: String },
    /// The engine could not be brought up.
    #[error("start {}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    /// It was started but does not answer.
    #[error("{} does not answer; its messages are in {}", program.display(), log.display())]
    Silent { program: PathBuf, log: PathBuf },
    /// It cannot be stopped.
    #[error("stop the engine")]
    Stop { source: io::Error },
    /// An argument makes no sense.
    #[error("invalid {option} {value:?}: want {want}")]
    Argument { option: &'static str, value: String, want: &'static str },
    /// `-t` needs a terminal.
    #[error("the input device is not a terminal")]
    NoTerminal,
    /// A file, or one of our own streams.
    #[error("{what}")]
    File { what: String, source: io::Error },
    /// Some of several names failed; each was reported as it happened.
    #[error("{0} of the names failed")]
    Some(usize),
    /// The asynchronous runtime.
    #[error("start threads")]
    Runtime(#[source] io::Error),
}

impl Error {
    /// The exit status that it has of its own.
    pub(crate) fn code(&self) -> Option<u8> {
        match self {
            Self::Start { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Wraps the failure of an operation on `what`.
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::File { what, source }
    }
}
