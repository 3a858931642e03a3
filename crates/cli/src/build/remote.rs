//! A context that is a repository of git's, fetched for a while.
//!
//! The client fetches, as docker's does: it is the user who may read the repository, with the keys and the
//! settings that they have. The engine sees a context like any other.

use std::path::PathBuf;

use ::build::git::{Repository, Whose, beneath};
use tempfile::TempDir;

use crate::error::Error;

/// What was fetched; gone when this is dropped.
pub(super) struct Checkout {
    _whole: TempDir,
    /// The context.
    pub(super) root: PathBuf,
}

impl Checkout {
    /// Fetches a repository.
    pub(super) async fn of(repository: &Repository) -> Result<Self, Error> {
        let whole = TempDir::with_prefix("hull-build-")
            .map_err(Error::file("make a directory for the repository"))?;
        let fetched = repository.check_out(whole.path(), Whose::Users, false).await?;
        Ok(Self { _whole: whole, root: fetched.root })
    }

    /// The Dockerfile of this name, which must be in the context itself.
    pub(super) fn dockerfile(&self, name: Option<&str>) -> Result<String, Error> {
        let path = beneath(&self.root, name.unwrap_or("Dockerfile"))?;
        Ok(path.to_string_lossy().into_owned())
    }
}
