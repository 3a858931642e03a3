//! One guest's requests, one after the other.
//!
//! Each is answered once, but for those that want no answer, and locks that are waited for. An operation
//! that is not offered is `ENOSYS`: the guest's kernel then does without it, for good.
//!
//! Spec: linux/fuse.h `fuse_opcode`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use crate::lock::Locks;
use crate::node::{Node, Nodes};
use crate::pipe::{self, Opening, Writing};
use crate::request::{MAX_DATA, Reply, Request, encode, send};
use crate::waits::{Waits, lock};
use crate::{attributes, control, directory, file, names};

/// The version of the protocol that is spoken.
const VERSION: [u32; 2] = [7, 31];
/// Bytes in a page, for the number of them in one request.
const PAGE: u32 = 4096;
/// What the guest may do beyond the plain protocol, of `FUSE_INIT`'s flags: read ahead, locks of both
/// kinds, truncate when opening, large writes, drop its cache when a file has changed, work in one
/// directory at once, long requests.
const OFFERED: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 10 | 1 << 12 | 1 << 18 | 1 << 22;

/// What the guest has open.
#[derive(Debug, Clone)]
enum Open {
    File(Arc<File>),
    Directory(Arc<OwnedFd>),
    /// A FIFO of the host's.
    Pipe(Arc<File>),
}

/// All of it, by the number that the guest was given for each.
#[derive(Debug, Default)]
struct Handles {
    open: HashMap<u64, Open>,
    last: u64,
}

impl Handles {
    fn keep(&mut self, open: Open) -> u64 {
        self.last += 1;
        self.open.insert(self.last, open);
        self.last
    }
}

/// The files that one guest sees, and what it does with them.
pub(crate) struct Server<W> {
    nodes: Nodes,
    handles: Arc<Mutex<Handles>>,
    locks: Locks,
    waits: Waits,
    out: Arc<Mutex<W>>,
}

/// What becomes of a request.
enum Outcome {
    Answer(Reply),
    /// There is no answer to it, or not yet.
    Silence,
}

use Outcome::{Answer, Silence};

