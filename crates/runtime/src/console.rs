//! The caller's own terminal, while a container's is in the foreground.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr,
};

/// The caller's terminal in raw mode until dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Sets standard input raw; `None` when it is no terminal.
    pub(crate) fn set() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // The one translation of line ends that is left, see `pass_line_ends`.
        raw.output_modes |= OutputModes::OPOST;
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that went away needs no mode.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Gives the container's terminal the size of the caller's.
pub(crate) fn copy_size(pty: &impl AsFd) {
    let size: Option<Winsize> = tcgetwinsize(stdin()).or_else(|_| tcgetwinsize(stdout())).ok();
    if let Some(size) = size {
        let _ = rustix::termios::tcsetwinsize(pty, size);
    }
}

/// Opens a terminal without making it this process's own; `ENOTTY` for what is none.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let found = std::fs::metadata(path)?;
    if !std::os::unix::fs::FileTypeExt::is_char_device(&found.file_type()) {
        return Err(rustix::io::Errno::NOTTY.into());
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty())?;
    tcgetwinsize(&opened)?;
    Ok(opened)
}

/// Sets a terminal's size.
pub(crate) fn set_size(terminal: &impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Makes the container's terminal pass line ends as they are, so that what it writes can be compared
/// and piped; the caller's own terminal, if there is one, translates them.
pub(crate) fn pass_line_ends(pty: &impl AsFd) {
    if let Ok(mut modes) = tcgetattr(pty) {
        modes.output_modes -= OutputModes::ONLCR;
        // A terminal that went away needs no mode.
        let _ = tcsetattr(pty, OptionalActions::Now, &modes);
    }
}
