//! What a container is told that no disk may hold: variables of a build that are secrets.
//!
//! They are in no record. Its configuration, which has them, lies in memory, and a link in the bundle leads
//! there.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Variables, and where they may be written down.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden {
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// A directory in memory that nobody else may read. It is to outlive the container.
    pub(crate) dir: PathBuf,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hidden").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Hidden {
    /// Writes `text` down, and makes `path` a link to it.
    pub(crate) fn put(&self, path: &Path, text: &str) -> Result<(), Error> {
        let place = self.dir.join("config.json");
        let written = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&place)?.write_all(text.as_bytes())?;
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => symlink(&place, path),
            }
        };
        written().map_err(|source| Error::File { action: "write", path: path.to_owned(), source })
    }
}