impl<W: Write + Send + 'static> Server<W> {
    /// A server of what is beneath `root`, with the working directory at `/proc/self/fd`, that holds `most`
    /// descriptors for what is only known.
    pub(crate) fn new(root: OwnedFd, most: usize, out: W) -> Result<Self, Errno> {
        let (nodes, out) = (Nodes::new(root, most)?, Arc::new(Mutex::new(out)));
        let (handles, locks, waits) = Default::default();
        Ok(Self { nodes, handles, locks, waits, out })
    }

    /// Answers the next request; false when there are no more.
    pub(crate) fn next(&mut self, from: &mut impl Read) -> io::Result<bool> {
        let Some(request) = Request::read(from)? else { return Ok(false) };
        let outcome = match self.serve(&request) {
            Ok(Silence) => return Ok(true),
            Ok(Answer(reply)) => Ok(reply),
            Err(errno) => Err(errno),
        };
        send(&mut *lock(&self.out), &encode(request.unique, outcome))?;
        Ok(true)
    }

    /// A connection to a socket that the guest knows.
    pub(crate) fn connect(&mut self, number: u64) -> Result<OwnedFd, Errno> {
        control::connect(&*self.nodes.get(number)?)
    }

    fn serve(&mut self, request: &Request) -> Result<Outcome, Errno> {
        match request.opcode {
            2 => Ok(self.forget(request)),
            42 => Ok(self.forget_many(request)),
            36 => {
                self.waits.interrupt(request.fields().long()?);
                Ok(Silence)
            }
            26 => Ok(Answer(init(request)?)),
            38 => Ok(Answer(Reply::default())),
            1 | 5 | 6 | 8..=13 | 35 | 45 => self.by_name(request).map(Answer),
            3 | 4 | 17 | 21..=24 => self.about(request).map(Answer),
            14 | 27 => self.open(request),
            15 | 16 | 20 | 28 | 30 | 43 | 46 => self.in_open(request),
            18 | 29 => {
                let handle = request.fields().long()?;
                lock(&self.handles).open.remove(&handle).ok_or(Errno::BADF)?;
                Ok(Answer(Reply::default()))
            }
            25 => {
                let mut fields = request.fields();
                fields.bytes(16)?;
                self.locks.release(request.node, fields.long()?);
                Ok(Answer(Reply::default()))
            }
            31..=33 => self.lock(request),
            _ => Err(Errno::NOSYS),
        }
    }

    fn forget(&mut self, request: &Request) -> Outcome {
        // Nobody waits for an answer, not even that it was wrong.
        if let Ok(times) = request.fields().long() {
            self.nodes.forget(request.node, times);
        }
        Silence
    }

    fn forget_many(&mut self, request: &Request) -> Outcome {
        let mut fields = request.fields();
        let count = fields.word().and_then(|count| fields.word().map(|_| count)).unwrap_or(0);
        for _ in 0..count {
            let (Ok(node), Ok(times)) = (fields.long(), fields.long()) else { break };
            self.nodes.forget(node, times);
        }
        Silence
    }

    /// Operations on names in a directory.
    fn by_name(&mut self, request: &Request) -> Result<Reply, Errno> {
        let node = self.nodes.get(request.node)?;
        let (nodes, mut fields) = (&mut self.nodes, request.fields());
        match request.opcode {
            1 => names::look_up(nodes, &node, fields.name()?),
            5 => names::read_link(&node),
            6 => names::symlink(nodes, &node, request),
            8 => names::make_node(nodes, &node, request),
            9 => names::make_directory(nodes, &node, request),
            10 => names::remove(nodes, &node, fields.name()?, AtFlags::empty()),
            11 => names::remove(nodes, &node, fields.name()?, AtFlags::REMOVEDIR),
            12 => {
                let to = nodes.get(fields.long()?)?;
                names::rename(nodes, &node, &to, 0, fields)
            }
            13 => {
                let target = nodes.get(fields.long()?)?;
                names::link(nodes, &target, &node, fields.name()?)
            }
            45 => {
                let (to, flags) = (nodes.get(fields.long()?)?, fields.word()?);
                fields.word()?;
                names::rename(nodes, &node, &to, flags, fields)
            }
            _ => {
                let (entry, file) = names::create(nodes, &node, request)?;
                let handle = lock(&self.handles).keep(Open::File(Arc::new(file.into())));
                Ok(entry.longs(&[handle, 0]))
            }
        }
    }

    /// Operations on a file itself.
    fn about(&mut self, request: &Request) -> Result<Reply, Errno> {
        let fields = request.fields();
        let node = match self.nodes.get(request.node) {
            Err(Errno::STALE) if request.opcode == 3 => return self.of_open(request),
            node => node?,
        };
        match request.opcode {
            3 => attributes::now(&mut self.nodes, &node),
            4 => {
                let handles = &self.handles;
                let open = |handle| match lock(handles).open.get(&handle) {
                    Some(Open::File(file)) => file.try_clone().ok(),
                    _ => None,
                };
                attributes::change(&node, fields, open)?;
                attributes::now(&mut self.nodes, &node)
            }
            17 => attributes::filesystem(node.fd()),
            21 => attributes::set_xattr(&node, fields),
            22 => attributes::get_xattr(&node, fields),
            23 => attributes::list_xattrs(&node, fields),
            _ => attributes::remove_xattr(&node, fields),
        }
    }

    /// The attributes of what is open, where that is all there is of it.
    fn of_open(&mut self, request: &Request) -> Result<Reply, Errno> {
        const BY_HANDLE: u32 = 1;
        let mut fields = request.fields();
        let by_handle = fields.word()? & BY_HANDLE != 0;
        fields.word()?;
        let open = lock(&self.handles).open.get(&fields.long()?).cloned();
        match open.filter(|_| by_handle) {
            Some(Open::File(file)) => {
                let stat = rustix::fs::fstat(file)?;
                Ok(attributes::attributes(&mut self.nodes, request.node, &stat))
            }
            _ => Err(Errno::STALE),
        }
    }

    fn open(&mut self, request: &Request) -> Result<Outcome, Errno> {
        let node = self.nodes.get(request.node)?;
        let open = if request.opcode == 27 {
            Open::Directory(Arc::new(node.open(OFlags::RDONLY | OFlags::DIRECTORY)?))
        } else {
            let flags = request.fields().word()?;
            if self.nodes.is_hosts_fifo(&node) {
                return self.open_pipe(node, flags, request.unique);
            }
            Open::File(Arc::new(node.open(file::flags(flags))?.into()))
        };
        Ok(Answer(Reply::default().longs(&[lock(&self.handles).keep(open), 0])))
    }

    fn open_pipe(&mut self, node: Arc<Node>, flags: u32, unique: u64) -> Result<Outcome, Errno> {
        let (mut opening, handles) = (Opening::new(node, flags), Arc::clone(&self.handles));
        self.or_later(unique, move || {
            let handle = lock(&handles).keep(Open::Pipe(opening.attempt()?));
            Ok(Reply::default().longs(&[handle]).words(&[pipe::OPEN, 0]))
        })
    }

    /// Answers now, or when an attempt gives something but `EAGAIN`.
    fn or_later(
        &mut self,
        unique: u64,
        mut attempt: impl FnMut() -> Result<Reply, Errno> + Send + 'static,
    ) -> Result<Outcome, Errno> {
        match attempt() {
            Err(Errno::AGAIN) => self.waits.wait(unique, &self.out, attempt).map(|()| Silence),
            tried => tried.map(Answer),
        }
    }

    /// Operations on what is open.
    fn in_open(&mut self, request: &Request) -> Result<Outcome, Errno> {
        let mut fields = request.fields();
        let open = lock(&self.handles).open.get(&fields.long()?).cloned().ok_or(Errno::BADF)?;
        let done = match (request.opcode, &open) {
            (15, Open::File(file)) => file::read(file, fields),
            (16, Open::File(file)) => file::write(file, fields),
            (20, Open::File(file)) => file::sync(file, fields),
            (43, Open::File(file)) => file::allocate(file, fields),
            (46, Open::File(file)) => file::seek(file, fields),
            (28, Open::Directory(dir)) => directory::read(dir, fields),
            (30, Open::Directory(dir)) => {
                rustix::fs::fsync(dir)?;
                Ok(Reply::default())
            }
            (15, Open::Pipe(file)) => {
                let ((size, impatient), file) = (pipe::reading(fields)?, Arc::clone(file));
                if impatient {
                    return pipe::read(&file, size).map(Answer);
                }
                return self.or_later(request.unique, move || pipe::read(&file, size));
            }
            (16, Open::Pipe(file)) => {
                let (mut writing, file) = (Writing::read(fields)?, Arc::clone(file));
                if writing.impatient {
                    return writing.attempt(&file).map(Answer);
                }
                return self.or_later(request.unique, move || writing.attempt(&file));
            }
            _ => Err(Errno::BADF),
        };
        done.map(Answer)
    }

    fn lock(&mut self, request: &Request) -> Result<Outcome, Errno> {
        let mut fields = request.fields();
        let open = lock(&self.handles).open.get(&fields.long()?).cloned();
        let Some(Open::File(file)) = open else { return Err(Errno::BADF) };
        let node: Arc<Node> = self.nodes.get(request.node)?;
        if request.opcode == 31 {
            return self.locks.look(request.node, &node, fields).map(Answer);
        }
        let wait = (request.opcode == 33).then_some((request.unique, &self.waits, &self.out));
        let taken = self.locks.take((request.node, &node), &file, fields, wait)?;
        Ok(taken.map_or(Silence, Answer))
    }
}

/// Agrees on what is spoken.
fn init(request: &Request) -> Result<Reply, Errno> {
    let mut fields = request.fields();
    let (major, _, read_ahead, flags) =
        (fields.word()?, fields.word()?, fields.word()?, fields.word()?);
    if major != VERSION[0] {
        return Err(Errno::PROTO);
    }
    let [major, minor] = VERSION;
    // Requests in the background, and from how many on it is busy.
    let background = 64 | 48 << 16;
    let reply = Reply::default().words(&[major, minor, read_ahead, flags & OFFERED, background]);
    Ok(reply.words(&[MAX_DATA, 1, MAX_DATA / PAGE, 0]).words(&[0; 7]))
}

#[cfg(test)]
mod tests;
