//! Doors: sockets of the host's that programs in the guest connect to.
//!
//! A socket among the host's files is seen by the guest's kernel as an inode that nobody is bound to. The
//! agent, which every request and answer about those files passes through, sees it looked up, holds the
//! answer back, and binds a socket of its own to that very inode first. Who connects then is a visitor.
//!
//! ```text
//!   program: connect ─▶ kernel: LOOKUP "sock" ─▶ host: node 7, a socket ─▶ held back
//!   door:    bind ".doors/1" ─▶ kernel: MKNOD "1" in ".doors" ─▶ made a LOOKUP "sock" ─▶ host: node 7
//!            so the new name is of node 7's inode, and what is bound to one is bound to the other
//!   program: the answer is let go ─▶ connected to the door ─▶ visitor ─▶ shim ─▶ the host's socket
//! ```
//!
//! `.doors` is a directory in the root of what is served that only the agent knows; the host never hears of
//! it. Sockets that the guest's own programs have bound are theirs.
//!
//! Spec: linux/fuse.h `fuse_in_header`, `fuse_entry_out`; unix(7).

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::FileType;
use rustix::io::Errno;
use wire::StreamId;

use crate::fuse::{self, Head};
use crate::visitors::{Guest, Visitors};

/// The directory's name, and its number, which no server gives.
const NAME: &str = ".doors";
const DIRECTORY: u64 = u64::MAX - 1;
/// How many doors there are; the oldest is closed for one more. Who came through it stays.
const MOST: usize = 64;
/// How long to wait where somebody could not be let in for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// The doors of one file system.
#[derive(Debug)]
pub(crate) struct Doors {
    device: File,
    at: PathBuf,
    /// What the shim knows the file system by.
    share: StreamId,
    visitors: Visitors,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose answers matter here.
    asked: HashMap<u64, Asked>,
    /// Doors that are being bound: which name in which directory is meant.
    wanted: HashMap<u64, (u64, Vec<u8>)>,
    /// Doors that have their inode.
    bound: HashSet<u64>,
    /// Answers that are held back, by the socket's node.
    held: HashMap<u64, Vec<Vec<u8>>>,
    open: VecDeque<Door>,
    /// Sockets that were bound in the guest.
    own: HashSet<u64>,
    next: u64,
}

#[derive(Debug)]
struct Door {
    node: u64,
    listener: UnixListener,
    thread: JoinHandle<()>,
}

/// What a request was about.
#[derive(Debug)]
enum Asked {
    Name {
        parent: u64,
        name: Vec<u8>,
    },
    /// The guest binds a socket.
    Own,
    /// A door is bound.
    Door(u64),
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It goes to the host as it is.
    On,
    /// Another one goes in its stead.
    Instead(Vec<u8>),
    /// It is answered here.
    Answer(Vec<u8>),
}

impl Doors {
    /// None yet, for the file system `share` that is mounted at `at` and spoken to by `device`.
    pub(crate) fn new(device: File, at: PathBuf, share: StreamId, visitors: Visitors) -> Arc<Self> {
        Arc::new(Self { device, at, share, visitors, state: Mutex::default() })
    }

    /// Looks at a request on its way to the host.
    pub(crate) fn request(&self, bytes: &[u8]) -> Passed {
        let Some(head) = Head::read(bytes) else { return Passed::On };
        let body = bytes.get(fuse::IN_HEADER..).unwrap_or_default();
        if head.node == DIRECTORY {
            return self.in_directory(&head, bytes, body);
        }
        match head.opcode {
            fuse::LOOKUP if head.node == fuse::ROOT && fuse::text(body) == NAME.as_bytes() => {
                Passed::Answer(fuse::entry_of_directory(head.unique, DIRECTORY))
            }
            fuse::LOOKUP => {
                let asked = Asked::Name { parent: head.node, name: fuse::text(body).to_vec() };
                self.state().asked.insert(head.unique, asked);
                Passed::On
            }
            fuse::MKNOD if kind(fuse::word(body, 0)) == FileType::Socket => {
                self.state().asked.insert(head.unique, Asked::Own);
                Passed::On
            }
            fuse::FORGET => {
                self.state().own.remove(&head.node);
                Passed::On
            }
            fuse::BATCH_FORGET => {
                let mut state = self.state();
                let forgotten = body.get(8..).unwrap_or_default().chunks_exact(16);
                for one in forgotten {
                    state.own.remove(&fuse::long(one, 0));
                }
                Passed::On
            }
            _ => Passed::On,
        }
    }

