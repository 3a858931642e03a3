//! Unpacking an archive into a directory that is in use: `cp` into containers, the filling of volumes.
//!
//! Names are taken as they are; there are no whiteouts. What is there gives way to what comes, as in
//! Docker: a directory stays if a directory comes, everything else is replaced.
//!
//! Invariant: that of [`super`], with the container's root as the root: a symlink that leads out of the
//! directory is followed only inside the container.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use spec::Kind;

use super::tree::{self, Existing, Tree};
use super::{Place, Unpacker, check_marks, components, make, outside};
use crate::archive::{Archive, Member, Members, Type};

/// How an archive is to be unpacked.
#[derive(Debug, Default, Clone)]
pub struct Extract {
    /// Where beneath the root.
    pub base: Vec<u8>,
    /// Whose everything becomes; `None` leaves the archive's owners.
    pub owner: Option<(u32, u32)>,
    /// Refuse to put a directory in a file's place, or a file in a directory's.
    pub keep_kinds: bool,
    /// Give `base` itself the attributes of the archive's root.
    pub dress_base: bool,
    /// Leave directories that are there as they look, but for what comes into them.
    pub keep_directories: bool,
}

/// An archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive, or a member that cannot be made.
    #[error(transparent)]
    Unpack(#[from] super::Error),
    /// Not to be replaced.
    #[error("cannot overwrite {there} {name:?} with {comes}")]
    Kinds {
        /// What there is.
        there: &'static str,
        /// Its name.
        name: String,
        /// What the archive has.
        comes: &'static str,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unpack(error) => error.kind(),
            Self::Kinds { .. } => Kind::Invalid,
        }
    }
}

/// Unpacks `archive` (not compressed) beneath `root`. Blocks.
pub fn extract(mut archive: impl Read, root: OwnedFd, how: &Extract) -> Result<(), Error> {
    place(Archive::new(&mut archive), root, how)?;
    // A client that still writes its padding would not see the answer.
    let _ = io::copy(&mut archive, &mut io::sink());
    Ok(())
}

/// Puts `members` beneath `root`. Blocks.
pub fn place(members: impl Members, root: OwnedFd, how: &Extract) -> Result<(), Error> {
    let mut unpacker = Unpacker::new(members, Tree::at(root));
    while let Some(mut member) = unpacker.archive.next_member().map_err(super::Error::from)? {
        if let Some((uid, gid)) = how.owner {
            (member.uid, member.gid) = (uid, gid);
        }
        take(&mut unpacker, &member, how)?;
    }
    Ok(unpacker.set_directory_times()?)
}

fn take<M: Members>(
    unpacker: &mut Unpacker<M>,
    member: &Member,
    how: &Extract,
) -> Result<(), Error> {
    check_marks(member)?;
    let base = components(&how.base).ok_or_else(|| outside(&how.base))?;
    let inner = components(&member.name).ok_or_else(|| outside(&member.name))?;
    let parts = [base.clone(), inner.clone()].concat();
    let made = |source| make("make the directory of", member, source);
    let Some((leaf, parents)) = parts.split_last().filter(|_| !inner.is_empty()) else {
        if how.dress_base && member.kind == Type::Directory {
            let dir = unpacker.tree.make_dir(&base, &mut unpacker.implied).map_err(made)?;
            tree::dress(&dir, member).map_err(|e| make("set up", member, e))?;
        }
        return Ok(());
    };
    let dir = unpacker.directory(parents, member)?;
    let place = Place { dir, leaf: OsStr::from_bytes(leaf) };
    let stays = clear(member, &place, how)? == Existing::Directory;
    if stays && how.keep_directories {
        return Ok(());
    }
    if member.kind == Type::HardLink {
        // Its target is named within the archive.
        let target = [&how.base[..], b"/", &member.link[..]].concat();
        let member = Member { link: target, ..member.clone() };
        unpacker.create(&member, &place, false)?;
    } else {
        unpacker.create(member, &place, false)?;
    }
    if member.kind == Type::Directory {
        unpacker.times.push((parts.join(&b'/'), member.mtime));
    }
    Ok(())
}

/// Makes room for `member`; gives what stays.
fn clear(member: &Member, place: &Place<'_>, how: &Extract) -> Result<Existing, Error> {
    let existing = tree::existing(&place.dir, place.leaf);
    let existing = existing.map_err(|e| make("look for", member, e))?;
    let kinds = |there, comes| {
        let name = String::from_utf8_lossy(place.leaf.as_bytes()).into_owned();
        Err(Error::Kinds { there, name, comes })
    };
    match (existing, member.kind == Type::Directory) {
        (Existing::Nothing, _) | (Existing::Directory, true) => return Ok(existing),
        (Existing::Directory, false) if how.keep_kinds => {
            return kinds("directory", "non-directory");
        }
        (Existing::Whiteout | Existing::Other, true) if how.keep_kinds => {
            return kinds("non-directory", "directory");
        }
        _ => {}
    }
    tree::remove(&place.dir, place.leaf, existing).map_err(|e| make("replace", member, e))?;
    Ok(Existing::Nothing)
}
