//! Trees that files are copied from, and which of their files.
//!
//! A path is found step by step, and a symlink's target is looked for in the same tree: so no tree needs
//! the kernel to be confined. Paths are bytes, without a slash in front; empty is the root.

use std::collections::VecDeque;
use std::io;

use sha2::Sha256;
use tree::archive::{Member, Members, Type};

use crate::ignore::{self, Ignore};

/// Symlinks followed in one path, as Linux has it.
const MAX_LINKS: usize = 40;

/// What is at a path itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// A symlink, with its text.
    Symlink(Vec<u8>),
    /// Anything else.
    File,
}

/// A tree.
pub trait Source: Send + Sync {
    /// What is at `path`, in which no symlink is followed.
    fn look(&self, path: &[u8]) -> io::Result<Option<Found>>;
    /// The names in a directory.
    fn names(&self, dir: &[u8]) -> io::Result<Vec<Vec<u8>>>;
    /// What was picked, directories before what is in them.
    fn members<'a>(&'a self, picks: &'a [Pick]) -> io::Result<Box<dyn Members + 'a>>;
    /// Adds to `hash` all of what was picked that makes a difference to a copy, but for times and owners.
    fn fingerprint(&self, picks: &[Pick], hash: &mut Sha256) -> io::Result<()>;
}

/// A part of a tree, and what it is called where it goes.
#[derive(Debug, Clone)]
pub struct Pick {
    /// A real path.
    pub path: Vec<u8>,
    /// Its name, from the root of where it goes; a directory's contents come beneath it.
    pub name: Vec<u8>,
    /// What stays behind, by its path in the tree.
    pub exclude: Option<Ignore>,
}

impl Pick {
    /// Whether what is at `path`, which is this or beneath it, comes along.
    pub fn takes(&self, path: &[u8]) -> bool {
        let Some(exclude) = &self.exclude else { return true };
        path == self.path.as_slice() || !exclude.excludes(&String::from_utf8_lossy(path))
    }

    /// The name of what is at `path`, which is this or beneath it.
    pub fn name_of(&self, path: &[u8]) -> Vec<u8> {
        let rest = &path[self.path.len()..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        join(&self.name, rest)
    }
}

/// The real path that `path` leads to; `None` if there is nothing.
pub fn resolve(tree: &(impl Source + ?Sized), path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let (real, missing) = walk(tree, path)?;
    Ok(missing.is_empty().then_some(real))
}

/// The real path of what exists of `path`, and then, if that is a directory, the parts that do not.
pub fn resolve_new(tree: &(impl Source + ?Sized), path: &[u8]) -> io::Result<Vec<u8>> {
    let (real, missing) = walk(tree, path)?;
    Ok(missing.iter().fold(real, |path, part| join(&path, part)))
}

fn walk(tree: &(impl Source + ?Sized), path: &[u8]) -> io::Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut pending: VecDeque<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    let (mut real, mut links) = (Vec::new(), 0);
    while let Some(part) = pending.pop_front() {
        if part == b".." {
            real.truncate(real.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let next = join(&real, &part);
        match tree.look(&next)? {
            None => {
                pending.push_front(part);
                // What is not there cannot lead anywhere else.
                pending.retain(|part| part != b"..");
                return Ok((real, pending.into()));
            }
            Some(Found::Symlink(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from_raw_os_error(
                        rustix::io::Errno::LOOP.raw_os_error(),
                    ));
                }
                if target.starts_with(b"/") {
                    real.clear();
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    pending.push_front(part.to_vec());
                }
            }
            Some(_) => real = next,
        }
    }
    Ok((real, Vec::new()))
}

/// The paths that a pattern of Go's `filepath.Match` fits, in order; without a wildcard the path itself,
/// if something is there. Symlinks on the way are followed, the last part is as it was written.
pub fn glob(tree: &(impl Source + ?Sized), pattern: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for part in parts(pattern.as_bytes()) {
        let pattern = String::from_utf8_lossy(part);
        let mut next = Vec::new();
        for dir in found {
            if !pattern.contains(['*', '?', '[', '\\']) {
                next.push(join(&dir, part));
                continue;
            }
            let Some(real) = resolve(tree, &dir)? else { continue };
            if tree.look(&real)? != Some(Found::Directory) {
                continue;
            }
            for name in tree.names(&real)? {
                let fits = ignore::matches(&pattern, &String::from_utf8_lossy(&name));
                if fits.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))? {
                    next.push(join(&dir, &name));
                }
            }
        }
        found = next;
    }
    let mut there = Vec::new();
    for path in found {
        if resolve(tree, &path)?.is_some() {
            there.push(path);
        }
    }
    Ok(there)
}

/// The parts of a path that mean something.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

/// One path beneath another.
pub fn join(dir: &[u8], rest: &[u8]) -> Vec<u8> {
    match (dir, rest) {
        (b"", rest) => rest.to_vec(),
        (dir, b"") => dir.to_vec(),
        (dir, rest) => [dir, b"/", rest].concat(),
    }
}

/// A member that comes from nowhere: root's, of 1970.
pub fn member(name: Vec<u8>, kind: Type, mode: u32) -> Member {
    Member {
        name,
        link: Vec::new(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        size: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}
