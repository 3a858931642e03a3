//! How a process ended.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::Signal;

/// The end of a process: what a shell would show as `$?`, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255: the exit status, or 128 plus the signal that ended it.
    pub code: u8,
    /// When the end was seen.
    pub at: SystemTime,
}

impl Exit {
    /// An exit seen just now.
    pub fn now(code: u8) -> Self {
        Self { code, at: SystemTime::now() }
    }

    /// The end of a process that `signal` killed.
    pub fn by(signal: Signal) -> Self {
        Self::now(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX))
    }
}
