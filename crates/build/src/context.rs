//! A build's context: the client's archive, kept as one file with a list of what is in it.
//!
//! Nothing of it is unpacked before a step needs it, and then straight into that step's layer. Symlinks are
//! followed in the list, where there is nothing to escape to: a link that leads out of the context leads
//! nowhere.
//!
//! ```text
//!   archive ─▶ spool: the files' bytes, one after the other     (an unnamed file)
//!          └─▶ list: path ─▶ attributes, place in the spool, digest
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use image::disk;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use spec::{Digest, Kind};
use tree::archive::{self, Archive, Member, Members, Type};

use crate::ignore::Ignore;
use crate::layers::Layers;
use crate::source::{self, Found, Pick, Source};

/// Bytes copied at a time.
const BUFFER: usize = 256 << 10;
/// The most files that a context may have.
const MAX_ENTRIES: usize = 1_000_000;
/// What a Dockerfile is called.
pub(crate) const DOCKERFILE: &str = "Dockerfile";
/// The longest Dockerfile or list of patterns, in bytes.
const MAX_TEXT: u64 = 8 << 20;

/// What a client sent to be built of.
#[derive(Debug)]
pub struct Context {
    spool: File,
    entries: BTreeMap<Vec<u8>, Entry>,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error("read the build context")]
    Archive(#[from] archive::Error),
    /// A name that leads out of it.
    #[error("{0:?} leads out of the build context")]
    Outside(String),
    /// A kind of file that a context cannot have.
    #[error(
        "{name:?} in the build context is {what}: only files, directories and links can be copied"
    )]
    Odd {
        /// The file.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// More files than anyone means.
    #[error(
        "the build context has more than {MAX_ENTRIES} files: name what is not needed in .dockerignore"
    )]
    Many,
    /// A hard link to what is not there.
    #[error("{0:?} in the build context is a link to a file that is not before it")]
    Dangling(String),
    /// It cannot be kept.
    #[error("keep the build context")]
    Spool(#[source] io::Error),
    /// A text that is no text.
    #[error("{name}: longer than 8 MiB")]
    Long {
        /// The file.
        name: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Archive(error) => error.kind(),
            Self::Spool(error) => disk::kind_of(error),
            Self::Outside(_)
            | Self::Odd { .. }
            | Self::Many
            | Self::Dangling(_)
            | Self::Long { .. } => Kind::Invalid,
        }
    }
}

/// A file, directory or symlink.
#[derive(Debug, Clone)]
struct Entry {
    member: Member,
    /// Where its bytes begin in the spool.
    offset: u64,
    /// Of its bytes.
    digest: Option<Digest>,
}

impl Context {
    /// Takes in an archive that is not compressed. The bytes lie beneath `dir` as long as this lives. Blocks.
    pub fn read(archive: impl Read, dir: &Path) -> Result<Self, Error> {
        let spool = unnamed(dir)?;
        let mut archive = Archive::new(archive);
        let entries = Taken::all(&mut archive, &spool)?;
        // What follows the end mark belongs to the request.
        io::copy(archive.input(), &mut io::sink()).map_err(archive::Error::Read)?;
        Ok(Self { spool, entries })
    }

    /// Takes in `members` as they come; otherwise as [`Context::read`].
    pub fn of_members(mut members: impl Members, dir: &Path) -> Result<Self, Error> {
        let spool = unnamed(dir)?;
        let entries = Taken::all(&mut members, &spool)?;
        Ok(Self { spool, entries })
    }

    /// Takes in what is beneath the directory `root`; otherwise as [`Context::read`].
    pub(crate) fn of_directory(root: &Path, dir: &Path) -> Result<Self, Error> {
        let tree = Layers::at(tree::view::open(root).map_err(Error::Spool)?);
        let whole = [Pick { path: Vec::new(), name: Vec::new(), exclude: None }];
        Self::of_members(tree.members(&whole).map_err(Error::Spool)?, dir)
    }

    /// A context that is a Dockerfile alone; `None` if it is no text.
    pub(crate) fn of_dockerfile(data: impl Read, dir: &Path) -> Result<Option<Self>, Error> {
        let mut text = Vec::new();
        data.take(MAX_TEXT + 1).read_to_end(&mut text).map_err(archive::Error::Read)?;
        if text.len() as u64 > MAX_TEXT {
            return Err(Error::Long { name: DOCKERFILE.to_owned() });
        }
        if text.contains(&0) || str::from_utf8(&text).is_err() {
            return Ok(None);
        }
        let spool = unnamed(dir)?;
        (&spool).write_all(&text).map_err(Error::Spool)?;
        let digest = Some(Digest::from_sha256(Sha256::digest(&text).into()));
        let member = source::member(DOCKERFILE.into(), Type::File, 0o644);
        let member = Member { size: text.len() as u64, ..member };
        let entry = Entry { member, offset: 0, digest };
        Ok(Some(Self { spool, entries: BTreeMap::from([(DOCKERFILE.into(), entry)]) }))
    }

