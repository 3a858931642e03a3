//! Locks, held on the host so that everybody sees them.
//!
//! The guest's processes are told apart by the number of an owner; each has a description of the file of
//! its own here, with the kernel's locks of open file descriptions.
//!
//! Spec: linux/fuse.h `fuse_lk_in`; fcntl(2) "Open file description locks".

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use sys::lock::{Range, get, set};

use crate::node::Node;
use crate::request::{Fields, Reply};
use crate::waits::Waits;

/// `fuse_lk_in.lk_flags`: flock(2) instead of fcntl(2).
const FLOCK: u32 = 1;

/// Whose locks on which file: node and owner.
type Holder = (u64, u64);

/// The locks that the guest holds.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: HashMap<Holder, Arc<OwnedFd>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    owner: u64,
    range: Range,
    flock: bool,
}

impl Wish {
    /// From behind the handle.
    fn read(mut fields: Fields<'_>) -> Result<Self, Errno> {
        let owner = fields.long()?;
        let (start, end) = (fields.long()?, fields.long()?);
        let kind = i32::try_from(fields.word()?).map_err(|_| Errno::INVAL)?;
        fields.word()?;
        let flock = fields.word()? & FLOCK != 0;
        Ok(Self { owner, range: Range { kind, start, end }, flock })
    }

    fn is_release(&self) -> bool {
        self.range.kind == libc::F_UNLCK
    }
}

impl Locks {
    /// What stands in the way of a lock.
    pub(crate) fn look(
        &mut self,
        number: u64,
        node: &Node,
        fields: Fields<'_>,
    ) -> Result<Reply, Errno> {
        let wish = Wish::read(fields)?;
        let file = self.holder(number, node, wish.owner)?;
        let other = get(file.as_fd(), wish.range).map_err(|e| crate::file::errno(&e))?;
        let kind = u32::try_from(other.kind).unwrap_or_default();
        Ok(Reply::default().longs(&[other.start, other.end]).words(&[kind, 0]))
    }

    /// Takes a lock or gives it back; `None` when it is waited for, and answered later.
    pub(crate) fn take(
        &mut self,
        (number, node): (u64, &Node),
        file: &File,
        fields: Fields<'_>,
        wait: Option<(u64, &Waits, &Arc<Mutex<impl Write + Send + 'static>>)>,
    ) -> Result<Option<Reply>, Errno> {
        let wish = Wish::read(fields)?;
        let on = if wish.flock {
            Arc::new(OwnedFd::from(file.try_clone().map_err(|e| crate::file::errno(&e))?))
        } else {
            self.holder(number, node, wish.owner)?
        };
        match attempt(&on, &wish) {
            Err(Errno::AGAIN | Errno::ACCESS) if !wish.is_release() => {}
            tried => return tried.map(|()| Some(Reply::default())),
        }
        let Some((unique, waits, out)) = wait else { return Err(Errno::AGAIN) };
        let again = move || match attempt(&on, &wish) {
            Err(Errno::ACCESS) => Err(Errno::AGAIN),
            tried => tried.map(|()| Reply::default()),
        };
        waits.wait(unique, out, again)?;
        Ok(None)
    }

    /// A process of the guest closed the file: its locks go.
    pub(crate) fn release(&mut self, number: u64, owner: u64) {
        self.held.remove(&(number, owner));
    }

    fn holder(&mut self, number: u64, node: &Node, owner: u64) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(held) = self.held.get(&(number, owner)) {
            return Ok(Arc::clone(held));
        }
        let opened = match node.open(OFlags::RDWR) {
            Err(Errno::ROFS | Errno::PERM | Errno::ISDIR) => node.open(OFlags::RDONLY),
            opened => opened,
        };
        let held = Arc::new(opened?);
        self.held.insert((number, owner), Arc::clone(&held));
        Ok(held)
    }
}

fn attempt(on: &OwnedFd, wish: &Wish) -> Result<(), Errno> {
    if !wish.flock {
        return set(on.as_fd(), wish.range).map_err(|error| crate::file::errno(&error));
    }
    rustix::fs::flock(
        on,
        match wish.range.kind {
            libc::F_RDLCK => FlockOperation::NonBlockingLockShared,
            libc::F_WRLCK => FlockOperation::NonBlockingLockExclusive,
            libc::F_UNLCK => FlockOperation::NonBlockingUnlock,
            _ => return Err(Errno::INVAL),
        },
    )
}
