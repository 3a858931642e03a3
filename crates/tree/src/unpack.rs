//! Unpacking a layer's archive into a directory that overlayfs can stack.
//!
//! Runs on a blocking thread, once for each layer, while its bytes still arrive: the layers beneath it
//! need not be there. Members are taken in order; a later one replaces an earlier one of the same name.
//! Directories that the archive only implies look as they do beneath, which is seen to last ([`settle`]).
//! Whiteouts become overlayfs's own marks:
//!
//! ```text
//!   dir/.wh.name      ->  dir/name, a character device 0:0
//!   dir/.wh..wh..opq  ->  dir with the xattr trusted.overlay.opaque=y
//! ```
//!
//! Invariant: nothing outside the directory is read or written, whatever the archive says. Names with
//! `..` are refused; every directory is opened by the kernel with the layer as its root, so symlinks
//! (absolute ones too) lead to places inside; the last component is never followed.
//!
//! Invariant: only this module makes overlayfs's marks. An archive that brings its own (`trusted.*`
//! xattrs, a device 0:0) is refused.
//!
//! Spec: OCI image-spec, layer.md "Representing Changes", "Whiteouts"; kernel overlayfs.rst "whiteouts
//! and opaque directories".

pub mod extract;
mod tree;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::FileType;
use rustix::io::Errno;
use spec::Kind;

use crate::archive::{self, Archive, Member, Members, Type};
use crate::disk;
use tree::{Attributes, Existing, Tree};

/// What begins a whiteout's name.
const WHITEOUT: &[u8] = b".wh.";
/// The rest of an opaque directory's mark.
const OPAQUE: &[u8] = b".wh..opq";
/// Bytes copied at a time.
const BUFFER: usize = 256 << 10;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// A name that leads out of the layer.
    #[error("{name:?} in the archive leads out of the layer")]
    Outside {
        /// As the archive has it.
        name: String,
    },
    /// A whiteout that hides nothing possible.
    #[error("invalid whiteout {name:?}")]
    Whiteout {
        /// As the archive has it.
        name: String,
    },
    /// Something that overlayfs would take for its own mark.
    #[error("{name:?} in the archive has {what}, which is reserved for overlayfs")]
    Reserved {
        /// The member.
        name: String,
        /// An xattr's name or `device 0:0`.
        what: String,
    },
    /// A member could not be made.
    #[error("{action} {name:?} of the layer")]
    Make {
        /// The verb.
        action: &'static str,
        /// The member.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The layer's own directory cannot be used.
    #[error(transparent)]
    Root(#[from] disk::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Archive(e) => e.kind(),
            Self::Outside { .. } | Self::Whiteout { .. } | Self::Reserved { .. } => Kind::Invalid,
            Self::Make { source, .. } => {
                match source.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(
                        Errno::NOENT
                        | Errno::NOTDIR
                        | Errno::LOOP
                        | Errno::NAMETOOLONG
                        | Errno::EXIST
                        | Errno::INVAL,
                    ) => Kind::Invalid,
                    Some(Errno::OPNOTSUPP) => Kind::Unsupported,
                    _ => disk::kind_of(source),
                }
            }
            Self::Root(e) => e.kind(),
        }
    }
}

/// What an archive turned out to be.
#[derive(Debug)]
pub struct Found {
    /// Bytes of all files.
    pub size: u64,
    /// Directories that it only implies, outermost first; an empty name is the root.
    implied: BTreeSet<Vec<u8>>,
}

impl Found {
    /// Of a tree that was not unpacked: everything has the attributes that it should.
    pub fn whole(size: u64) -> Self {
        Self { size, implied: BTreeSet::new() }
    }
}

/// Unpacks `archive` (not compressed) into the empty directory `root`.
pub fn unpack(archive: impl Read, root: &Path) -> Result<Found, Error> {
    let mut unpacker = Unpacker::new(Archive::new(archive), Tree::open(root)?);
    unpacker.implied.insert(Vec::new());
    while let Some(member) = unpacker.archive.next_member()? {
        unpacker.take(&member)?;
    }
    unpacker.set_directory_times()?;
    Ok(Found { size: unpacker.size, implied: unpacker.implied })
}

