//! A tree of files once more: owners, modes, times, attributes, links and holes as they are.
//!
//! Data is shared with the first tree where the file system can do that (reflinks), and copied around holes where
//! it cannot. Every entry is opened beneath its directory and no symlink is followed: whoever wrote the tree may
//! have planted them. Nothing of it may change meanwhile, or the copy is of no one moment.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

/// How deep a tree may be: each level holds two descriptors.
const DEPTH: usize = 200;
/// Bytes that are copied at once where nothing is shared.
const CHUNK: usize = 1 << 20;

/// Copies the directory `from` with all that it holds into the empty directory `to`.
///
/// # Errors
///
/// Those of the file systems; `InvalidInput` for a tree that is deeper than 200 directories.
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut copy = Copy { root: to, seen: HashMap::new(), device: rustix::fs::fstat(from)?.st_dev };
    copy.directory(from, to, &mut Vec::new())?;
    dress(from, to, c".", &rustix::fs::fstat(from)?)
}

/// Copies the file `from` into the empty file `to`.
///
/// # Errors
///
/// Those of the file systems.
pub fn file(from: &File, to: &File) -> io::Result<()> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => return Ok(()),
        // No such file system, or not one and the same, or files of another kind.
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        range(from, to, data, end)?;
        at = end;
    }
    Ok(())
}

fn range(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; CHUNK];
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let read = from.read_at(&mut buffer[..most], at)?;
        if read == 0 {
            break;
        }
        to.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// Where files with several names are in the copy, by their number.
    seen: HashMap<u64, PathBuf>,
    /// The file system of the tree: what is mounted in it is not of it.
    device: u64,
}

impl Copy<'_> {
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<CString>,
    ) -> io::Result<()> {
        if path.len() > DEPTH {
            let problem = format!("deeper than {DEPTH} directories");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        for entry in Dir::read_from(from)? {
            let name = entry?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            path.push(name);
            let copied = self.entry(from, to, path);
            path.pop();
            copied?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<CString>,
    ) -> io::Result<()> {
        let name = path.last().cloned().unwrap_or_default();
        let found = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::Directory && found.st_nlink > 1 {
            if let Some(first) = self.seen.get(&found.st_ino) {
                return Ok(rustix::fs::linkat(self.root, first, to, &name, AtFlags::empty())?);
            }
            self.seen.insert(found.st_ino, joined(path));
        }
        let private = Mode::from_raw_mode(0o600);
        match kind {
            FileType::Directory if found.st_dev != self.device => {
                let problem = format!("{} is mounted from elsewhere", joined(path).display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
            FileType::Directory => {
                rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o700))?;
                let (below, copy) = (open_dir(from, &name)?, open_dir(to, &name)?);
                self.directory(below.as_fd(), copy.as_fd(), path)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let data = rustix::fs::openat(from, &name, flags | OFlags::RDONLY, Mode::empty())?;
                let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let copy = rustix::fs::openat(to, &name, new, private)?;
                file(&data.into(), &copy.into())?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, &name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, &name)?;
            }
            kind => rustix::fs::mknodat(to, &name, kind, private, found.st_rdev)?,
        }
        dress(from, to, &name, &found)
    }
}

fn open_dir(at: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn joined(path: &[CString]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    path.iter().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes())).collect()
}

