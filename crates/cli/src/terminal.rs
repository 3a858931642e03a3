//! The terminal that `hull` runs in.

use std::io;

use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::Error;

/// A terminal in raw mode: every key goes to the container. Dropped, it is as it was before.
#[derive(Debug)]
pub(crate) struct Raw(Termios);

impl Raw {
    /// Puts standard input's terminal into raw mode.
    pub(crate) fn enter() -> Result<Self, Error> {
        let failed = |error: rustix::io::Errno| Error::File {
            what: "set the terminal's mode".into(),
            source: error.into(),
        };
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that went away.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// True when standard input is a terminal.
pub(crate) fn here() -> bool {
    isatty(stdin())
}

/// Rows and columns of standard input's terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// A stream of the moments when the size changes.
pub(crate) fn resized() -> io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
}
