//! What commands keep from one build to the next: `RUN --mount=type=cache`.
//!
//! A directory for each id, and for each content that one begins with. Whoever uses one holds a lock on it:
//! shared, or alone where the mount says so; a prune takes only those that nobody holds.
//!
//! Spec: Dockerfile reference, "RUN --mount=type=cache".

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use image::disk::{self, Context as _};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use spec::Digest;

use crate::copy;
use crate::dockerfile::Sharing;
use crate::scratch::Scratch;
use crate::source::Source;

/// The most caches of one id, where each build has its own.
const MAX_PRIVATE: usize = 64;

/// A cache that a command asks for.
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) sharing: Sharing,
    /// What a new one begins with; nothing if there is none.
    pub(crate) content: Option<Content>,
    /// Whose a new one is; as in its content, else root's, if not said.
    pub(crate) owner: (Option<u32>, Option<u32>),
    /// The mode of a new one; as in its content, else 0755, if not said.
    pub(crate) mode: Option<u32>,
}

/// A directory of a stage or image that a cache begins with.
pub(crate) struct Content {
    tree: Arc<dyn Source>,
    path: String,
    known_by: String,
}

impl Content {
    /// What is at `path`. Blocks.
    pub(crate) fn find(tree: Arc<dyn Source>, path: String) -> Result<Self, copy::Error> {
        let known_by = copy::directory_known_by(&*tree, &path)?;
        Ok(Self { tree, path, known_by })
    }
}

impl Wanted {
    /// What it is called on disk: with other content it is another cache.
    fn name(&self) -> String {
        let mut hash = Sha256::new_with_prefix(&self.id);
        if let Some(content) = &self.content {
            hash.update("\0");
            hash.update(&content.known_by);
        }
        Digest::from_sha256(hash.finalize().into()).hex().to_owned()
    }
}

/// The directory of a cache beneath the builder's own, and the lock on it. Blocks until it is free.
pub(crate) fn open(scratch: &Path, wanted: &Wanted) -> io::Result<(PathBuf, File)> {
    let dir = scratch.join("cache").join(wanted.name());
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
            make(&dir, wanted)?;
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

/// Makes a cache, unless somebody else has made it by the time that this one is whole.
fn make(dir: &Path, wanted: &Wanted) -> io::Result<()> {
    let all = dir.parent().unwrap_or(dir);
    std::fs::create_dir_all(all)?;
    let new = Scratch::beneath(all)?;
    let (mut owner, mut mode) = (wanted.owner, wanted.mode);
    if let Some(content) = &wanted.content {
        copy::copy_out(&*content.tree, &content.path, new.path()).map_err(io::Error::other)?;
    } else {
        owner = (owner.0.or(Some(0)), owner.1.or(Some(0)));
        mode = mode.or(Some(0o755));
    }
    chown(new.path(), owner.0, owner.1)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(new.path(), Permissions::from_mode(mode))?;
    }
    match renameat_with(CWD, new.path(), CWD, dir, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Ok(()),
        renamed => Ok(renamed?),
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
    use crate::layers::Layers;

    fn wanted(id: &str, sharing: Sharing) -> Wanted {
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        let owner = (Some(user.as_raw()), Some(group.as_raw()));
        Wanted { id: id.to_owned(), sharing, content: None, owner, mode: Some(0o700) }
    }

    #[test]
    fn a_new_cache_has_what_it_begins_with_and_an_old_one_what_was_left_in_it() {
        let root = tempfile::tempdir().expect("temporary directory");
        let seed = root.path().join("seed");
        std::fs::create_dir_all(seed.join("in/deep")).expect("directory");
        std::fs::write(seed.join("in/deep/file"), "seed").expect("written");
        std::fs::set_permissions(seed.join("in"), Permissions::from_mode(0o1777)).expect("set");
        let begun = |identity: &str, mode| {
            let layers = Layers::of(std::slice::from_ref(&seed), identity.to_owned());
            let tree = Arc::new(layers.expect("a tree"));
            let content = Content::find(tree, "in".to_owned()).expect("there");
            let wanted = Wanted { content: Some(content), mode, ..wanted("c", Sharing::Locked) };
            open(root.path(), &wanted).expect("open").0
        };
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o7777;
        let first = begun("one", None);
        let read = |dir: &Path| std::fs::read_to_string(dir.join("deep/file")).expect("there");
        assert_eq!((read(&first), mode(&first)), ("seed".to_owned(), 0o1777));
        std::fs::write(first.join("deep/file"), "left").expect("written");
        assert_eq!(begun("one", None), first);
        assert_eq!(read(&first), "left");
        let other = begun("two", Some(0o750));
        assert_eq!((read(&other), mode(&other)), ("seed".to_owned(), 0o750));
        let (empty, _) = open(root.path(), &wanted("c", Sharing::Locked)).expect("open");
        assert_eq!(std::fs::read_dir(empty).expect("a directory").count(), 0);
        assert_eq!(list(root.path()).expect("listed").len(), 3, "nothing else is left");
    }

    #[test]
    fn a_cache_begins_with_a_directory() {
        let root = tempfile::tempdir().expect("temporary directory");
        std::fs::write(root.path().join("file"), "").expect("written");
        let layers = Layers::of(&[root.path().to_owned()], String::new()).expect("a tree");
        let tree: Arc<dyn Source> = Arc::new(layers);
        for path in ["file", "absent"] {
            assert!(Content::find(Arc::clone(&tree), path.to_owned()).is_err(), "{path}");
        }
    }

    #[test]
    fn a_locked_cache_is_one_commands_at_a_time() {
        let root = tempfile::tempdir().expect("temporary directory");
        let (_, held) = open(root.path(), &wanted("c", Sharing::Locked)).expect("open");
        let at = root.path().to_owned();
        let next = std::thread::spawn(move || open(&at, &wanted("c", Sharing::Locked)).is_ok());
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!next.is_finished());
        drop(held);
        assert!(next.join().expect("it ends"));
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
