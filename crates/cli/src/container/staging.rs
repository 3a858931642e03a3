//! Unpacking what is hostile: in a directory that holds nothing else, then moved into place piece by piece.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::copy::blocking;
use crate::error::Error;

/// Unpacks what an archive holds into a directory that exists. No entry leads out of it.
pub(crate) async fn unpack(
    archive: impl io::Read + Send + 'static,
    to: PathBuf,
) -> Result<(), Error> {
    blocking(move || {
        let failed = |source| Error::File { what: to.display().to_string(), source };
        let staging = Staging::make(&to).map_err(failed)?;
        let mut archive = tar::Archive::new(archive);
        archive.set_preserve_permissions(true);
        archive.set_overwrite(false);
        extract(&mut archive, &staging.0).map_err(failed)?;
        merge(&staging.0, &to).map_err(failed)
    })
    .await
}

/// Unpacks beneath `to`, out of which no entry leads; gives true when the root was `.`.
pub(super) fn extract(archive: &mut tar::Archive<impl io::Read>, to: &Path) -> io::Result<bool> {
    let (mut bare, mut first) = (false, true);
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if std::mem::take(&mut first) {
            bare = entry.path()?.components().all(|part| part == Component::CurDir);
        }
        // Last: their modes may forbid what is still to come.
        if entry.header().entry_type().is_dir() {
            directories.push(entry);
        } else {
            entry.unpack_in(to)?;
        }
    }
    directories.sort_by_key(|entry| std::cmp::Reverse(entry.path_bytes().len()));
    for mut directory in directories {
        directory.unpack_in(to)?;
    }
    Ok(bare)
}

/// A directory of our own, removed with what is left in it.
pub(super) struct Staging(pub(super) PathBuf);

impl Staging {
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!(".hull-cp-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is found by its name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Moves what is in a directory into another.
pub(super) fn merge(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        merge_one(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Moves one; a directory that is there already gets what the new one holds.
pub(super) fn merge_one(from: &Path, to: &Path) -> io::Result<()> {
    let tree = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    match (tree(from), tree(to)) {
        (true, true) => merge(from, to),
        (false, true) => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            format!("{} is a directory, and a file is to be there", to.display()),
        )),
        _ => fs::rename(from, to),
    }
}
