//! Errors as gRPC tells them.

use spec::Kind;
use tonic::{Code, Status};

/// What the engine says, for a client.
pub(crate) fn status(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Status {
    Status::new(code(kind), spec::chain(error))
}

/// Something that is not to be had here: what, and what to do instead.
pub(crate) fn unsupported(what: impl Into<String>) -> Status {
    Status::unimplemented(what)
}

fn code(kind: Kind) -> Code {
    match kind {
        // As of BuildKit, whose clients put the names of other codes before the text.
        Kind::Invalid | Kind::CommandNotFound | Kind::CommandNotExecutable | Kind::Internal => {
            Code::Unknown
        }
        Kind::Unsupported => Code::Unimplemented,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Denied => Code::PermissionDenied,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
    }
}
