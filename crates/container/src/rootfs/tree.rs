//! Paths beneath a root directory that somebody else may have filled with symlinks.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use rustix::io::Errno;

/// As many symlinks in one path as the kernel follows.
const MAX_LINKS: usize = 40;

/// A directory as the root of path resolution: absolute paths and symlinks begin there, `..` ends
/// there.
#[derive(Debug)]
pub(crate) struct Tree(OwnedFd);

impl From<OwnedFd> for Tree {
    fn from(root: OwnedFd) -> Self {
        Self(root)
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Tree {
    /// The tree at `path`, which is trusted.
    pub(crate) fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path.as_ref(), flags, Mode::empty())?))
    }

    /// Opens an existing path; `O_PATH` gives what can be mounted on.
    pub(crate) fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(self.resolve(path.as_ref(), flags, ResolveFlags::empty())?)
    }

    /// Opens an existing path none of whose components is a symlink.
    pub(crate) fn open_without_links(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.resolve(path, OFlags::PATH, ResolveFlags::NO_SYMLINKS)?)
    }

    fn resolve(&self, path: &Path, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
        let how = how | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        sys::resolve::open(&self.0, path, flags | OFlags::CLOEXEC, how)
    }

    /// The directory at `path`, made with its parents where missing, mode 0755.
    pub(crate) fn directory(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        match self.resolve(path.as_ref(), OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty()) {
            Err(Errno::NOENT) => self.make_directory(path.as_ref()),
            result => Ok(result?),
        }
    }

    /// The file at `path`, made empty where missing, with its parents. What exists may be anything
    /// but a directory.
    pub(crate) fn file(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        match self.resolve(path, OFlags::PATH, ResolveFlags::empty()) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let (parent, name) = self.parent(path)?;
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&parent, &name, create, Mode::from_raw_mode(0o644))?;
        Ok(openat(
            &parent,
            &name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// The directory that holds the last component of `path`, made where missing, and that name.
    pub(crate) fn parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.directory(parent)?, name.to_owned()))
    }

    /// Makes what is missing of a path, component by component. A symlink to what does not exist yet
    /// is followed, beneath the root as always.
    fn make_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.make_components(&path)? {
                Made::Directory(fd) => return Ok(fd),
                Made::Elsewhere(target) => path = target,
            }
        }
        Err(Errno::LOOP.into())
    }

    fn make_components(&self, path: &Path) -> io::Result<Made> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut done = PathBuf::from("/");
        let mut current = self.resolve(&done, flags, ResolveFlags::empty())?;
        let mut components = path.components();
        while let Some(component) = components.next() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => "..".as_ref(),
                _ => continue,
            };
            done.push(name);
            current = match self.resolve(&done, flags, ResolveFlags::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) => {}
                        // A dangling symlink, or somebody was faster.
                        Err(Errno::EXIST) => {
                            let Ok(link) = rustix::fs::readlinkat(&current, name, Vec::new())
                            else {
                                return Ok(Made::Elsewhere(path.to_owned()));
                            };
                            done.pop();
                            let link = std::ffi::OsStr::from_bytes(link.to_bytes());
                            return Ok(Made::Elsewhere(done.join(link).join(components.as_path())));
                        }
                        Err(error) => return Err(error.into()),
                    }
                    let own = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(&current, name, own, Mode::empty())?
                }
                result => result?,
            };
        }
        Ok(Made::Directory(current))
    }
}

/// What came of an attempt to make a directory.
enum Made {
    /// It is there.
    Directory(OwnedFd),
    /// A symlink is in the way: this is the path with the link replaced.
    Elsewhere(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hull-tree-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root")).expect("scratch");
        path
    }

    #[test]
    fn no_path_leads_out_of_the_tree() {
        let base = scratch("escape");
        let root = base.join("root");
        fs::create_dir(base.join("outside")).expect("outside");
        symlink("../outside", root.join("up")).expect("link");
        symlink(base.join("outside"), root.join("absolute")).expect("link");
        symlink("/missing/deep", root.join("dangling")).expect("link");
        symlink("loop", root.join("loop")).expect("link");
        let tree = Tree::at(&root).expect("opens");
        for path in ["up/x", "absolute/x", "dangling/x", "../../x", "/../outside/x", "a/b/c"] {
            tree.directory(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        tree.file("up/file").expect("a file");
        assert_eq!(fs::read_dir(base.join("outside")).expect("readable").count(), 0);
        assert!(root.join("missing/deep/x").is_dir());
        assert!(root.join("outside/file").is_file());
        assert!(tree.directory("loop/x").is_err());
        fs::remove_dir_all(base).expect("removed");
    }
}
