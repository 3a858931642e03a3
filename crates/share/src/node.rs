//! Files that the guest knows of, by the number it was given for each.
//!
//! A node is a descriptor that can do nothing but stand for its file (`O_PATH`): renamed or removed, it
//! is still that file, and whatever takes its name is another. A guest may know more files than a process may
//! have descriptors; then those that were not used for long are closed, and opened again by the name and
//! directory that they were last seen by. What is found there must be the same file, or it is stale.
//!
//! ```text
//!   number ─▶ open ──not used for long──▶ closed: (directory, name) ──used──▶ open, if it is the same file
//!                └─ its name was removed: stays open
//! ```

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags};
use rustix::io::Errno;

/// The root's number.
pub(crate) const ROOT: u64 = 1;
/// How one name is looked for: beneath, and if it is a symlink, itself.
const ONE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// The longest way from a directory that is open to one that is to be.
const DEPTH: usize = 4096;

/// A file.
#[derive(Debug)]
pub(crate) struct Node {
    fd: OwnedFd,
    pub(crate) number: u64,
    pub(crate) kind: FileType,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_number: HashMap<u64, Entry>,
    by_identity: HashMap<Identity, u64>,
    next: u64,
    /// File systems in the order in which they were met.
    devices: Vec<u64>,
    /// How many are open, and how many may be.
    open: usize,
    most: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    node: Option<Arc<Node>>,
    identity: Identity,
    /// How often the guest knows it.
    known: u64,
    /// The directory and name that it was last seen by; the root has none.
    place: Option<(u64, CString)>,
    /// Whether it is not to be found again by its name.
    nameless: bool,
    /// Whether the guest made it.
    own: bool,
    used: u64,
}

/// What a file is known by: file system, number, and when it was born, where the file system tells, because
/// numbers are given again.
type Identity = (u64, u64, (i64, u32));