/// Gives the directories that an archive only implied the attributes that they have in `lower`, the layers
/// beneath, topmost first.
pub fn settle(root: &Path, lower: &[PathBuf], found: &Found) -> Result<(), Error> {
    let tree = Tree::open(root)?;
    let lower = tree::Lower::open(lower)?;
    for path in &found.implied {
        tree.settle(path, &lower).map_err(|source| Error::Make {
            action: "set up",
            name: text(path),
            source,
        })?;
    }
    Ok(())
}

struct Unpacker<M> {
    archive: M,
    tree: Tree,
    /// Directories whose time is set last, because making what is in them changes it.
    times: Vec<(Vec<u8>, (i64, u32))>,
    /// Directories that were made for what is in them.
    implied: BTreeSet<Vec<u8>>,
    /// The directory of the member before, if that was a file: the next one is mostly beside it.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    buffer: Vec<u8>,
    size: u64,
}

/// A place in the layer: an open directory and a name in it.
struct Place<'a> {
    dir: Rc<OwnedFd>,
    leaf: &'a OsStr,
}

impl<M: Members> Unpacker<M> {
    fn new(archive: M, tree: Tree) -> Self {
        Self {
            archive,
            tree,
            times: Vec::new(),
            implied: BTreeSet::new(),
            last: None,
            buffer: vec![0; BUFFER],
            size: 0,
        }
    }

    fn take(&mut self, member: &Member) -> Result<(), Error> {
        check_marks(member)?;
        let parts = components(&member.name).ok_or_else(|| outside(&member.name))?;
        let Some((leaf, parents)) = parts.split_last() else { return self.root(member) };
        let dir = self.directory(parents, member)?;
        if let Some(hidden) = leaf.strip_prefix(WHITEOUT) {
            return whiteout(member, hidden, &*dir);
        }
        let place = Place { dir, leaf: OsStr::from_bytes(leaf) };
        let hides = clear(member, &place)?;
        self.create(member, &place, hides)?;
        if member.kind == Type::Directory {
            let path = parts.join(&b'/');
            self.implied.remove(&path);
            self.times.push((path, member.mtime));
        }
        Ok(())
    }

    /// The directory at `parents`, in which `member` is to be; made if need be.
    fn directory(&mut self, parents: &[&[u8]], member: &Member) -> Result<Rc<OwnedFd>, Error> {
        let path = parents.join(&b'/');
        let last = self.last.take().filter(|(last, _)| *last == path);
        let dir = if let Some((_, dir)) = last {
            dir
        } else {
            let made = |source| make("make the directory of", member, source);
            Rc::new(self.tree.make_dir(parents, &mut self.implied).map_err(made)?)
        };
        // What is no file may put something else in a directory's place.
        if member.kind == Type::File {
            self.last = Some((path, Rc::clone(&dir)));
        }
        Ok(dir)
    }

    /// The layer's own root.
    fn root(&mut self, member: &Member) -> Result<(), Error> {
        if member.kind != Type::Directory {
            return Err(outside(&member.name));
        }
        tree::dress(self.tree.root(), member).map_err(|e| make("set up", member, e))?;
        self.implied.remove(&Vec::new());
        self.times.push((Vec::new(), member.mtime));
        Ok(())
    }

    fn create(&mut self, member: &Member, place: &Place, hides: bool) -> Result<(), Error> {
        let Place { dir, leaf } = place;
        let failed = |e| make("make", member, e);
        match member.kind {
            Type::File => self.file(member, place),
            Type::HardLink => self.hard_link(member, place),
            Type::Directory => {
                let made = tree::enter_or_make(dir, leaf).map_err(failed)?;
                if hides {
                    tree::make_opaque(&made).map_err(failed)?;
                }
                tree::dress(&made, member).map_err(failed)
            }
            Type::Symlink => {
                rustix::fs::symlinkat(OsStr::from_bytes(&member.link), dir, *leaf)
                    .map_err(|e| failed(e.into()))?;
                tree::dress_link(dir, leaf, member).map_err(failed)
            }
            Type::Fifo => tree::node(dir, leaf, FileType::Fifo, (0, 0), member).map_err(failed),
            Type::Character { major, minor } => {
                let device = (major, minor);
                tree::node(dir, leaf, FileType::CharacterDevice, device, member).map_err(failed)
            }
            Type::Block { major, minor } => {
                let device = (major, minor);
                tree::node(dir, leaf, FileType::BlockDevice, device, member).map_err(failed)
            }
        }
    }

