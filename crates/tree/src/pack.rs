//! Writing directory trees as tar archives.
//!
//! Used for `cp` out of containers, `export`, the first filling of volumes, and the layers of commits.
//! A tree may be in use, and by whom it was written is not trusted: every file is opened beneath the
//! root without following a symlink, looked at by descriptor, and read only if it is a regular file. A
//! file that grows is cut where it ended at first, one that shrinks is filled up with zeros.
//!
//! ```text
//!   directory ─▶ its names, sorted ─▶ each: open, header (PAX where ustar cannot say it), data
//! ```
//!
//! With [`Marks::Layer`] the tree is an overlay's upper directory: devices 0:0 become whiteouts and opaque
//! directories are marked as the OCI wants them.
//!
//! Spec: POSIX pax; OCI image-spec, layer.md "Whiteouts".

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Dir, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tar::{EntryType, Header};

/// Bytes copied at a time.
const BUFFER: usize = 128 << 10;
/// File systems that show the kernel, not files: from `linux/magic.h`.
const KERNEL: [u32; 8] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
];

/// How overlayfs's own marks are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// There are none: what is seen is what is written.
    Files,
    /// The tree is a writable layer.
    Layer,
}

/// A tree could not be written as an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the tree.
    #[error("read {name:?}")]
    Read {
        /// Beneath the root.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// Whoever takes the archive takes no more.
    #[error("write the archive")]
    Write(#[source] io::Error),
}

/// What is left out, by its path beneath the root.
pub type Skip<'a> = &'a (dyn Fn(&[u8]) -> bool + Sync);

/// An archive being written.
pub struct Packer<'a, W> {
    out: W,
    root: BorrowedFd<'a>,
    marks: Marks,
    skip: Skip<'a>,
    /// Files of several names that were written, by device and number.
    links: HashMap<(u64, u64), Vec<u8>>,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Begins an archive of what is beneath `root`.
    pub fn new(out: W, root: BorrowedFd<'a>, marks: Marks, skip: Skip<'a>) -> Self {
        Self { out, root, marks, skip, links: HashMap::new(), bytes: 0, buffer: vec![0; BUFFER] }
    }

    /// Bytes of the files so far; one of several names counts once.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the file or directory at `path`, with all that is in it, under the name `name`.
    pub fn add(&mut self, path: &[u8], name: &[u8]) -> Result<(), Error> {
        let mut pending = vec![(path.to_vec(), name.to_vec())];
        while let Some((path, name)) = pending.pop() {
            let Some(file) = self.open(&path)? else { continue };
            // Without a name only what is in it is added.
            if !name.is_empty() && !self.member(&file, &path, &name)? {
                continue;
            }
            // Taken from the end: the first name must be the last.
            for leaf in self.names(&path)?.into_iter().rev() {
                let below = join(&path, &leaf);
                if !(self.skip)(&below) {
                    pending.push((below, join(&name, &leaf)));
                }
            }
        }
        Ok(())
    }

    /// Writes the end mark and gives the output back.
    pub fn finish(mut self) -> Result<W, Error> {
        self.out.write_all(&[0; 1024]).map_err(Error::Write)?;
        self.out.flush().map_err(Error::Write)?;
        Ok(self.out)
    }

    /// What is at `path`; `None` when it went away meanwhile.
    fn open(&self, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match sys::resolve::open(self.root, here(path), flags, STRICT) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) if path != b"." => Ok(None),
            Err(error) => Err(unreadable(path)(error.into())),
        }
    }

    /// The names in the directory at `path`.
    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let failed = unreadable(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match sys::resolve::open(self.root, here(path), flags, STRICT) {
            // Gone, or another kind of thing by now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            dir => dir.map_err(|error| failed(error.into()))?,
        };
        let kind = rustix::fs::fstatfs(&dir).map_err(|error| failed(error.into()))?.f_type;
        if u32::try_from(kind).is_ok_and(|kind| KERNEL.contains(&kind)) {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in Dir::new(dir).map_err(|error| failed(error.into()))? {
            let entry = entry.map_err(|error| failed(error.into()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Writes one member; gives whether it is a directory to go into.
    fn member(&mut self, file: &OwnedFd, path: &[u8], name: &[u8]) -> Result<bool, Error> {
        let failed = unreadable(path);
        let stat = rustix::fs::fstat(file).map_err(|error| failed(error.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.marks == Marks::Layer && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            self.whiteout(name, b"")?;
            return Ok(false);
        }
        let mut header = header_of(&stat);
        let mut records = Records::default();
        records.numbers(&mut header, &stat);
        match kind {
            FileType::Directory => {
                self.xattrs(file, &mut records);
                let mut shown = name.to_vec();
                if shown.last() != Some(&b'/') {
                    shown.push(b'/');
                }
                self.header(&mut header, EntryType::Directory, &shown, b"", records)?;
                if self.marks == Marks::Layer && is_opaque(file) {
                    self.whiteout(&join(name, b"x"), OPAQUE)?;
                }
                return Ok(true);
            }
            FileType::RegularFile => self.regular(file, &stat, path, name, header, records)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(file, "", Vec::new())
                    .map_err(|error| failed(error.into()))?;
                self.header(&mut header, EntryType::Symlink, name, target.as_bytes(), records)?;
            }
            FileType::CharacterDevice => {
                self.header(&mut header, EntryType::Char, name, b"", records)?;
            }
            FileType::BlockDevice => {
                self.header(&mut header, EntryType::Block, name, b"", records)?;
            }
            FileType::Fifo => self.header(&mut header, EntryType::Fifo, name, b"", records)?,
            // A socket belongs to a program; archives have no word for it.
            _ => {}
        }
        Ok(false)
    }

    fn regular(
        &mut self,
        file: &OwnedFd,
        stat: &Stat,
        path: &[u8],
        name: &[u8],
        mut header: Header,
        mut records: Records,
    ) -> Result<(), Error> {
        let failed = unreadable(path);
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                return self.header(&mut header, EntryType::Link, name, &first, records);
            }
            self.links.insert(key, name.to_vec());
        }
        self.xattrs(file, &mut records);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.bytes += size;
        // The same file as was looked at, whatever has its name by now.
        let mut input = File::open(by_descriptor(file)).map_err(&failed)?.take(size);
        header.set_size(size.min(MAX_SIZE));
        if size > MAX_SIZE {
            records.add(b"size", size.to_string().as_bytes());
        }
        self.header(&mut header, EntryType::Regular, name, b"", records)?;
        let mut left = size;
        while left > 0 {
            let read = input.read(&mut self.buffer).map_err(&failed)?;
            if read == 0 {
                let zeros = io::copy(&mut io::repeat(0).take(left), &mut self.out);
                zeros.map_err(Error::Write)?;
                break;
            }
            self.out.write_all(&self.buffer[..read]).map_err(Error::Write)?;
            left -= read as u64;
        }
        self.pad(size)
    }

    /// A header, after one of records if it needs them.
    fn header(
        &mut self,
        header: &mut Header,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        mut records: Records,
    ) -> Result<(), Error> {
        header.set_entry_type(kind);
        let bytes = header.as_mut_bytes();
        if !fit(name, &mut bytes[..100]) {
            records.add(b"path", name);
        }
        if !fit(link, &mut bytes[157..257]) {
            records.add(b"linkpath", link);
        }
        header.set_cksum();
        if !records.0.is_empty() {
            let mut before = empty();
            before.set_entry_type(EntryType::XHeader);
            before.set_size(records.0.len() as u64);
            before.set_mode(0o644);
            before.set_cksum();
            self.out.write_all(before.as_bytes()).map_err(Error::Write)?;
            self.out.write_all(&records.0).map_err(Error::Write)?;
            self.pad(records.0.len() as u64)?;
        }
        self.out.write_all(header.as_bytes()).map_err(Error::Write)
    }

    /// An empty file that says what is hidden: `name`, or with a `mark` all that is beside it.
    fn whiteout(&mut self, name: &[u8], mark: &[u8]) -> Result<(), Error> {
        let cut = name.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        let leaf = if mark.is_empty() { &name[cut..] } else { mark };
        let name = [&name[..cut], b".wh.", leaf].concat();
        let mut header = empty();
        self.header(&mut header, EntryType::Regular, &name, b"", Records::default())
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let rest = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
        self.out.write_all(&[0; 512][..rest]).map_err(Error::Write)
    }

    /// The xattrs that mean the same elsewhere: capabilities, and what users set.
    fn xattrs(&self, file: &OwnedFd, records: &mut Records) {
        let path = by_descriptor(file);
        let mut names = vec![0; 64 << 10];
        // A file system without them has none.
        let listed = rustix::fs::listxattr(&path, &mut names).unwrap_or(0);
        for name in names[..listed].split(|b| *b == 0) {
            if !name.starts_with(b"user.") && name != b"security.capability" {
                continue;
            }
            if self.marks == Marks::Layer && name.starts_with(b"user.overlay.") {
                continue;
            }
            let mut value = vec![0; 64 << 10];
            if let Ok(size) = rustix::fs::getxattr(&path, name, &mut value) {
                records.add(&[b"SCHILY.xattr.", name].concat(), &value[..size]);
            }
        }
    }
}

/// Nothing above the root, and no symlink on the way.
const STRICT: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
/// The rest of an opaque directory's mark.
const OPAQUE: &[u8] = b".wh..opq";
/// The largest size and id that ustar's octal digits hold.
const MAX_SIZE: u64 = 0o777_7777_7777;
const MAX_ID: u32 = 0o777_7777;

/// `LENGTH KEY=VALUE\n`, again and again.
#[derive(Debug, Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // Space, equals sign and line feed; the length counts its own digits too.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        let record = [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat();
        self.0.extend(record);
    }

    /// Owner and time, in the header where they fit.
    fn numbers(&mut self, header: &mut Header, stat: &Stat) {
        for (key, id) in [(&b"uid"[..], stat.st_uid), (b"gid", stat.st_gid)] {
            if id > MAX_ID {
                self.add(key, id.to_string().as_bytes());
            }
        }
        header.set_uid(stat.st_uid.min(MAX_ID).into());
        header.set_gid(stat.st_gid.min(MAX_ID).into());
        let seconds = u64::try_from(stat.st_mtime).ok().filter(|seconds| *seconds <= MAX_SIZE);
        header.set_mtime(seconds.unwrap_or(0));
        if seconds.is_none() {
            self.add(b"mtime", stat.st_mtime.to_string().as_bytes());
        }
    }
}

