//! The files of an image or of another stage, as a tree to copy from.

use std::ffi::OsStr;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tree::archive::{self, Archive, Member, Members};
use tree::pack::{self, Marks, Packer};

use crate::source::{Found, Pick, Source};

/// Nothing above the root, and no symlink on the way.
const STRICT: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Layers taken together.
#[derive(Debug)]
pub struct Layers {
    root: OwnedFd,
    /// What the files are known by: the digest of the topmost layer and all beneath.
    identity: String,
}

impl Layers {
    /// Of directories, topmost first; `identity` is different for others.
    pub fn of(lower: &[PathBuf], identity: String) -> io::Result<Self> {
        Ok(Self { root: tree::view::layers(lower, None)?, identity })
    }

    /// Of a tree whose root is open.
    pub fn at(root: OwnedFd) -> Self {
        Self::known(root, String::new())
    }

    /// Of a tree whose root is open; `identity` is different for others.
    pub fn known(root: OwnedFd, identity: String) -> Self {
        Self { root, identity }
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
        sys::resolve::open(&self.root, path, flags | OFlags::CLOEXEC, STRICT)
    }
}

impl Source for Layers {
    fn look(&self, path: &[u8]) -> io::Result<Option<Found>> {
        let file = match self.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            file => file?,
        };
        let stat = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH)?;
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::Symlink => {
                Found::Symlink(rustix::fs::readlinkat(&file, "", Vec::new())?.into_bytes())
            }
            _ => Found::File,
        }))
    }

    fn names(&self, dir: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let dir = self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn members<'a>(&'a self, picks: &'a [Pick]) -> io::Result<Box<dyn Members + 'a>> {
        let root = self.root.try_clone()?;
        let chosen = picks.to_vec();
        let (reader, writer) = io::pipe()?;
        let packing = std::thread::Builder::new().spawn(move || {
            let skip = |path: &[u8]| chosen.iter().any(|pick| leaves(pick, path));
            let mut packer =
                Packer::new(io::BufWriter::new(writer), root.as_fd(), Marks::Files, &skip);
            for (number, pick) in chosen.iter().enumerate() {
                let path = if pick.path.is_empty() { b"." } else { &pick.path[..] };
                // The same path may be picked twice: its number tells whose the member is.
                packer.add(path, format!("{number}").as_bytes())?;
            }
            packer.finish().map(drop)
        })?;
        let archive = Archive::new(reader);
        Ok(Box::new(Packed { archive, picks, packing: Some(packing) }))
    }

    fn fingerprint(&self, picks: &[Pick], hash: &mut Sha256) -> io::Result<()> {
        hash.update(&self.identity);
        for pick in picks {
            hash.update(format!(" {} {} ", pick.path.len(), pick.name.len()));
            hash.update(&pick.path);
            hash.update(&pick.name);
        }
        Ok(())
    }
}

/// Whether `path` is beneath the pick and stays behind.
fn leaves(pick: &Pick, path: &[u8]) -> bool {
    let beneath = pick.path.is_empty()
        || path.strip_prefix(&pick.path[..]).is_some_and(|rest| rest.starts_with(b"/"));
    beneath && !pick.takes(path)
}

/// Members that a thread packs.
struct Packed<'a> {
    archive: Archive<PipeReader>,
    picks: &'a [Pick],
    packing: Option<JoinHandle<Result<(), pack::Error>>>,
}

impl Packed<'_> {
    /// The name that a member has where it goes.
    fn renamed(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let slash = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
        let number: usize = str::from_utf8(&name[..slash]).ok()?.parse().ok()?;
        let rest = name[slash..].strip_prefix(b"/").unwrap_or_default();
        Some(crate::source::join(&self.picks.get(number)?.name, rest))
    }
}

impl Members for Packed<'_> {
    fn next_member(&mut self) -> Result<Option<Member>, archive::Error> {
        let next = self.archive.next_member();
        if let Ok(Some(member)) = next {
            let lost = || archive::Error::Read(io::ErrorKind::InvalidData.into());
            let name = self.renamed(&member.name).ok_or_else(lost)?;
            let link = if member.kind == archive::Type::HardLink {
                self.renamed(&member.link).ok_or_else(lost)?
            } else {
                member.link.clone()
            };
            return Ok(Some(Member { name, link, ..member }));
        }
        // Why the archive ended.
        match self.packing.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(archive::Error::Read(io::Error::other(error))),
            _ => next,
        }
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.archive.read(buffer)
    }
}
