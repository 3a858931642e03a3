//! The terminal that `hull` runs in.

use std::io::{self, BufRead, Write};

use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::error::Error;

/// A terminal in another mode. Dropped, it is as it was before.
#[derive(Debug)]
pub(crate) struct Mode(Termios);

impl Mode {
    /// Standard input's terminal in raw mode: every key goes to the container.
    pub(crate) fn raw() -> Result<Self, Error> {
        Self::change(Termios::make_raw)
    }

    /// The same, not showing what is typed.
    fn silent() -> Result<Self, Error> {
        Self::change(|mode| mode.local_modes.remove(LocalModes::ECHO))
    }

    fn change(how: impl FnOnce(&mut Termios)) -> Result<Self, Error> {
        let failed = |error: rustix::io::Errno| Error::File {
            what: "set the terminal's mode".into(),
            source: error.into(),
        };
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut mode = before.clone();
        how(&mut mode);
        tcsetattr(stdin(), OptionalActions::Now, &mode).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that went away.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// True when standard input is a terminal.
pub(crate) fn input() -> bool {
    isatty(stdin())
}

/// True when standard output is a terminal.
pub(crate) fn output() -> bool {
    isatty(stdout())
}

/// Rows and columns of standard input's terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Columns of standard output's terminal.
pub(crate) fn columns() -> Option<u16> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// Columns of standard error's terminal.
pub(crate) fn error_columns() -> Option<u16> {
    let size = tcgetwinsize(rustix::stdio::stderr()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// True when what is written to standard error, or to standard output, may be coloured.
pub(crate) fn colours(errors: bool) -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    wanted && !dumb && if errors { stderr() } else { output() }
}

/// A stream of the moments when the size changes.
pub(crate) fn resized() -> io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
}

/// Clears the screen of standard output's terminal for the next picture.
pub(crate) fn clear() {
    print!("\x1b[H\x1b[2J");
}

/// Asks for a line; `secret` is not shown while it is typed.
pub(crate) fn ask(question: &str, secret: bool) -> Result<String, Error> {
    let failed = Error::file("read the terminal");
    eprint!("{question}");
    let _ = io::stderr().flush();
    let mode = if secret && input() { Some(Mode::silent()?) } else { None };
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    if mode.is_some() {
        eprintln!();
    }
    drop(mode);
    read.map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks whether to go on.
pub(crate) fn confirm(warning: &str) -> Result<bool, Error> {
    let answer =
        ask(&format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "), false)?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// True when standard error is a terminal.
pub(crate) fn stderr() -> bool {
    isatty(rustix::stdio::stderr())
}

/// True when bars can be drawn on standard error.
pub(crate) fn draws() -> bool {
    stderr() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}