impl Node {
    /// Opens the file itself. Only regular files and directories are ever opened: a device of the host is
    /// none of the guest's, and FIFOs are for [`crate::pipe`].
    pub(crate) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !matches!(self.kind, FileType::RegularFile | FileType::Directory) {
            return Err(Errno::ACCESS);
        }
        self.open_any(flags)
    }

    /// The same for every kind.
    pub(crate) fn open_any(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(CWD, self.path(), flags | OFlags::CLOEXEC, Mode::empty())
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
    /// With the root alone; `most` of them are open at a time.
    pub(crate) fn new(root: OwnedFd, most: usize) -> Result<Self, Errno> {
        let (stat, identity) = identify(&root)?;
        let node = Node { fd: root, number: ROOT, kind: FileType::from_raw_mode(stat.st_mode) };
        let entry = Entry {
            node: Some(Arc::new(node)),
            identity,
            known: 1,
            place: None,
            nameless: true,
            own: false,
            used: 0,
        };
        Ok(Self {
            by_number: [(ROOT, entry)].into(),
            by_identity: [(identity, ROOT)].into(),
            next: ROOT + 1,
            devices: Vec::new(),
            open: 1,
            most,
            clock: 0,
        })
    }

    /// The file, opened again if need be.
    pub(crate) fn get(&mut self, number: u64) -> Result<Arc<Node>, Errno> {
        let (mut closed, mut at) = (Vec::new(), number);
        let mut node = loop {
            let entry = self.by_number.get(&at).ok_or(Errno::STALE)?;
            if let Some(node) = &entry.node {
                break Arc::clone(node);
            }
            closed.push(at);
            if closed.len() > DEPTH {
                return Err(Errno::STALE);
            }
            at = entry.place.as_ref().ok_or(Errno::STALE)?.0;
        };
        while let Some(at) = closed.pop() {
            node = self.reopen(at, &node)?;
        }
        self.clock += 1;
        if let Some(entry) = self.by_number.get_mut(&number) {
            entry.used = self.clock;
        }
        Ok(node)
    }

    fn reopen(&mut self, number: u64, parent: &Node) -> Result<Arc<Node>, Errno> {
        let entry = self.by_number.get(&number).ok_or(Errno::STALE)?;
        let (_, name) = entry.place.as_ref().ok_or(Errno::STALE)?;
        let stale = |error| if error == Errno::NOENT { Errno::STALE } else { error };
        let fd = one(parent, name).map_err(stale)?;
        let (stat, identity) = identify(&fd)?;
        if identity != entry.identity {
            return Err(Errno::STALE);
        }
        Ok(self.keep(number, fd, &stat))
    }

    /// Lets an entry be open.
    fn keep(&mut self, number: u64, fd: OwnedFd, stat: &Stat) -> Arc<Node> {
        let node = Arc::new(Node { fd, number, kind: FileType::from_raw_mode(stat.st_mode) });
        self.clock += 1;
        if let Some(entry) = self.by_number.get_mut(&number) {
            entry.used = self.clock;
            self.open += usize::from(entry.node.is_none());
            entry.node = Some(Arc::clone(&node));
        }
        if self.open > self.most {
            self.close_some();
        }
        node
    }

    /// Closes the quarter that was not used for longest, of those that can be found again.
    fn close_some(&mut self) {
        let closable = |entry: &Entry| entry.node.is_some() && !entry.nameless;
        let open = self.by_number.iter().filter(|(_, entry)| closable(entry));
        let mut open: Vec<_> = open.map(|(number, entry)| (entry.used, *number)).collect();
        open.sort_unstable();
        open.truncate(open.len().div_ceil(4));
        for (_, number) in open {
            if let Some(entry) = self.by_number.get_mut(&number) {
                entry.node = None;
                self.open -= 1;
            }
        }
    }

    /// What is called `name` in `parent`, itself; the guest knows it once more.
    pub(crate) fn find(&mut self, parent: &Node, name: &CStr) -> Result<(u64, Stat), Errno> {
        let fd = one(parent, name)?;
        let (stat, identity) = identify(&fd)?;
        if let Some(number) = self.seen(parent, name, identity) {
            let entry = self.by_number.get_mut(&number).ok_or(Errno::STALE)?;
            entry.known += 1;
            return Ok((number, stat));
        }
        let number = self.next;
        self.next += 1;
        let place = Some((parent.number, name.to_owned()));
        let (node, nameless, own) = (None, false, false);
        let entry = Entry { node, identity, known: 1, place, nameless, own, used: 0 };
        self.by_number.insert(number, entry);
        self.by_identity.insert(identity, number);
        self.keep(number, fd, &stat);
        Ok((number, stat))
    }

    /// Notes where a file is seen; gives its number if the guest knows it.
    fn seen(&mut self, parent: &Node, name: &CStr, identity: Identity) -> Option<u64> {
        let number = *self.by_identity.get(&identity)?;
        let entry = self.by_number.get_mut(&number)?;
        if number != ROOT && !entry.nameless {
            entry.place = Some((parent.number, name.to_owned()));
        }
        Some(number)
    }

    /// To be called before a name is removed: what the guest knows by it stays open.
    pub(crate) fn lose(&mut self, parent: &Node, name: &CStr) {
        // What cannot be opened cannot be removed.
        let Ok(fd) = one(parent, name) else { return };
        let Ok((stat, identity)) = identify(&fd) else { return };
        let Some(&number) = self.by_identity.get(&identity) else { return };
        if self.by_number.get(&number).is_some_and(|entry| entry.node.is_none()) {
            self.keep(number, fd, &stat);
        }
        if let Some(entry) = self.by_number.get_mut(&number) {
            entry.nameless = true;
        }
    }

    /// To be called when a name is new: what has got it is found by it.
    pub(crate) fn gain(&mut self, parent: &Node, name: &CStr) {
        let Ok(fd) = one(parent, name) else { return };
        let Ok((_, identity)) = identify(&fd) else { return };
        let number = self.by_identity.get(&identity).copied();
        let entry = number.filter(|number| *number != ROOT);
        if let Some(entry) = entry.and_then(|number| self.by_number.get_mut(&number)) {
            entry.nameless = false;
            entry.place = Some((parent.number, name.to_owned()));
        }
    }

    /// The guest made this one: it is not the host's.
    pub(crate) fn mark_own(&mut self, number: u64) {
        if let Some(entry) = self.by_number.get_mut(&number) {
            entry.own = true;
        }
    }

    /// Whether it is a FIFO of the host's.
    pub(crate) fn is_hosts_fifo(&self, node: &Node) -> bool {
        let own = self.by_number.get(&node.number).is_some_and(|entry| entry.own);
        node.kind == FileType::Fifo && !own
    }

    /// What to show of a file: a FIFO of the host's is a file, or the guest's kernel would not ask for it
    /// to be opened.
    pub(crate) fn shown_as(&self, number: u64, stat: &Stat) -> Stat {
        let own = self.by_number.get(&number).is_some_and(|entry| entry.own);
        let mut shown = *stat;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && !own {
            shown.st_mode = stat.st_mode & 0o7777 | FileType::RegularFile.as_raw_mode();
        }
        shown
    }

    /// The guest forgets a file so many times.
    pub(crate) fn forget(&mut self, number: u64, times: u64) {
        if number == ROOT {
            return;
        }
        let Some(entry) = self.by_number.get_mut(&number) else { return };
        entry.known = entry.known.saturating_sub(times);
        if entry.known == 0 {
            let (identity, open) = (entry.identity, entry.node.is_some());
            self.open -= usize::from(open);
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

/// The file that has one name in a directory.
fn one(parent: &Node, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(&parent.fd, name, flags, Mode::empty(), ONE)
}

fn identify(fd: &OwnedFd) -> Result<(Stat, Identity), Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    let more = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
    let told = StatxFlags::from_bits_retain(more.stx_mask).contains(StatxFlags::BTIME);
    let born = if told { (more.stx_btime.tv_sec, more.stx_btime.tv_nsec) } else { (0, 0) };
    Ok((stat, (stat.st_dev, stat.st_ino, born)))
}

#[cfg(test)]
mod tests;
