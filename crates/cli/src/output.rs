//! What is printed, and its colours.

use std::fmt::Display;
use std::io::{self, Write};

use crate::terminal;

/// What a shell shows for a program that wrote to a pipe nobody reads: 128 and SIGPIPE.
const UNREAD: i32 = 141;

/// Prints a line. When nobody reads our output any more, this ends the program.
pub(crate) fn line(text: impl Display) {
    if writeln!(io::stdout().lock(), "{text}").is_err() {
        std::process::exit(UNREAD);
    }
}

/// Prints a text as it is, at once. When nobody reads our output any more, this ends the program.
pub(crate) fn text(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(UNREAD);
    }
}

/// Colours, where there are any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// For standard output.
    pub(crate) fn output() -> Self {
        Self(terminal::colours(false))
    }

    /// For standard error.
    pub(crate) fn errors() -> Self {
        Self(terminal::colours(true))
    }

    /// Whether there are any.
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// A text that stands out.
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    /// What is well.
    pub(crate) fn green(self, text: impl Display) -> String {
        self.with("32", text)
    }

    /// What could be better.
    pub(crate) fn yellow(self, text: impl Display) -> String {
        self.with("33", text)
    }

    /// What is wrong.
    pub(crate) fn red(self, text: impl Display) -> String {
        self.with("31", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
