//! Names: looking them up, making, moving and removing them.
//!
//! What is made becomes the asking user's at once, except that a set-group-id directory gives its group;
//! whether he may make it is the guest's kernel's to say, which knows his rights.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use crate::attributes;
use crate::node::{Node, Nodes};
use crate::request::{Fields, Reply, Request};

pub(crate) fn look_up(nodes: &mut Nodes, parent: &Node, name: &CStr) -> Result<Reply, Errno> {
    let (number, stat) = nodes.find(parent, name)?;
    Ok(attributes::entry(nodes, number, &stat))
}

pub(crate) fn read_link(node: &Node) -> Result<Reply, Errno> {
    let target = rustix::fs::readlinkat(node.fd(), c"", Vec::new())?;
    Ok(Reply(target.into_bytes()))
}

pub(crate) fn symlink(nodes: &mut Nodes, parent: &Node, request: &Request) -> Result<Reply, Errno> {
    let mut fields = request.fields();
    let (name, target) = (fields.name()?, fields.text()?);
    rustix::fs::symlinkat(target, parent.fd(), name)?;
    give(parent, name, request)?;
    look_up(nodes, parent, name)
}

/// Files, FIFOs and sockets; no device, which would be one of the host's.
pub(crate) fn make_node(
    nodes: &mut Nodes,
    parent: &Node,
    request: &Request,
) -> Result<Reply, Errno> {
    let mut fields = request.fields();
    let mode = fields.word()?;
    fields.bytes(12)?;
    let name = fields.name()?;
    let kind = FileType::from_raw_mode(mode);
    if !matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::Socket) {
        return Err(Errno::PERM);
    }
    rustix::fs::mknodat(parent.fd(), name, kind, Mode::from_raw_mode(mode & 0o777), 0)?;
    give(parent, name, request)?;
    dress(nodes, parent, name, mode)
}

pub(crate) fn make_directory(
    nodes: &mut Nodes,
    parent: &Node,
    request: &Request,
) -> Result<Reply, Errno> {
    let mut fields = request.fields();
    let mode = fields.word()?;
    fields.word()?;
    let name = fields.name()?;
    rustix::fs::mkdirat(parent.fd(), name, Mode::from_raw_mode(mode & 0o777))?;
    give(parent, name, request)?;
    dress(nodes, parent, name, mode | inherited(parent)?)
}

/// Makes a file and opens it, or opens the one there is.
pub(crate) fn create(
    nodes: &mut Nodes,
    parent: &Node,
    request: &Request,
) -> Result<(Reply, OwnedFd), Errno> {
    let mut fields = request.fields();
    let (flags, mode) = (fields.word()?, fields.word()?);
    fields.long()?;
    let name = fields.name()?;
    let kept = crate::file::flags(flags);
    let new = kept | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent.fd(), name, new, Mode::from_raw_mode(mode & 0o777));
    match opened {
        Ok(file) => {
            give(parent, name, request)?;
            Ok((dress(nodes, parent, name, mode)?, file))
        }
        Err(Errno::EXIST) if !OFlags::from_bits_retain(flags).contains(OFlags::EXCL) => {
            let (number, stat) = nodes.find(parent, name)?;
            let opened = nodes.get(number)?.open(kept);
            // The guest knows of it only if this succeeds.
            let file = opened.inspect_err(|_| nodes.forget(number, 1))?;
            Ok((attributes::entry(nodes, number, &stat), file))
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn remove(
    nodes: &mut Nodes,
    parent: &Node,
    name: &CStr,
    flags: AtFlags,
) -> Result<Reply, Errno> {
    nodes.lose(parent, name);
    rustix::fs::unlinkat(parent.fd(), name, flags)?;
    Ok(Reply::default())
}

/// `fields` begin behind the number of the new directory.
pub(crate) fn rename(
    nodes: &mut Nodes,
    from: &Node,
    to: &Node,
    flags: u32,
    mut fields: Fields<'_>,
) -> Result<Reply, Errno> {
    let (old, new) = (fields.name()?, fields.name()?);
    let flags = RenameFlags::from_bits_retain(flags);
    // A whiteout is a device.
    if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
        return Err(Errno::INVAL);
    }
    if !flags.contains(RenameFlags::EXCHANGE) {
        nodes.lose(to, new);
    }
    let renamed = rustix::fs::renameat_with(from.fd(), old, to.fd(), new, flags);
    nodes.gain(to, new);
    if flags.contains(RenameFlags::EXCHANGE) {
        nodes.gain(from, old);
    }
    renamed.map(|()| Reply::default())
}

pub(crate) fn link(
    nodes: &mut Nodes,
    target: &Node,
    parent: &Node,
    name: &CStr,
) -> Result<Reply, Errno> {
    if target.kind == FileType::Directory {
        return Err(Errno::PERM);
    }
    rustix::fs::linkat(CWD, target.path(), parent.fd(), name, AtFlags::SYMLINK_FOLLOW)?;
    look_up(nodes, parent, name)
}

/// Makes what was made just now the asking user's.
fn give(parent: &Node, name: &CStr, request: &Request) -> Result<(), Errno> {
    let group = (inherited(parent)? == 0).then(|| Gid::from_raw(request.gid));
    let user = Some(Uid::from_raw(request.uid));
    rustix::fs::chownat(parent.fd(), name, user, group, AtFlags::SYMLINK_NOFOLLOW)
}

/// The set-group-id bit of a directory.
fn inherited(parent: &Node) -> Result<u32, Errno> {
    Ok(parent.stat()?.st_mode & 0o2000)
}

/// Sets the mode of what was made just now, whose bits a change of owner may have taken.
fn dress(nodes: &mut Nodes, parent: &Node, name: &CStr, mode: u32) -> Result<Reply, Errno> {
    let (number, _) = nodes.find(parent, name)?;
    nodes.mark_own(number);
    let node = nodes.get(number)?;
    // As the guest asked for it: it has taken the umask off.
    let set = attributes::set_mode(&node, mode).and_then(|()| node.stat());
    let stat = set.inspect_err(|_| nodes.forget(number, 1))?;
    Ok(attributes::entry(nodes, number, &stat))
}
