//! Why the daemon does not run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration file cannot be read.
    #[error("configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration file is none.
    #[error("configuration {}:{line}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A value makes no sense.
    #[error("--{flag} {value}: {problem}")]
    Value {
        /// The flag, also the file's key.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something of the process itself.
    #[error("{doing}")]
    Process {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{}: {problem}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// An address cannot be listened at.
    #[error("listen at {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// systemd's unit names more sockets than there are APIs.
    #[error("systemd passed {0} sockets: want one")]
    Sockets(usize),
    /// Another daemon has the same directory.
    #[error("hulld {pid} is running with {}", root.display())]
    Running {
        /// The directory.
        root: PathBuf,
        /// The other one's process number, as it wrote it.
        pid: String,
    },
    /// A file of the daemon's.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}