/// Gives the copy what the entry has besides its data. A change of the owner takes privileges away, so that comes
/// first; times come last.
fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, found: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
        let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
        rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    }
    attributes(&by_descriptor(from, name), &by_descriptor(to, name))?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    #[allow(clippy::cast_possible_wrap)] // of a second
    let times = Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec as _),
        last_modification: time(found.st_mtime, found.st_mtime_nsec as _),
    };
    Ok(rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A name in a directory, for calls that take no descriptor.
fn by_descriptor(dir: BorrowedFd<'_>, name: &CStr) -> PathBuf {
    let dir = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    dir.join(joined(&[name.to_owned()]))
}

fn attributes(from: &PathBuf, to: &PathBuf) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(from, &mut names) {
        // A file system without any.
        Err(Errno::OPNOTSUPP) => return Ok(()),
        listed => listed?,
    };
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let size = rustix::fs::lgetxattr(from, name, &mut value)?;
        match rustix::fs::lsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            // Labels that only the kernel gives.
            Err(Errno::OPNOTSUPP) if name.starts_with(b"security.") => {}
            set => set?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn copied(make: impl FnOnce(&std::path::Path)) -> (tempfile::TempDir, io::Result<()>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).expect("a directory");
        fs::create_dir(&to).expect("a directory");
        make(&from);
        let (from, to) = (File::open(from).expect("there"), File::open(to).expect("there"));
        let done = tree(from.as_fd(), to.as_fd());
        (dir, done)
    }

    #[test]
    fn what_a_file_is_besides_its_data_is_kept() {
        let (dir, done) = copied(|from| {
            fs::write(from.join("file"), "data").expect("written");
            fs::hard_link(from.join("file"), from.join("other")).expect("linked");
            fs::set_permissions(from.join("file"), fs::Permissions::from_mode(0o4711))
                .expect("mode");
            symlink("/etc/passwd", from.join("out")).expect("linked");
            fs::create_dir(from.join("sub")).expect("a directory");
            rustix::fs::mkfifoat(rustix::fs::CWD, from.join("sub/fifo"), 0o640.into())
                .expect("a fifo");
            let time = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
            File::open(from.join("sub")).and_then(|sub| sub.set_times(time)).expect("its time");
            fs::set_permissions(from, fs::Permissions::from_mode(0o1750)).expect("mode");
        });
        done.expect("copied");
        let to = dir.path().join("to");
        let of = |name: &str| fs::symlink_metadata(to.join(name)).expect("there");
        assert_eq!(fs::read_to_string(to.join("other")).expect("there"), "data");
        assert_eq!((of("file").ino(), of("file").mode() & 0o7777), (of("other").ino(), 0o4711));
        assert_eq!(fs::read_link(to.join("out")).expect("a link").to_str(), Some("/etc/passwd"));
        assert!(of("sub/fifo").file_type().is_fifo());
        assert_eq!(of("sub").mtime(), 0);
        assert_eq!(of(".").mode() & 0o7777, 0o1750);
    }

    #[test]
    fn attributes_are_kept() {
        let none = XattrFlags::empty();
        let mut known = true;
        let (dir, done) = copied(|from| {
            fs::write(from.join("file"), "data").expect("written");
            let set = rustix::fs::setxattr(from.join("file"), "user.hull", b"kept", none);
            known = set != Err(Errno::OPNOTSUPP);
            assert!(!known || set.is_ok(), "{set:?}");
        });
        done.expect("copied");
        if !known {
            eprintln!("skipped: the file system of temporary files has no attributes of users");
            return;
        }
        let mut value = [0; 8];
        let read = rustix::fs::getxattr(dir.path().join("to/file"), "user.hull", &mut value);
        assert_eq!(&value[..read.expect("there")], b"kept");
    }

    #[test]
    fn holes_stay_holes() {
        let (dir, done) = copied(|from| {
            let file = File::create(from.join("sparse")).expect("a file");
            file.set_len(64 << 20).expect("its size");
            std::os::unix::fs::FileExt::write_all_at(&file, b"here", 32 << 20).expect("written");
        });
        done.expect("copied");
        let copy = File::open(dir.path().join("to/sparse")).expect("there");
        let found = copy.metadata().expect("there");
        assert!(found.blocks() < 2048 && found.len() == 64 << 20, "{}", found.blocks());
        let mut word = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&copy, &mut word, 32 << 20).expect("read");
        assert_eq!(&word, b"here");
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let (_dir, done) = copied(|from| {
            let mut at = File::open(from).map(OwnedFd::from).expect("there");
            for _ in 0..DEPTH + 5 {
                rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o755)).expect("a directory");
                at = open_dir(at.as_fd(), c"d").expect("there");
            }
        });
        let said = done.expect_err("too deep").to_string();
        assert!(said.contains("deeper than 200"), "{said}");
    }
}
