//! The layers of one container that is being made: nobody else's meanwhile.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};

use container::{Status, Store};
use rustix::fs::FlockOperation;
use spec::Isolation;

use super::{Error, LIMIT, Layers, invalid};
use crate::vm::Machine;

/// The disk that the shim makes beside `upper`.
const DISK: &str = "scratch.ext4";

/// Layers whose scratch space is locked until this is dropped: by then the container's record tells of it.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) layers: Layers,
    /// The most that is written, in MiB.
    pub(crate) limit: Option<u32>,
    /// Whether there was nothing in it.
    is_new: bool,
    _locked: File,
}

impl Claim {
    /// Takes the scratch space for a container behind `wall`. One that a container of `store` uses, or
    /// that was written behind the other wall, is refused.
    pub(crate) fn take(layers: Layers, store: &Store, wall: Isolation) -> Result<Self, Error> {
        let scratch = &layers.scratch;
        let locked = File::open(scratch).map_err(Error::file("open", scratch))?;
        rustix::fs::flock(&locked, FlockOperation::LockExclusive)
            .map_err(|error| Error::file("lock", scratch)(error.into()))?;
        unused(&layers, store)?;
        let at = scratch.display();
        if wall.shares_kernel() && scratch.join(DISK).exists() {
            return Err(invalid(&format!(
                "the scratch space {at} holds a VM's disk, {DISK}, and the host mounts none that a \
                 guest wrote: name another"
            )));
        }
        let (upper, _) = layers.writable();
        let written = || fs::read_dir(&upper).is_ok_and(|mut entries| entries.next().is_some());
        if !wall.shares_kernel() && written() {
            return Err(invalid(&format!(
                "the scratch space {at} holds what was written without a VM, in upper, which a VM's \
                 disk does not have: name another"
            )));
        }
        let limit = limit(&layers)?;
        if let Some(mib) = limit.filter(|_| wall.shares_kernel()) {
            return Err(invalid(&format!(
                "the scratch space {at} was made for {mib} MiB at most, which a VM's disk keeps and a \
                 directory does not: name one without a limit"
            )));
        }
        Ok(Self { layers, limit, is_new: false, _locked: locked })
    }

    /// The overlay, for which what is missing in the scratch space is made.
    pub(crate) fn overlay(&mut self) -> Result<container::Layers, Error> {
        let (upper, work) = self.layers.writable();
        self.is_new = !upper.exists();
        self.make().inspect_err(|_| self.undo())?;
        Ok(container::Layers { lower: self.layers.lower.clone(), upper, work })
    }

    /// Leaves the scratch space as it was: no container was made. What went wrong is told elsewhere.
    pub(crate) fn undo(&self) {
        let (upper, work) = self.layers.writable();
        if self.is_new {
            let _ = fs::remove_dir_all(work);
            let _ = fs::remove_dir_all(upper);
        }
    }

    /// The root directory looks as the topmost layer's.
    fn make(&self) -> Result<(), Error> {
        let (upper, work) = self.layers.writable();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&work)
            .map_err(Error::file("make", &work))?;
        if upper.exists() {
            return Ok(());
        }
        let top = &self.layers.lower[0];
        let of = fs::metadata(top).map_err(Error::file("read", top))?;
        fs::create_dir(&upper)
            .and_then(|()| chown(&upper, Some(of.uid()), Some(of.gid())))
            .and_then(|()| fs::set_permissions(&upper, of.permissions()))
            .map_err(Error::file("make", &upper))
    }
}

/// The limit that the scratch space was made with.
fn limit(layers: &Layers) -> Result<Option<u32>, Error> {
    let path = layers.scratch.join(LIMIT);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::file("read", &path))?,
    };
    let mib = text.trim().parse().ok().filter(|mib| *mib > 0);
    mib.map(Some).ok_or_else(|| invalid(&format!("{} is no number of MiB", path.display())))
}

/// Refuses a scratch space that a container of `store` has not stopped to use.
fn unused(layers: &Layers, store: &Store) -> Result<(), Error> {
    let (upper, _) = layers.writable();
    let scratch = &layers.scratch;
    let in_use =
        |id: &spec::ContainerId| Err(Error::InUse { id: id.clone(), scratch: scratch.clone() });
    for container in store.list()? {
        let record = container.record();
        let uses = record.layers.as_ref().is_some_and(|layers| layers.upper == upper);
        if uses && container.status()? != Status::Stopped {
            return in_use(&record.id);
        }
    }
    for machine in Machine::list(store)? {
        let uses = machine.record.scratch.as_ref() == Some(scratch);
        // A VM lets go of its disks when it ends, with the last of its containers.
        let stopped = matches!(machine.state(), Ok((Status::Stopped, _)));
        if uses && !(stopped && machine.is_alone()?) {
            return in_use(&machine.record.id);
        }
    }
    Ok(())
}
