//! Why a task call was refused, and how the caller is told.

use std::io;

use spec::id::InvalidId;
use spec::options::InvalidVariable;
use spec::state::Illegal;
use spec::{Kind, ProcessId};
use ttrpc::Code;

/// Why a task call was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The sandbox refused.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The request describes no container.
    #[error(transparent)]
    Bundle(#[from] crate::bundle::Error),
    /// The work on files.
    #[error("files")]
    Files(#[from] crate::files::Error),
    /// The standard streams lead nowhere.
    #[error(transparent)]
    Streams(#[from] crate::streams::Error),
    /// Not possible in this state.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The record for `delete` cannot be written.
    #[error(transparent)]
    Record(#[from] crate::record::Error),
    /// The request names nothing that can exist.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// No thread for the standard streams.
    #[error("start the keeper of the standard streams")]
    Keeper(#[source] io::Error),
    /// No thread to wait for the end.
    #[error("start the thread that waits for the end")]
    Watch(#[source] io::Error),
    /// No such process.
    #[error("no such process: {0}")]
    NoProcess(ProcessId),
    /// There is such a process already.
    #[error("{0} exists already")]
    Exists(ProcessId),
    /// The process ended before.
    #[error("{0} has already ended")]
    Ended(ProcessId),
    /// The process has not ended.
    #[error("{0} has not ended")]
    Alive(ProcessId),
    /// There is no terminal to resize.
    #[error("{0} has no terminal")]
    NoTerminal(ProcessId),
    /// The number is no signal.
    #[error("signal: want a number from 1 to 64")]
    NoSignal,
    /// The size is none.
    #[error("terminal size: want at most 65535 lines and columns")]
    NoSize,
    /// The request asks for a terminal and the configuration does not, or the other way round.
    #[error("terminal is {asked} in the request but not in process.terminal")]
    Terminal { asked: bool },
    /// The exec's process is not described.
    #[error("spec: a process in JSON")]
    Program(#[source] serde_json::Error),
    /// The new limits are not described.
    #[error("resources: the limits in JSON")]
    Resources(#[source] serde_json::Error),
    /// The host's set-up cannot be read.
    #[error(transparent)]
    Options(#[from] InvalidVariable),
    /// Not offered; the text names what and why.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl Error {
    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sandbox(error) => error.kind(),
            Self::Bundle(error) => error.kind(),
            Self::Streams(error) => error.kind(),
            Self::Illegal(_) | Self::Alive(_) | Self::NoTerminal(_) => Kind::Conflict,
            Self::Record(_) | Self::Files(_) => Kind::Internal,
            Self::Keeper(_) | Self::Watch(_) => Kind::Exhausted,
            Self::NoProcess(_) | Self::Ended(_) => Kind::NotFound,
            Self::Exists(_) => Kind::Exists,
            Self::Id(_)
            | Self::NoSignal
            | Self::NoSize
            | Self::Options(_)
            | Self::Terminal { .. }
            | Self::Program(_)
            | Self::Resources(_) => Kind::Invalid,
            Self::Unsupported(_) => Kind::Unsupported,
        }
    }
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        ttrpc::Error::RpcStatus(ttrpc::get_status(code(error.kind()), spec::chain(&error)))
    }
}

/// The status code that stands for `kind`. One code for one kind, so that the engine has back what
/// the seam said; the last two of gRPC's that fit nothing else carry the command's kinds.
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid => Code::INVALID_ARGUMENT,
        Kind::Unsupported => Code::UNIMPLEMENTED,
        Kind::NotFound => Code::NOT_FOUND,
        Kind::Exists => Code::ALREADY_EXISTS,
        Kind::Conflict => Code::FAILED_PRECONDITION,
        Kind::CommandNotFound => Code::OUT_OF_RANGE,
        Kind::CommandNotExecutable => Code::DATA_LOSS,
        Kind::Denied => Code::PERMISSION_DENIED,
        Kind::Exhausted => Code::RESOURCE_EXHAUSTED,
        Kind::Unavailable => Code::UNAVAILABLE,
        Kind::Internal => Code::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let codes = Kind::ALL.map(code);
        for (index, one) in codes.iter().enumerate() {
            assert!(!codes[..index].contains(one), "{one:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let cause = io::Error::from_raw_os_error(11);
        let text = spec::chain(&Error::Watch(cause));
        assert!(text.starts_with("start the thread that waits for the end: resource"), "{text}");
    }
}
