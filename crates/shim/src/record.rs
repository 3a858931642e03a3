//! `shim.json` in the bundle: what `delete` must know when the server was killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::options::Options;
use spec::{ContainerId, Exit};

/// The file's name in the bundle.
const FILE: &str = "shim.json";

/// What a server holds, so that others can free it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The container.
    pub(crate) container: ContainerId,
    /// Where its state is.
    pub(crate) options: Options,
    /// Where its attach sockets are.
    pub(crate) streams: Option<PathBuf>,
    /// How its init ended, once it has.
    pub(crate) exit: Option<Exit>,
}

/// The record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub(crate) struct Error {
    path: PathBuf,
    source: io::Error,
}

impl Record {
    /// Writes it into `bundle`, whole or not at all.
    pub(crate) fn save(&self, bundle: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).expect("strings and numbers always become JSON");
        replace(&bundle.join(FILE), &text)
    }

    /// Reads it from `bundle`; `None` when there is none that can be read.
    pub(crate) fn load(bundle: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(bundle.join(FILE)).ok()?).ok()
    }

    /// Removes it from `bundle`.
    pub(crate) fn remove(bundle: &Path) {
        // What is not there need not go.
        let _ = fs::remove_file(bundle.join(FILE));
    }
}

/// Puts `text` in the place of the file at `path`; readers see the old one or the new one.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|source| Error { path: path.to_owned(), source })
}
