//! What a caller can do about an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of an error. Fronts map it to an HTTP status, a gRPC code or an exit status; the same
/// failure has the same kind in both isolation modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request itself is wrong; it fails the same way every time.
    Invalid,
    /// The request is right, but Hull or this host cannot do it.
    Unsupported,
    /// What was named does not exist.
    NotFound,
    /// What should be made exists already.
    Exists,
    /// It exists, but not in a state that allows this.
    Conflict,
    /// The user's program cannot be found in the container: exit status 127.
    CommandNotFound,
    /// The user's program was found but cannot be executed: exit status 126.
    CommandNotExecutable,
    /// Policy or permissions forbid it.
    Denied,
    /// Memory, disk, pids or another supply is used up.
    Exhausted,
    /// The other side (registry, hypervisor, shim) does not answer; trying again may help.
    Unavailable,
    /// Our own failure, or the kernel's.
    Internal,
}

impl Kind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 11] = [
        Self::Invalid,
        Self::Unsupported,
        Self::NotFound,
        Self::Exists,
        Self::Conflict,
        Self::CommandNotFound,
        Self::CommandNotExecutable,
        Self::Denied,
        Self::Exhausted,
        Self::Unavailable,
        Self::Internal,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not found",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::CommandNotFound => "command not found",
            Self::CommandNotExecutable => "command not executable",
            Self::Denied => "denied",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        })
    }
}