/// A header with nothing in it but numbers.
fn empty() -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn header_of(stat: &Stat) -> Header {
    let mut header = Header::new_ustar();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_size(0);
    let kind = FileType::from_raw_mode(stat.st_mode);
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        let major = rustix::fs::major(stat.st_rdev);
        let minor = rustix::fs::minor(stat.st_rdev);
        // Both fit: a ustar header has these fields, and the kernel's numbers have 20 bits at most.
        let _ = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
    }
    header
}

/// Puts `text` into a field; false when it does not fit or is not plain.
fn fit(text: &[u8], field: &mut [u8]) -> bool {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    text.len() <= field.len() && text.is_ascii()
}

fn join(path: &[u8], leaf: &[u8]) -> Vec<u8> {
    match path {
        b"" | b"." => leaf.to_vec(),
        _ if path.ends_with(b"/") => [path, leaf].concat(),
        _ => [path, b"/", leaf].concat(),
    }
}

fn here(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}

fn by_descriptor(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0_u8; 1];
    rustix::fs::getxattr(by_descriptor(dir), "trusted.overlay.opaque", &mut value)
        .is_ok_and(|length| value.get(..length) == Some(b"y"))
}

fn unreadable(path: &[u8]) -> impl Fn(io::Error) -> Error {
    let name = String::from_utf8_lossy(path).into_owned();
    move |source| Error::Read { name: name.clone(), source }
}

#[cfg(test)]
mod tests;
