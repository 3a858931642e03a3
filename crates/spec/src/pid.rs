//! Process numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process number in the PID namespace of whoever keeps it: the host for the engine, shim and
/// runtime, the guest for the agent. A number never crosses the wall as a `Pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pid(i32);

impl Pid {
    /// The process with number `raw`; `None` unless it is positive, since 0 and below address groups.
    pub fn new(raw: i32) -> Option<Self> {
        (raw > 0).then_some(Self(raw))
    }

    /// The number, always positive.
    pub fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
