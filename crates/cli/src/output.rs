//! Lines on standard output.

use std::fmt::Display;
use std::io::{self, Write};

/// What a shell shows for a program that wrote to a pipe nobody reads: 128 and SIGPIPE.
const UNREAD: i32 = 141;

/// Prints a line. When nobody reads our output any more, this ends the program.
pub(crate) fn line(text: impl Display) {
    if writeln!(io::stdout().lock(), "{text}").is_err() {
        std::process::exit(UNREAD);
    }
}
