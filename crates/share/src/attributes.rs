//! What files are: owners, modes, times, sizes, and their extended attributes.
//!
//! Spec: linux/fuse.h `fuse_attr`, `fuse_setattr_in`, `fuse_getxattr_in`.

use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::fs::{UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use crate::node::{Node, Nodes};
use crate::request::{Fields, MAX_DATA, Reply};

/// How long the guest may believe what it was told of a file, in nanoseconds: others write too.
const BELIEVED: u32 = 100_000_000;

/// Bits of `fuse_setattr_in.valid`.
mod valid {
    pub(super) const MODE: u32 = 1;
    pub(super) const UID: u32 = 1 << 1;
    pub(super) const GID: u32 = 1 << 2;
    pub(super) const SIZE: u32 = 1 << 3;
    pub(super) const ATIME: u32 = 1 << 4;
    pub(super) const MTIME: u32 = 1 << 5;
    pub(super) const HANDLE: u32 = 1 << 6;
    pub(super) const ATIME_NOW: u32 = 1 << 7;
    pub(super) const MTIME_NOW: u32 = 1 << 8;
}

/// A name that was looked up.
pub(crate) fn entry(nodes: &mut Nodes, number: u64, stat: &Stat) -> Reply {
    let reply = Reply::default().longs(&[number, 0, 0, 0]).words(&[BELIEVED, BELIEVED]);
    attr(reply, &nodes.shown_as(number, stat), nodes.shown(stat))
}

/// A file's attributes.
pub(crate) fn attributes(nodes: &mut Nodes, number: u64, stat: &Stat) -> Reply {
    let reply = Reply::default().longs(&[0]).words(&[BELIEVED, 0]);
    attr(reply, &nodes.shown_as(number, stat), nodes.shown(stat))
}

fn attr(reply: Reply, stat: &Stat, shown: u64) -> Reply {
    let low = |long: u64| u32::try_from(long & 0xffff_ffff).expect("32 bits");
    let long = |signed: i64| u64::try_from(signed).unwrap_or(0);
    let (atime, mtime, ctime) = (stat.st_atime, stat.st_mtime, stat.st_ctime);
    let sizes = [shown, long(stat.st_size), long(stat.st_blocks)];
    let times = [atime, mtime, ctime].map(i64::cast_unsigned);
    reply.longs(&sizes).longs(&times).words(&[
        low(stat.st_atime_nsec),
        low(stat.st_mtime_nsec),
        low(stat.st_ctime_nsec),
        stat.st_mode,
        u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        stat.st_uid,
        stat.st_gid,
        low(stat.st_rdev),
        u32::try_from(stat.st_blksize).unwrap_or(4096),
        0,
    ])
}

/// Changes what the request names; `open` is the handle's file, where it has one.
pub(crate) fn change(
    node: &Node,
    mut fields: Fields<'_>,
    open: impl FnOnce(u64) -> Option<std::fs::File>,
) -> Result<(), Errno> {
    let what = fields.word()?;
    fields.word()?;
    let (handle, size) = (fields.long()?, fields.long()?);
    fields.long()?;
    let (atime, mtime) = (fields.long()?, fields.long()?);
    fields.long()?;
    let (atime_nsec, mtime_nsec) = (fields.word()?, fields.word()?);
    fields.word()?;
    let mode = fields.word()?;
    fields.word()?;
    let (uid, gid) = (fields.word()?, fields.word()?);
    let asked = |bit: u32| what & bit != 0;
    if asked(valid::UID | valid::GID) {
        let uid = asked(valid::UID).then(|| Uid::from_raw(uid));
        let gid = asked(valid::GID).then(|| Gid::from_raw(gid));
        rustix::fs::chownat(node.fd(), c"", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    if asked(valid::MODE) {
        set_mode(node, mode)?;
    }
    // A FIFO has no size to set.
    if asked(valid::SIZE) && node.kind != FileType::Fifo {
        let file = if asked(valid::HANDLE) { open(handle) } else { None };
        match file {
            Some(file) => rustix::fs::ftruncate(file, size)?,
            None => rustix::fs::ftruncate(node.open(OFlags::WRONLY)?, size)?,
        }
    }
    if asked(valid::ATIME | valid::MTIME) {
        let time = |set, now, seconds: u64, nanoseconds: u32| Timespec {
            tv_sec: seconds.cast_signed(),
            tv_nsec: match (asked(set), asked(now)) {
                (false, _) => UTIME_OMIT,
                (true, true) => UTIME_NOW,
                (true, false) => nanoseconds.into(),
            },
        };
        let times = Timestamps {
            last_access: time(valid::ATIME, valid::ATIME_NOW, atime, atime_nsec),
            last_modification: time(valid::MTIME, valid::MTIME_NOW, mtime, mtime_nsec),
        };
        rustix::fs::utimensat(node.fd(), c"", &times, AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

pub(crate) fn set_mode(node: &Node, mode: u32) -> Result<(), Errno> {
    if node.kind == FileType::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    rustix::fs::chmodat(CWD, node.path(), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
}

/// What may be read and written: what users and programs mark files with. The rest means something to the
/// host (`trusted.overlay.*`, labels), and is neither shown nor set.
fn is_theirs(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}

pub(crate) fn set_xattr(node: &Node, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let (size, flags) = (fields.word()?, fields.word()?);
    let name = fields.text()?;
    let value = fields.bytes(size as usize)?;
    if !is_theirs(name.to_bytes()) {
        return Err(Errno::OPNOTSUPP);
    }
    let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
    rustix::fs::setxattr(node.path(), name, value, flags)?;
    Ok(Reply::default())
}

pub(crate) fn get_xattr(node: &Node, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let size = fields.word()?;
    fields.word()?;
    let name = fields.text()?;
    if !is_theirs(name.to_bytes()) {
        return Err(Errno::NODATA);
    }
    let mut value = vec![0_u8; size.min(MAX_DATA) as usize];
    let length = rustix::fs::getxattr(node.path(), name, value.as_mut_slice())?;
    Ok(sized(size, value, length))
}

pub(crate) fn list_xattrs(node: &Node, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let size = fields.word()?;
    let mut names = vec![0_u8; MAX_DATA as usize];
    let length = rustix::fs::listxattr(node.path(), names.as_mut_slice())?;
    names.truncate(length);
    let shown = names.split_inclusive(|byte| *byte == 0);
    let shown: Vec<u8> = shown
        .filter(|name| is_theirs(name.strip_suffix(b"\0").unwrap_or(name)))
        .flatten()
        .copied()
        .collect();
    let length = shown.len();
    if size > 0 && length > size as usize {
        return Err(Errno::RANGE);
    }
    Ok(sized(size, shown, length))
}

/// The value, or how long it is where no room was given.
fn sized(room: u32, mut value: Vec<u8>, length: usize) -> Reply {
    if room == 0 {
        return Reply::default().words(&[u32::try_from(length).unwrap_or(u32::MAX), 0]);
    }
    value.truncate(length);
    Reply(value)
}

pub(crate) fn remove_xattr(node: &Node, mut fields: Fields<'_>) -> Result<Reply, Errno> {
    let name = fields.text()?;
    if !is_theirs(name.to_bytes()) {
        return Err(Errno::OPNOTSUPP);
    }
    rustix::fs::removexattr(node.path(), name)?;
    Ok(Reply::default())
}

/// How full the file system of a file is.
pub(crate) fn filesystem(file: impl AsFd) -> Result<Reply, Errno> {
    let of = rustix::fs::fstatvfs(file)?;
    let word = |long: u64| u32::try_from(long).unwrap_or(u32::MAX);
    Ok(Reply::default()
        .longs(&[of.f_blocks, of.f_bfree, of.f_bavail, of.f_files, of.f_ffree])
        .words(&[word(of.f_bsize), word(of.f_namemax), word(of.f_frsize), 0])
        .words(&[0; 6]))
}

/// The attributes of a node as they are now.
pub(crate) fn now(nodes: &mut Nodes, node: &Node) -> Result<Reply, Errno> {
    let stat = node.stat()?;
    Ok(attributes(nodes, node.number, &stat))
}