    /// The text of the file at `path`; `None` if there is none.
    pub fn text(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let Ok(Some(real)) = source::resolve(self, path.as_bytes()) else { return Ok(None) };
        let Some(entry) = self.entries.get(&real) else { return Ok(None) };
        if entry.member.kind != Type::File {
            return Ok(None);
        }
        if entry.member.size > MAX_TEXT {
            return Err(Error::Long { name: path.to_owned() });
        }
        let mut text = vec![0; usize::try_from(entry.member.size).unwrap_or(0)];
        self.spool.read_exact_at(&mut text, entry.offset).map_err(Error::Spool)?;
        Ok(Some(text))
    }

    /// Takes away what is to be ignored, but for a directory's sake on the way to what is not.
    pub fn ignore(&mut self, ignore: &Ignore) {
        let kept = |path: &[u8]| !ignore.excludes(&String::from_utf8_lossy(path));
        let parents: std::collections::BTreeSet<Vec<u8>> = self
            .entries
            .keys()
            .filter(|path| kept(path))
            .flat_map(|path| parents(path).map(<[u8]>::to_vec))
            .collect();
        self.entries.retain(|path, _| kept(path) || parents.contains(path));
    }

    /// What is at `path` and beneath, in order.
    fn beneath<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Entry)> {
        let below = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let own = self.entries.get_key_value(path);
        let rest = self.entries.range(below.clone()..);
        let rest = rest.take_while(move |(key, _)| key.starts_with(&below));
        own.into_iter().chain(rest.filter(move |(key, _)| key.as_slice() != path))
    }
}

/// A file beneath `dir` that has no name, and so goes with its descriptor.
pub fn unnamed(dir: &Path) -> Result<File, Error> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600));
    Ok(file.map_err(|error| Error::Spool(error.into()))?.into())
}

/// The directories that lead to `path`, outermost first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slash = |(at, byte): (usize, &u8)| (*byte == b'/').then_some(at);
    path.iter().enumerate().filter_map(slash).map(move |at| &path[..at])
}

struct Taken<'a, M> {
    members: &'a mut M,
    out: BufWriter<&'a File>,
    offset: u64,
    entries: BTreeMap<Vec<u8>, Entry>,
    buffer: Vec<u8>,
}

impl<'a, M: Members> Taken<'a, M> {
    /// All members, their bytes in `spool`.
    fn all(members: &'a mut M, spool: &'a File) -> Result<BTreeMap<Vec<u8>, Entry>, Error> {
        let mut taken = Self {
            members,
            out: BufWriter::with_capacity(BUFFER, spool),
            offset: 0,
            entries: BTreeMap::new(),
            buffer: vec![0; BUFFER],
        };
        while let Some(member) = taken.members.next_member()? {
            taken.add(member)?;
        }
        taken.out.flush().map_err(Error::Spool)?;
        Ok(taken.entries)
    }

