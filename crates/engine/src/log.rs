//! Reading a container's json-file log.

use std::time::SystemTime;

/// What to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Standard output's lines.
    pub stdout: bool,
    /// Standard error's lines.
    pub stderr: bool,
    /// Wait for more until the container ends.
    pub follow: bool,
    /// Not older than this.
    pub since: Option<SystemTime>,
    /// Not newer than this.
    pub until: Option<SystemTime>,
    /// The last so many that match; `None` for all.
    pub tail: Option<usize>,
}

/// One line, with its end of line; without one, it goes on in the stream's next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Whether it went to standard error.
    pub stderr: bool,
    /// When the shim read it.
    pub time: SystemTime,
    /// The bytes.
    pub bytes: Vec<u8>,
}
