//! Removing a tree of any depth.
//!
//! Containers and images make trees as deep as they like. Whoever descends such a tree needs a
//! descriptor and a piece of stack for each level, and a hostile one ends the program. So nothing
//! descends here: what is found below the first level is moved up to it, then it is the first level's
//! turn.
//!
//! Symlinks are removed, never followed; what is mounted in the tree is an error.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// How directories are opened.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the directory at `path` with all that is in it.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let root = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
    let mut moved = 0;
    loop {
        let names = names(&root)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            if !unlink(root.as_fd(), &name)? {
                empty(&root, &name, &mut moved)?;
                rustix::fs::unlinkat(&root, &name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Removes what is in `name`; directories with something in them move up to `root`.
fn empty(root: &OwnedFd, name: &CString, moved: &mut u64) -> io::Result<()> {
    let dir = rustix::fs::openat(root, name, DIRECTORY, Mode::empty())?;
    for child in names(&dir)? {
        while !unlink(dir.as_fd(), &child)? {
            *moved += 1;
            let up = format!(".hull-removed-{moved}");
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&dir, &child, root, OsStr::new(&up), flags) {
                Ok(()) => break,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Removes a file or an empty directory. Returns whether it is gone.
fn unlink(dir: BorrowedFd, name: &CString) -> io::Result<bool> {
    let unlinked = match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
        unlinked => unlinked,
    };
    match unlinked {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_deeper_than_any_stack_is_removed() {
        let outside = tempfile::tempdir().expect("temporary directory");
        let root = outside.path().join("tree");
        fs::create_dir(&root).expect("create");
        let mut dir = rustix::fs::open(&root, DIRECTORY, Mode::empty()).expect("open");
        for _ in 0..3_000 {
            rustix::fs::mkdirat(&dir, "d", Mode::from_raw_mode(0o755)).expect("create");
            dir = rustix::fs::openat(&dir, "d", DIRECTORY, Mode::empty()).expect("open");
        }
        remove_tree(&root).expect("remove");
        assert!(!root.exists());
    }

    #[test]
    fn only_the_tree_is_removed() {
        let outside = tempfile::tempdir().expect("temporary directory");
        fs::write(outside.path().join("kept"), "").expect("write");
        let root = outside.path().join("tree");
        for dir in ["a/b/c", "a/.hull-removed-1", ".hull-removed-1/x", ".hull-removed-2"] {
            fs::create_dir_all(root.join(dir)).expect("create");
            fs::write(root.join(dir).join("file"), "").expect("write");
            symlink(outside.path(), root.join(dir).join("link")).expect("symlink");
        }
        remove_tree(&root).expect("remove");
        assert!(!root.exists());
        assert!(outside.path().join("kept").exists());
        symlink(outside.path(), &root).expect("symlink");
        assert!(remove_tree(&root).is_err(), "a symlink is no tree");
        assert!(outside.path().join("kept").exists());
    }
}