    fn add(&mut self, mut member: Member) -> Result<(), Error> {
        let path = normal(&member.name).ok_or_else(|| Error::Outside(text(&member.name)))?;
        if self.entries.len() >= MAX_ENTRIES {
            return Err(Error::Many);
        }
        for parent in parents(&path) {
            let made = Entry { member: directory(parent), offset: 0, digest: None };
            let there = self.entries.entry(parent.to_vec()).or_insert(made);
            if there.member.kind != Type::Directory {
                return Err(odd(&member, "beneath something that is no directory"));
            }
        }
        let entry = match member.kind {
            Type::HardLink => {
                let target = normal(&member.link).and_then(|target| self.entries.get(&target));
                target.cloned().ok_or_else(|| Error::Dangling(text(&member.name)))?
            }
            Type::File if member.sparse.is_some() => return Err(odd(&member, "a sparse file")),
            Type::File => {
                let (offset, digest) = self.data(member.size)?;
                Entry { member, offset, digest: Some(digest) }
            }
            Type::Directory | Type::Symlink => {
                member.size = 0;
                Entry { member, offset: 0, digest: None }
            }
            Type::Fifo => return Err(odd(&member, "a FIFO")),
            Type::Character { .. } | Type::Block { .. } => return Err(odd(&member, "a device")),
        };
        // A file in a directory's place hides what came before.
        if entry.member.kind != Type::Directory {
            let below = [&path[..], b"/"].concat();
            let hidden = self.entries.range(below.clone()..);
            let hidden = hidden.take_while(|(key, _)| key.starts_with(&below));
            let hidden: Vec<_> = hidden.map(|(key, _)| key.clone()).collect();
            for key in &hidden {
                self.entries.remove(key);
            }
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Keeps a file's bytes; gives where, and their digest.
    fn data(&mut self, size: u64) -> Result<(u64, Digest), Error> {
        let (offset, mut left) = (self.offset, size);
        let mut hash = Sha256::new();
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let read = self.members.read(&mut self.buffer[..most]).map_err(archive::Error::Read)?;
            hash.update(&self.buffer[..read]);
            self.out.write_all(&self.buffer[..read]).map_err(Error::Spool)?;
            left -= read as u64;
        }
        self.offset += size;
        Ok((offset, Digest::from_sha256(hash.finalize().into())))
    }
}

impl Source for Context {
    fn look(&self, path: &[u8]) -> io::Result<Option<Found>> {
        if path.is_empty() {
            return Ok(Some(Found::Directory));
        }
        Ok(self.entries.get(path).map(|entry| match entry.member.kind {
            Type::Directory => Found::Directory,
            Type::Symlink => Found::Symlink(entry.member.link.clone()),
            _ => Found::File,
        }))
    }

    fn names(&self, dir: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let below = self.beneath(dir).filter(|(path, _)| path.as_slice() != dir);
        let leaf = below.map(|(path, _)| &path[skip..]);
        Ok(leaf.filter(|leaf| !leaf.contains(&b'/')).map(<[u8]>::to_vec).collect())
    }

    fn members<'a>(&'a self, picks: &'a [Pick]) -> io::Result<Box<dyn Members + 'a>> {
        let chosen = picks.iter().flat_map(move |pick| {
            let chosen = self.beneath(&pick.path).filter(|(path, _)| pick.takes(path));
            chosen.map(move |(path, entry)| {
                let mut member = entry.member.clone();
                member.name = pick.name_of(path);
                // Whoever sent it has no say in whose it will be, nor in what only a kernel should set.
                (member.uid, member.gid) = (0, 0);
                (member, entry.offset)
            })
        });
        Ok(Box::new(Chosen { spool: &self.spool, members: Box::new(chosen), at: 0, left: 0 }))
    }

    fn fingerprint(&self, picks: &[Pick], hash: &mut Sha256) -> io::Result<()> {
        for pick in picks {
            for (path, entry) in self.beneath(&pick.path).filter(|(path, _)| pick.takes(path)) {
                let name = pick.name_of(path);
                let Member { kind, mode, link, .. } = &entry.member;
                let digest = entry.digest.as_ref().map(Digest::hex).unwrap_or_default();
                hash.update(format!("{} {kind:?} {mode:o} {} {digest}\n", name.len(), link.len()));
                hash.update(&name);
                hash.update(link);
                for (key, value) in &entry.member.xattrs {
                    hash.update(format!(" {} {}", key.len(), value.len()));
                    hash.update(key);
                    hash.update(value);
                }
            }
        }
        Ok(())
    }
}

/// Members out of the spool.
struct Chosen<'a> {
    spool: &'a File,
    members: Box<dyn Iterator<Item = (Member, u64)> + 'a>,
    at: u64,
    left: u64,
}

impl Members for Chosen<'_> {
    fn next_member(&mut self) -> Result<Option<Member>, archive::Error> {
        let Some((member, offset)) = self.members.next() else { return Ok(None) };
        (self.at, self.left) = (offset, member.size);
        Ok(Some(member))
    }
}

impl Read for Chosen<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.spool.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A name without `.` and slashes at its ends; `None` if it leads out.
fn normal(name: &[u8]) -> Option<Vec<u8>> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    (!parts.iter().any(|part| *part == b".." || part.contains(&0))).then(|| parts.join(&b'/'))
}

/// A directory that an archive only implies.
fn directory(path: &[u8]) -> Member {
    source::member(path.to_vec(), Type::Directory, 0o755)
}

fn odd(member: &Member, what: &'static str) -> Error {
    Error::Odd { name: text(&member.name), what }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
