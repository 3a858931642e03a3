//! Files that the guest knows of, by the number it was given for each.
//!
//! A node is a descriptor that can do nothing but stand for its file (`O_PATH`): renamed or removed, it
//! is still that file, and whatever takes its name is another.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// The root's number.
pub(crate) const ROOT: u64 = 1;
/// How one name is looked for: beneath, and if it is a symlink, itself.
const ONE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A file.
#[derive(Debug)]
pub(crate) struct Node {
    fd: OwnedFd,
    pub(crate) kind: FileType,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_number: HashMap<u64, (Arc<Node>, u64, Identity)>,
    by_identity: HashMap<Identity, u64>,
    next: u64,
    /// File systems in the order in which they were met.
    devices: Vec<u64>,
}

/// What a file is known by, as long as a descriptor keeps it: file system and number.
type Identity = (u64, u64);

impl Node {
    /// Opens the file itself. Only regular files and directories are ever opened: a device or FIFO of
    /// the host is none of the guest's.
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !matches!(self.kind, FileType::RegularFile | FileType::Directory) {
            return Err(Errno::ACCESS);
        }
        rustix::fs::open(self.path(), flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// A path to the file itself, for calls that take no such descriptor: the working directory is
    /// `/proc/self/fd`.
    pub(crate) fn path(&self) -> CString {
        CString::new(self.fd.as_raw_fd().to_string()).expect("digits")
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.fd, c"", AtFlags::EMPTY_PATH)
    }
}

impl Nodes {
    /// With the root alone.
    pub(crate) fn new(root: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&root)?;
        let node = Node { fd: root, kind: FileType::from_raw_mode(stat.st_mode) };
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Self {
            by_number: [(ROOT, (Arc::new(node), 1, identity))].into(),
            by_identity: [(identity, ROOT)].into(),
            next: ROOT + 1,
            devices: Vec::new(),
        })
    }

    pub(crate) fn get(&self, number: u64) -> Result<Arc<Node>, Errno> {
        self.by_number.get(&number).map(|(node, ..)| Arc::clone(node)).ok_or(Errno::STALE)
    }

    /// What is called `name` in `parent`, itself; the guest knows it once more.
    pub(crate) fn find(
        &mut self,
        parent: &Node,
        name: &std::ffi::CStr,
    ) -> Result<(u64, Stat), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&parent.fd, name, flags, Mode::empty(), ONE)?;
        let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?;
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(&number) = self.by_identity.get(&identity)
            && let Some((_, known, _)) = self.by_number.get_mut(&number)
        {
            *known += 1;
            return Ok((number, stat));
        }
        let (number, kind) = (self.next, FileType::from_raw_mode(stat.st_mode));
        self.next += 1;
        self.by_number.insert(number, (Arc::new(Node { fd, kind }), 1, identity));
        self.by_identity.insert(identity, number);
        Ok((number, stat))
    }

    /// The guest forgets a file so many times.
    pub(crate) fn forget(&mut self, number: u64, times: u64) {
        if number == ROOT {
            return;
        }
        let Some((_, known, identity)) = self.by_number.get_mut(&number) else { return };
        *known = known.saturating_sub(times);
        if *known == 0 {
            let identity = *identity;
            self.by_number.remove(&number);
            self.by_identity.remove(&identity);
        }
    }

    /// The inode number to show: unlike files of different file systems must not look like one.
    pub(crate) fn shown(&mut self, stat: &Stat) -> u64 {
        let known = self.devices.iter().position(|device| *device == stat.st_dev);
        let index = known.unwrap_or_else(|| {
            self.devices.push(stat.st_dev);
            self.devices.len() - 1
        });
        stat.st_ino ^ ((index as u64) << 48)
    }
}