    fn file(&mut self, member: &Member, place: &Place) -> Result<(), Error> {
        let mut file =
            tree::new_file(&place.dir, place.leaf).map_err(|e| make("make", member, e))?;
        for (offset, length) in member.sparse.as_deref().unwrap_or(&[(0, member.size)]) {
            let sought = file.seek(SeekFrom::Start(*offset));
            sought.map_err(|e| make("write", member, e))?;
            let mut left = *length;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                let read = self.archive.read(&mut self.buffer[..most]);
                let read = read.map_err(|e| Error::Archive(archive::Error::Read(e)))?;
                file.write_all(&self.buffer[..read]).map_err(|e| make("write", member, e))?;
                left -= read as u64;
            }
        }
        if member.sparse.is_some() {
            file.set_len(member.size).map_err(|e| make("write", member, e))?;
        }
        self.size += member.size;
        tree::dress(&file, member).map_err(|e| make("set up", member, e))?;
        tree::set_times(&file, member.mtime).map_err(|e| make("set the time of", member, e))
    }

    /// Both names are the same file then, so the header's attributes are those of the first.
    fn hard_link(&self, member: &Member, place: &Place) -> Result<(), Error> {
        let parts = components(&member.link).ok_or_else(|| outside(&member.link))?;
        let (leaf, parents) = parts.split_last().ok_or_else(|| outside(&member.link))?;
        self.tree
            .link(parents, OsStr::from_bytes(leaf), &place.dir, place.leaf)
            .map_err(|e| make("link", member, e))
    }

    fn set_directory_times(&self) -> Result<(), Error> {
        for (path, mtime) in self.times.iter().rev() {
            self.tree.set_directory_time(path, *mtime).map_err(|source| Error::Make {
                action: "set the time of",
                name: text(path),
                source,
            })?;
        }
        Ok(())
    }
}

/// A whiteout hides what is in lower layers; what this layer itself has of that name stays.
fn whiteout(member: &Member, hidden: &[u8], dir: impl AsFd) -> Result<(), Error> {
    let hide = |e| make("hide what is beneath", member, e);
    if hidden == OPAQUE {
        return tree::make_opaque(dir).map_err(hide);
    }
    // Names such as `.wh..wh.plnk` are what aufs kept for itself.
    if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
        return Err(Error::Whiteout { name: text(&member.name) });
    }
    tree::hide(&dir, OsStr::from_bytes(hidden)).map_err(hide)
}

/// Makes room for `member`. Returns whether a whiteout was there: then a directory hides as well.
fn clear(member: &Member, place: &Place) -> Result<bool, Error> {
    let existing = tree::existing(&place.dir, place.leaf);
    let existing = existing.map_err(|e| make("look for", member, e))?;
    if existing == Existing::Directory && member.kind == Type::Directory {
        return Ok(false);
    }
    let replace = |e| make("replace", member, e);
    tree::remove(&place.dir, place.leaf, existing).map_err(replace)?;
    Ok(existing == Existing::Whiteout)
}

/// Refuses what overlayfs would read as more than a file.
fn check_marks(member: &Member) -> Result<(), Error> {
    let reserved = |what| Err(Error::Reserved { name: text(&member.name), what });
    if member.kind == (Type::Character { major: 0, minor: 0 }) {
        return reserved("device 0:0".to_owned());
    }
    match member.xattrs.iter().find(|(name, _)| name.starts_with(b"trusted.")) {
        Some((name, _)) => reserved(format!("the xattr {}", text(name))),
        None => Ok(()),
    }
}

/// The parts of a name, which is relative to the layer also with a slash in front. `None` for what can
/// name nothing inside.
fn components(name: &[u8]) -> Option<Vec<&[u8]>> {
    let parts = name.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.map(|part| (part != b".." && !part.contains(&0)).then_some(part)).collect()
}

fn outside(name: &[u8]) -> Error {
    Error::Outside { name: text(name) }
}

fn make(action: &'static str, member: &Member, source: io::Error) -> Error {
    Error::Make { action, name: text(&member.name), source }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The attributes that `upper`, the root of a container's writable layer, must have so that the merged
/// root looks as the image's does.
pub fn copy_root_attributes(from: &Path, to: &Path) -> Result<(), disk::Error> {
    use disk::Context;
    let source = tree::open_root(from).on("open", from)?;
    let target = tree::open_root(to).on("open", to)?;
    let copied = Attributes::of(&source).and_then(|attributes| attributes.apply(&target));
    copied.on("set the attributes of", to)
}

#[cfg(test)]
mod tests;
