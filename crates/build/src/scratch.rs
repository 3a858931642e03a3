//! Directories that a build needs for a while.

use std::io;
use std::path::{Path, PathBuf};

/// A directory that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one beneath `dir`.
    pub(crate) fn beneath(dir: &Path) -> io::Result<Self> {
        let path = image::disk::temporary(dir);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = image::disk::remove_tree(&self.0) {
            tracing::warn!(error = %error.source, path = %self.0.display(), "copy of a build not removed");
        }
    }
}
