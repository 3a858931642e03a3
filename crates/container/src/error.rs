//! What can go wrong with a container.

use spec::Kind;

/// Why a container could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Init or a step before it failed; the message is complete.
    #[error("{message}")]
    Init {
        /// The class of the failure.
        kind: Kind,
        /// The chain of what failed.
        message: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Init { kind, .. } => *kind,
        }
    }
}
