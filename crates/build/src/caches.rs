//! What commands keep from one build to the next: `RUN --mount=type=cache`.
//!
//! A directory for each id. Whoever uses one holds a lock on it: shared, or alone where the mount says so; a
//! prune takes only those that nobody holds.
//!
//! Spec: Dockerfile reference, "RUN --mount=type=cache".

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use image::disk::{self, Context as _};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use spec::Digest;

use crate::dockerfile::Sharing;

/// The most caches of one id, where each build has its own.
const MAX_PRIVATE: usize = 64;

/// A cache that a command asks for.
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) sharing: Sharing,
    /// Whose a new one is.
    pub(crate) owner: (u32, u32),
    /// The mode of a new one.
    pub(crate) mode: u32,
}

/// The directory of a cache beneath the builder's own, and the lock on it. Blocks until it is free.
pub(crate) fn open(scratch: &Path, wanted: &Wanted) -> io::Result<(PathBuf, File)> {
    let name = Digest::from_sha256(Sha256::digest(&wanted.id).into()).hex().to_owned();
    let dir = scratch.join("cache").join(&name);
    match wanted.sharing {
        Sharing::Shared => hold(dir, wanted, FlockOperation::LockShared),
        Sharing::Locked => hold(dir, wanted, FlockOperation::LockExclusive),
        Sharing::Private => {
            for number in 0..MAX_PRIVATE {
                let dir = dir.with_extension(number.to_string());
                match hold(dir, wanted, FlockOperation::NonBlockingLockExclusive) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    held => return held,
                }
            }
            Err(io::ErrorKind::QuotaExceeded.into())
        }
    }
}

fn hold(dir: PathBuf, wanted: &Wanted, how: FlockOperation) -> io::Result<(PathBuf, File)> {
    loop {
        if !dir.is_dir() {
            std::fs::create_dir_all(&dir)?;
            std::fs::set_permissions(&dir, Permissions::from_mode(wanted.mode))?;
            chown(&dir, Some(wanted.owner.0), Some(wanted.owner.1))?;
        }
        let lock = File::open(&dir)?;
        flock(&lock, how)?;
        // A prune may have taken it away in between.
        if is_at(&lock, &dir) {
            lock.set_modified(SystemTime::now())?;
            return Ok((dir, lock));
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |found: std::fs::Metadata| (found.dev(), found.ino());
    file.metadata().map(number).ok() == path.metadata().map(number).ok()
}

/// A cache that is there.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its directory.
    pub dir: PathBuf,
    /// Bytes of its files.
    pub size: u64,
    /// When a command was given it last.
    pub used: SystemTime,
}

/// All caches. Blocks.
pub fn list(scratch: &Path) -> Result<Vec<Kept>, disk::Error> {
    let root = scratch.join("cache");
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let dirs = disk::list(&root)?.into_iter().filter(|dir| !disk::is_temporary(dir));
    let kept = dirs.map(|dir| {
        let used = dir.metadata().and_then(|found| found.modified()).on("look at", &dir)?;
        Ok(Kept { size: size(&dir)?, used, dir })
    });
    kept.collect()
}

/// Removes those of `dirs` that no command uses now; gives the bytes of their files. Blocks.
pub fn prune(scratch: &Path, dirs: &[PathBuf]) -> Result<u64, disk::Error> {
    let (mut bytes, root) = (0, scratch.join("cache"));
    for dir in dirs {
        let lock = match File::open(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lock => lock.on("open", dir)?,
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let gone = disk::temporary(&root);
        disk::rename(dir, &gone)?;
        bytes += size(&gone)?;
        disk::remove_tree(&gone)?;
    }
    Ok(bytes)
}

fn size(path: &Path) -> Result<u64, disk::Error> {
    let found = path.symlink_metadata().on("look at", path)?;
    if found.is_dir() {
        return disk::list(path)?.iter().map(|path| size(path)).sum();
    }
    Ok(if found.is_file() { found.len() } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(id: &str, sharing: Sharing) -> Wanted {
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Wanted { id: id.to_owned(), sharing, owner, mode: 0o700 }
    }

    #[test]
    fn a_prune_takes_what_nobody_holds() {
        let root = tempfile::tempdir().expect("temporary directory");
        let (held, lock) = open(root.path(), &wanted("held", Sharing::Shared)).expect("open");
        let (free, _) = open(root.path(), &wanted("free", Sharing::Locked)).expect("open");
        std::fs::write(free.join("file"), "12345").expect("written");
        let all = |root: &Path| list(root).expect("listed").into_iter().map(|kept| kept.dir);
        let dirs: Vec<_> = all(root.path()).collect();
        assert_eq!(prune(root.path(), &dirs).expect("pruned"), 5);
        assert!(held.is_dir() && !free.exists());
        drop(lock);
        prune(root.path(), &dirs).expect("pruned");
        assert!(!held.exists());
        assert_eq!(all(root.path()).count(), 0);
    }

    #[test]
    fn a_private_cache_is_another_while_one_is_held() {
        let root = tempfile::tempdir().expect("temporary directory");
        let (one, lock) = open(root.path(), &wanted("own", Sharing::Private)).expect("open");
        let (two, _) = open(root.path(), &wanted("own", Sharing::Private)).expect("open");
        assert_ne!(one, two);
        drop(lock);
        assert_eq!(open(root.path(), &wanted("own", Sharing::Private)).expect("open").0, one);
    }
}
