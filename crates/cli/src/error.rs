//! Why a verb was not done.

use std::io;
use std::path::PathBuf;

use spec::Kind;
use spec::fault::{self, Fault};

use crate::output::Paint;
use crate::template;

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
    Refused { status: u16, fault: &'static Fault, message: String },
    /// The container's program could not be started.
    #[error("{message}")]
    Start { code: u8, fault: &'static Fault, message: String },
    /// Nothing has this name.
    #[error("no such object: {0}")]
    NoObject(String),
    /// The engine could not be brought up.
    #[error("start {}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    /// It was started but does not answer.
    #[error("{} does not answer: {said}; all its messages are in {}", program.display(), log.display())]
    Silent { program: PathBuf, log: PathBuf, said: String },
    /// It cannot be stopped.
    #[error("stop the engine")]
    Stop { source: io::Error },
    /// An argument makes no sense.
    #[error("invalid {option} {value:?}: want {want}")]
    Argument { option: &'static str, value: String, want: String },
    /// Of two options one is enough.
    #[error("{0} and {1} exclude each other")]
    Exclude(&'static str, &'static str),
    /// A template is none, or asks for what there is not.
    #[error("--format")]
    Template(#[from] template::Error),
    /// `-t` needs a terminal.
    #[error("the input device is not a terminal: leave -t out, or run it in one")]
    NoTerminal,
    /// An archive would be printed on a screen.
    #[error("an archive is not for a terminal: name a file with -o, or redirect the output")]
    ArchiveOnTerminal,
    /// What is copied cannot be what is there.
    #[error("copy to {to}: {why}")]
    Copy { to: String, why: String },
    /// Both walls cannot be compared.
    #[error("compare: {0}")]
    Compare(String),
    /// The walls are not what they should be, or cannot be shown.
    #[error("demo: {0}")]
    Demo(String),
    /// There is nothing to build from.
    #[error("unable to prepare context: {what}")]
    Context { what: String, source: Option<io::Error> },
    /// The repository that is to be built from.
    #[error("unable to prepare context")]
    Repository(#[from] build::git::Error),
    /// The Dockerfile is none; with its line.
    #[error("{0}")]
    Dockerfile(String),
    /// `.dockerignore` is none.
    #[error("read the context")]
    Ignore(#[from] build::ignore::Error),
    /// The Dockerfile has warnings where it must have none, or asks for what is no rule.
    #[error(transparent)]
    Lint(#[from] build::lint::Error),
    /// The build failed; the text is the engine's.
    #[error("{message}")]
    Build { code: u8, message: String },
    /// docker's program that keeps passwords.
    #[error("{program}: {said}")]
    Helper { program: String, said: String },
    /// A file, or one of our own streams.
    #[error("{what}")]
    File { what: String, source: io::Error },
    /// The asynchronous runtime.
    #[error("start threads")]
    Runtime(#[source] io::Error),
}

impl Error {
    /// The exit status that it has of its own.
    pub(crate) fn code(&self) -> Option<u8> {
        match self {
            Self::Start { code, .. } | Self::Build { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Wraps the failure of an operation on `what`.
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::File { what, source }
    }

    /// Its page.
    pub(crate) fn fault(&self) -> &'static Fault {
        match self {
            Self::Refused { fault, .. } | Self::Start { fault, .. } => fault,
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => &fault::SOCKET_DENIED,
                _ => &fault::NO_ENGINE,
            },
            Self::Silent { .. } => &fault::SILENT,
            Self::NoObject(_) => &fault::NOT_FOUND,
            Self::Host(_)
            | Self::Argument { .. }
            | Self::Exclude(..)
            | Self::Template(_)
            | Self::NoTerminal
            | Self::ArchiveOnTerminal
            | Self::Copy { .. }
            | Self::Compare(_)
            | Self::Context { .. }
            | Self::Repository(_)
            | Self::Dockerfile(_)
            | Self::Ignore(_)
            | Self::Lint(_) => &fault::INVALID,
            Self::Http { .. } | Self::Spawn { .. } | Self::Helper { .. } => &fault::UNAVAILABLE,
            Self::Build { message, .. } => fault::of_text(Kind::Invalid, message),
            Self::File { .. } => fault::of(Kind::Invalid, self),
            Self::Stop { .. } | Self::Runtime(_) | Self::Demo(_) => fault::of(Kind::Internal, self),
        }
    }

    /// Tells it on standard error, with why it may be and what to do.
    pub(crate) fn print(&self) {
        let paint = Paint::errors();
        let Fault { code, why, remedy, .. } = self.fault();
        eprintln!("{} {}", paint.red("hull:"), spec::chain(self));
        eprintln!("  why:  {why}\n  do:   {remedy}\n  more: hull explain {code}");
    }
}

/// Tells what is wrong with the command line, or what was asked for of it, and ends.
pub(crate) fn usage(error: &clap::Error) -> ! {
    // Nobody may read it.
    let _ = error.print();
    if error.use_stderr() {
        eprintln!("More: hull explain {}", fault::WRONG_OPTION.code);
    }
    std::process::exit(error.exit_code())
}
