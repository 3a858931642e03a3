//! Why nothing was done with a volume.

use std::io;
use std::path::PathBuf;

use spec::Kind;

/// Why nothing was done with a volume. The texts are those that Docker's clients know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// Containers refer to it.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    InUse {
        /// Which.
        name: String,
        /// The containers' ids.
        users: Vec<String>,
    },
    /// Containers that run have it.
    #[error(
        "copy {name}: container {} has it mounted: files that are written meanwhile make no copy of \
         one moment; stop it first", users.join(", ")
    )]
    Mounted {
        /// Which.
        name: String,
        /// The containers' ids.
        users: Vec<String>,
    },
    /// It is being copied.
    #[error("{0} is being copied: try again when that is done")]
    Copied(String),
    /// A copy must have a name of its own.
    #[error("create {0}: a volume of that name exists")]
    Taken(String),
    /// Nobody writes it.
    #[error("{name} is a snapshot of {of}: mount it read-only, or clone it")]
    Snapshot {
        /// Which.
        name: String,
        /// The volume.
        of: String,
    },
    /// It cannot be a name.
    #[error(
        "create {0}: {0:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )]
    Name(String),
    /// There is one driver.
    #[error("error looking up volume plugin {0}: plugin {0:?} not found")]
    Driver(String),
    /// The driver does not know or cannot honour an option.
    #[error("create {name}: {problem}")]
    Options {
        /// Of which volume.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The volume has that name and other options.
    #[error("create {0}: a volume of that name exists with other options")]
    Exists(String),
    /// What its options say could not be mounted.
    #[error("error while mounting volume '{}': failed to mount local volume: mount {device}:{}, data: {data}",
        at.display(), at.display())]
    Mount {
        /// Its directory.
        at: PathBuf,
        /// What was to be mounted.
        device: String,
        /// Its file system's options.
        data: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Its files.
    #[error("{action} {}", path.display())]
    File {
        /// The verb.
        action: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::Driver(_) => Kind::NotFound,
            Self::InUse { .. }
            | Self::Exists(_)
            | Self::Mounted { .. }
            | Self::Copied(_)
            | Self::Taken(_) => Kind::Conflict,
            Self::Name(_) | Self::Options { .. } | Self::Snapshot { .. } => Kind::Invalid,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::Unsupported => {
                Kind::Unsupported
            }
            Self::Mount { .. } | Self::File { .. } => Kind::Internal,
        }
    }
}
