//! Files and directories that survive a crash whole or not at all.

mod removal;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use spec::Kind;

/// A file operation on the data root failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct Error {
    /// What was done, as a verb.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// The kernel's answer.
    pub source: io::Error,
}

impl Error {
    /// [`Kind::Exhausted`] when the disk is full, else [`Kind::Internal`].
    pub fn kind(&self) -> Kind {
        kind_of(&self.source)
    }

    /// Whether the bytes of the file are not those that its name promises.
    pub fn is_damage(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidData
    }

    /// Whether the file was simply not there.
    pub fn is_absence(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// The file at `path` has other bytes than its name promises.
pub fn damage(path: &Path) -> Error {
    let source = io::Error::new(
        io::ErrorKind::InvalidData,
        "the file is damaged: remove the image and get it anew",
    );
    Error { action: "verify", path: path.to_owned(), source }
}

/// What a failed write to the data root means for the caller.
pub fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Exhausted,
        _ => Kind::Internal,
    }
}

/// Names what failed.
pub trait Context<T> {
    /// The same with verb and path.
    fn on(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error { action, path: path.to_owned(), source: source.into() })
    }
}

/// A name in `dir` that nothing else of this process uses; [`is_temporary`] tells it from real names.
pub fn temporary(dir: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!("{}-{number}.tmp", std::process::id()))
}

/// Whether the path was made by [`temporary`].
pub fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// Makes `path` and what is above it.
pub fn make_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).on("create", path)
}

/// The same, closed to other users: images bring set-id programs, which are for containers alone.
pub fn make_private(path: &Path) -> Result<(), Error> {
    make_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).on("change the mode of", path)
}

/// Replaces `path` by a file with these contents.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temporary = temporary(dir);
    let written = (|| {
        let mut file = File::create_new(&temporary).on("create", &temporary)?;
        file.write_all(contents).on("write", &temporary)?;
        file.sync_all().on("sync", &temporary)?;
        rename(&temporary, path)
    })();
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Renames a file whose contents are on disk, and makes the new name durable.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).on("rename", from)?;
    let dir = to.parent().unwrap_or(Path::new("/"));
    File::open(dir).and_then(|dir| dir.sync_all()).on("sync", dir)
}

/// Waits until everything on the filesystems of `paths` is on disk.
pub fn sync_filesystems(paths: &[&Path]) -> Result<(), Error> {
    let mut synced = Vec::new();
    for path in paths {
        let dir = File::open(path).on("open", path)?;
        let device = dir.metadata().on("read", path)?.dev();
        if !synced.contains(&device) {
            rustix::fs::syncfs(dir).on("sync the filesystem of", path)?;
            synced.push(device);
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it; that there is none is no error.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    absent_is_fine(removal::remove_tree(path)).on("remove", path)
}

/// Removes a file; that there is none is no error.
pub fn remove_file(path: &Path) -> Result<(), Error> {
    absent_is_fine(fs::remove_file(path)).on("remove", path)
}

/// The paths in a directory.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(dir).on("list", dir)?;
    entries.map(|entry| entry.map(|entry| entry.path()).on("list", dir)).collect()
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