    fn in_directory(&self, head: &Head, bytes: &[u8], body: &[u8]) -> Passed {
        let refused = |errno| Passed::Answer(fuse::error(head.unique, errno));
        match head.opcode {
            fuse::GETATTR => Passed::Answer(fuse::attributes_of_directory(head.unique, DIRECTORY)),
            fuse::LOOKUP => refused(Errno::NOENT),
            fuse::MKNOD => {
                let mut state = self.state();
                let number = std::str::from_utf8(fuse::text(body.get(16..).unwrap_or_default()));
                let number: Option<u64> = number.ok().and_then(|number| number.parse().ok());
                let wanted =
                    number.and_then(|number| Some((number, state.wanted.remove(&number)?)));
                let Some((number, (parent, name))) = wanted else { return refused(Errno::PERM) };
                state.asked.insert(head.unique, Asked::Door(number));
                Passed::Instead(fuse::look_up(bytes, parent, &name))
            }
            // Nobody is told that it does not exist at all, or it would be asked for no more elsewhere.
            _ => refused(Errno::PERM),
        }
    }

    /// Looks at an answer on its way from the host; whether it may go on now.
    pub(crate) fn answer(self: &Arc<Self>, message: &[u8]) -> bool {
        let mut state = self.state();
        let Some(asked) = state.asked.remove(&fuse::long(message, 8)) else { return true };
        if fuse::word(message, 4) != 0 {
            return true;
        }
        let (node, mode) = (fuse::long(message, 16), fuse::word(message, fuse::ENTRY_MODE));
        match asked {
            Asked::Own => drop(state.own.insert(node)),
            Asked::Door(number) => drop(state.bound.insert(number)),
            Asked::Name { parent, name } if kind(mode) == FileType::Socket => {
                let there =
                    state.own.contains(&node) || state.open.iter().any(|door| door.node == node);
                if !there {
                    return !self.hold(&mut state, message, node, (parent, name));
                }
            }
            Asked::Name { .. } => {}
        }
        true
    }

    /// Holds an answer back until there is a door; false when there will be none.
    fn hold(
        self: &Arc<Self>,
        state: &mut State,
        message: &[u8],
        node: u64,
        name: (u64, Vec<u8>),
    ) -> bool {
        if let Some(held) = state.held.get_mut(&node) {
            held.push(message.to_vec());
            return true;
        }
        state.next += 1;
        let number = state.next;
        state.wanted.insert(number, name);
        let doors = Arc::clone(self);
        let open = move || doors.open(number, node);
        if thread::Builder::new().name("door".into()).spawn(open).is_err() {
            state.wanted.remove(&number);
            return false;
        }
        state.held.insert(node, vec![message.to_vec()]);
        true
    }

    /// Opens a door for a node, and lets the answers go whatever comes of it.
    fn open(self: &Arc<Self>, number: u64, node: u64) {
        let listener = UnixListener::bind(self.at.join(NAME).join(number.to_string()));
        let mut state = self.state();
        state.wanted.remove(&number);
        // Without an inode of the host's it is a name that leads nowhere.
        let bound = state.bound.remove(&number);
        let opened = listener.and_then(|listener| {
            let (visitors, accepting) = (self.visitors.clone(), listener.try_clone()?);
            let share = self.share;
            let accept = move || accept(&accepting, share, node, &visitors);
            let thread = thread::Builder::new().name("door".into()).spawn(accept)?;
            Ok(Door { node, listener, thread })
        });
        let oldest = match opened {
            Ok(door) if bound => {
                state.open.push_back(door);
                let full = state.open.len() > MOST;
                full.then(|| state.open.pop_front()).flatten()
            }
            Ok(door) => Some(door),
            Err(error) => {
                eprintln!("hull-agent: open a door to a socket of the host's: {error}");
                None
            }
        };
        let held = state.held.remove(&node).unwrap_or_default();
        drop(state);
        for message in held {
            // Who asked need not wait any more.
            let _ = (&self.device).write(&message);
        }
        if let Some(oldest) = oldest {
            oldest.close();
        }
    }

    /// Closes all, so that the file system can be unmounted.
    pub(crate) fn close(&self) {
        let open = std::mem::take(&mut self.state().open);
        open.into_iter().for_each(Door::close);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    fn close(self) {
        // Whoever waits to accept is woken, and who comes now is refused.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        drop(self.listener);
        // It does nothing that could panic.
        let _ = self.thread.join();
    }
}

fn accept(listener: &UnixListener, share: StreamId, node: u64, visitors: &Visitors) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => visitors.bring(Guest::Socket { share, node, stream }),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn kind(mode: u32) -> FileType {
    FileType::from_raw_mode(mode)
}

#[cfg(test)]
mod tests;
