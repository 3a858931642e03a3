//! Printing an error once, at the edge.

use std::error::Error;
use std::fmt::Write;

/// An error and its causes on one line: `mount proc on /proc: Operation not permitted (os error 1)`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
