//! The containers beneath one root directory.
//!
//! ```text
//!   ROOT/ID/state.json    Record, replaced by rename
//!   ROOT/ID/gate          unix socket on which init waits; gone once started
//!   ROOT/ID/seccomp       the compiled filter, for exec
//!   ROOT/ID/rootfs        where a root filesystem of layers is mounted, seen by the container alone
//!   ROOT/ID/vm.json       instead of all these: somebody else's record of a container in a VM
//! ```
//!
//! The directory itself is locked (flock) by whoever creates, starts or deletes. One without a record
//! is what a killed program left; `create` and `delete --force` clear it away.
//!
//! Every handle reads what other programs wrote: a container made by the shim is seen, killed and
//! deleted by `hull-runtime --root ROOT`.
//!
//! Where a container is in its life is never written down: it is read from the kernel. An init that
//! has not been started still listens at its gate.

mod limits;
mod pause;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use spec::{ContainerId, Pid, ProcessInfo, Signal};

use crate::channel::Channel;
use crate::launch::Gate;
use crate::record::{RECORD, Record, TEMPORARY};
use crate::source;
use crate::systemd::Unit;
use crate::{CreateOptions, Error, Exec, ExecOptions, Launched, create, exec, hook, processes};

/// Name of the start gate's socket.
pub(crate) const GATE: &str = "gate";

/// Name of the directory on which layers are mounted.
pub(crate) const ROOTFS: &str = "rootfs";

/// The record of a container that is none of this crate's, but whose name is taken in the store.
pub const FOREIGN_RECORD: &str = "vm.json";

/// How long a killed init may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory of containers. Two roots do not see each other.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A container that exists. Cheap; holds no descriptor and no lock between calls.
#[derive(Debug, Clone)]
pub struct Container {
    directory: PathBuf,
    record: Record,
}

/// Where a container is in its life, as found in the kernel just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its environment is being made, or the creator was killed while making it.
    Creating,
    /// Its init waits at the start gate.
    Created,
    /// The user's program runs.
    Running,
    /// Every process is frozen.
    Paused,
    /// The init process has ended; its status is known to whoever reaped it.
    Stopped,
}

impl Status {
    /// The word that the OCI state document uses for it; `paused` is runc's addition.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// The init process alone.
    Init,
    /// Every process of the container.
    All,
}

impl Store {
    /// The store at `root`. The directory is made by the first `create`.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes a container whose init waits at the start gate. A failure leaves nothing: no process,
    /// cgroup, mount or file.
    #[expect(clippy::needless_pass_by_value, reason = "descriptors are given away")]
    pub fn create(
        &self,
        id: &ContainerId,
        options: CreateOptions<'_>,
    ) -> Result<(Container, Launched), Error> {
        create::create(self, id, &options)
    }

    /// The container `id`; [`spec::Kind::NotFound`] when there is none.
    pub fn load(&self, id: &ContainerId) -> Result<Container, Error> {
        let directory = self.directory(id);
        match Record::read(&directory) {
            Ok(record) => Ok(Container { directory, record }),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound { id: id.clone() })
            }
            Err(error) => Err(error),
        }
    }

    /// Every container, in order of id. One that is being made or deleted meanwhile may be left out.
    pub fn list(&self) -> Result<Vec<Container>, Error> {
        Ok(self.ids()?.iter().filter_map(|id| self.load(id).ok()).collect())
    }

    /// Every name that is taken, in order, also by what is none of this crate's containers.
    pub fn ids(&self) -> Result<Vec<ContainerId>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", &self.root)(error)),
        };
        let mut ids: Vec<ContainerId> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Takes the name `id` for a container that is none of this crate's: gives its directory, empty and
    /// locked. Whoever calls writes [`FOREIGN_RECORD`] there before the lock goes.
    pub fn reserve(&self, id: &ContainerId) -> Result<(PathBuf, File), Error> {
        self.make_directory(id)
    }

    /// Where the container `id` is, if there is one.
    pub fn directory(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Removes what a killed `create` or `delete` left of a name: a directory without a record. Waits
    /// for one that is still at it. False when there is a container.
    pub fn clear(&self, id: &ContainerId) -> Result<bool, Error> {
        let path = self.directory(id);
        let taken = || [RECORD, FOREIGN_RECORD].iter().any(|name| path.join(name).exists());
        if taken() {
            return Ok(false);
        }
        let Some(_lock) = lock(&path)? else { return Ok(true) };
        if taken() { Ok(false) } else { remove_directory(&path).map(|()| true) }
    }

    /// Makes the directory of a new container, and the root when it is missing; gives it locked.
    pub(crate) fn make_directory(&self, id: &ContainerId) -> Result<(PathBuf, File), Error> {
        let path = self.directory(id);
        loop {
            match DirBuilder::new().mode(0o711).create(&path) {
                // None: somebody took the new directory for remains.
                Ok(()) => {
                    if let Some(lock) = lock(&path)? {
                        return Ok((path, lock));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_root()?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !self.clear(id)? {
                        return Err(Error::Exists { id: id.clone() });
                    }
                }
                Err(error) => return Err(Error::file("make", path)(error)),
            }
        }
    }

    fn make_root(&self) -> Result<(), Error> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o711)
            .create(&self.root)
            .map_err(Error::file("make", &self.root))
    }
}

/// The gate's address in an open container directory.
pub(crate) fn gate_address(directory: &File) -> io::Result<SocketAddrUnix> {
    create::short_address(directory, GATE)
}

impl Container {
    pub(crate) fn new(store: &Store, record: Record) -> Self {
        Self { directory: store.directory(&record.id), record }
    }

    /// Where its record is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was recorded at its creation.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its init process's number, when there is one and it has not ended.
    pub fn pid(&self) -> Option<Pid> {
        self.init_pidfd().ok().flatten()?;
        self.record.init.map(|init| init.pid)
    }

    /// Where it is in its life now.
    pub fn status(&self) -> Result<Status, Error> {
        if self.record.init.is_none() {
            return Ok(Status::Creating);
        }
        if self.init_pidfd()?.is_none() {
            return Ok(Status::Stopped);
        }
        if self.connect_gate()?.is_some() {
            return Ok(Status::Created);
        }
        Ok(if self.record.cgroup.is_frozen()? { Status::Paused } else { Status::Running })
    }

    /// The state document of the specification, as `state` prints it.
    pub fn state(&self) -> Result<hook::State, Error> {
        let status = self.status()?;
        let alive = !matches!(status, Status::Stopped | Status::Creating);
        Ok(self.state_as(status.name(), self.record.init.filter(|_| alive).map(|i| i.pid)))
    }

    fn state_as(&self, status: &str, pid: Option<Pid>) -> hook::State {
        hook::State {
            oci_version: self.record.oci_version.clone(),
            id: self.record.id.to_string(),
            status: status.to_owned(),
            pid: pid.map(Pid::raw),
            bundle: self.record.bundle.clone(),
            annotations: self.record.annotations.clone(),
        }
    }

    /// Opens the start gate and returns once the user's program was executed.
    /// [`spec::Kind::Conflict`] unless created; [`spec::Kind::CommandNotFound`] or
    /// [`spec::Kind::CommandNotExecutable`] when execve(2) refused, the init has then ended. When a
    /// poststart hook fails, the container is deleted.
    pub fn start(&self) -> Result<(), Error> {
        let _lock = self.clone().lock()?;
        let Some(gate) = self.connect_gate()? else {
            return Err(Error::State { action: "start", status: self.status()? });
        };
        Gate::new(Channel::from(gate)).open()?;
        let path = self.directory.join(GATE);
        fs::remove_file(&path).map_err(Error::file("remove", path))?;
        if !self.record.poststart.is_empty() {
            let state = self.state_as("running", self.record.init.map(|init| init.pid));
            hook::run_all("poststart", &self.record.poststart, &state)
                .inspect_err(|_| drop(self.remove()))?;
        }
        Ok(())
    }

    /// Sends a signal; does not wait for its effect. To a stopped container:
    /// [`spec::Kind::Conflict`] for the init, nothing at all for all.
    pub fn signal(&self, signal: Signal, to: Recipients) -> Result<(), Error> {
        // Those whom the kernel does not kill with init are killed with it: by themselves they would
        // stay for ever.
        let all = to == Recipients::All || signal == Signal::KILL && !self.record.own_pids;
        if all {
            self.record.cgroup.signal(signal)?;
        } else {
            self.signal_init(signal)?;
        }
        // The freezer of cgroup v1 keeps even a killed process waiting.
        if signal == Signal::KILL && self.record.cgroup.is_frozen()? {
            self.record.cgroup.freeze(false)?;
        }
        Ok(())
    }

    fn signal_init(&self, signal: Signal) -> Result<(), Error> {
        let init = self.init_pidfd()?.ok_or(Error::NotRunning)?;
        sys::pidfd::signal(init.as_fd(), signal.number()).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ESRCH) => Error::NotRunning,
                _ => Error::Launch { step: "signal init", source: error },
            }
        })
    }

    /// Makes another process in the container; it waits at its gate.
    /// [`spec::Kind::Conflict`] when the container is stopped or paused.
    #[expect(clippy::needless_pass_by_value, reason = "descriptors are given away")]
    pub fn exec(&self, options: ExecOptions<'_>) -> Result<Exec, Error> {
        match (self.status()?, self.init_pidfd()?) {
            (Status::Created | Status::Running, Some(init)) => exec::exec(self, &init, &options),
            (Status::Paused, Some(init)) if options.ignore_paused => {
                exec::exec(self, &init, &options)
            }
            (status, _) => Err(Error::State { action: "exec", status }),
        }
    }

    /// Its processes by cgroup membership, in order of pid, with pids of the caller's namespace.
    pub fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        let pids = self.record.cgroup.processes()?;
        processes::describe(&pids).map_err(Error::launch("read processes"))
    }

    /// Frees everything: processes that are left, cgroups, state. A container that still runs is
    /// refused with [`spec::Kind::Conflict`] unless `force`, which kills it first. The caller still
    /// reaps the init it was given. Gives warnings: what poststop hooks failed with.
    pub fn delete(mut self, force: bool) -> Result<Vec<String>, Error> {
        let _lock = self.lock()?;
        let status = self.status()?;
        // An init that was never started holds nothing of the user's.
        if !force && !matches!(status, Status::Stopped | Status::Created | Status::Creating) {
            return Err(Error::State { action: "delete", status });
        }
        self.remove()
    }

    /// Undoes the container; the caller has locked it.
    fn remove(&self) -> Result<Vec<String>, Error> {
        self.kill_all()?;
        // Both are tried; the first failure is told.
        let stopped = self.record.unit.as_ref().map_or(Ok(()), Unit::stop);
        self.record.cgroup.remove()?;
        if let Some(id) = self.record.rootfs_mount {
            let path = &self.record.rootfs;
            match source::unmount(path, id) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("unmount", path)(error));
                }
                _ => {}
            }
        }
        if let Some(group) = &self.record.rdt {
            group.remove()?;
        }
        stopped?;
        remove_directory(&self.directory)?;
        let state = self.state_as("stopped", None);
        let failed = hook::run_each("poststop", &self.record.poststop, &state);
        Ok(failed.iter().map(|error| spec::chain(error)).collect())
    }

    /// Ends every process and waits for init's end.
    fn kill_all(&self) -> Result<(), Error> {
        let init = self.init_pidfd()?;
        if let Some(init) = &init {
            // Already ended is as good.
            let _ = sys::pidfd::signal(init.as_fd(), Signal::KILL.number());
        }
        // Nobody is left in a pid namespace whose init has ended.
        if !self.record.own_pids || init.is_none() || self.record.cgroup.is_frozen()? {
            self.record.cgroup.signal(Signal::KILL)?;
            if self.record.cgroup.is_frozen()? {
                self.record.cgroup.freeze(false)?;
            }
        }
        if let Some(init) = &init {
            wait_end(init)?;
        }
        Ok(())
    }

    /// A pidfd of the init, unless it has ended.
    pub(crate) fn init_pidfd(&self) -> Result<Option<OwnedFd>, Error> {
        let Some(init) = self.record.init else { return Ok(None) };
        processes::open(init.pid.raw(), init.started).map_err(Error::launch("open init"))
    }

    /// A connection to an init that waits; `None` once it was started or has ended.
    fn connect_gate(&self) -> Result<Option<OwnedFd>, Error> {
        let step = "connect to the start gate";
        let directory =
            File::open(&self.directory).map_err(Error::file("open", &self.directory))?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Error::launch(step))?;
        let address = gate_address(&directory).map_err(Error::launch(step))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => Ok(Some(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(error) => Err(Error::launch(step)(error)),
        }
    }

    /// Holds the container against other programs that would change it, and reads again what the
    /// last of them left.
    fn lock(&mut self) -> Result<File, Error> {
        let missing = Error::NotFound { id: self.record.id.clone() };
        let Some(lock) = lock(&self.directory)? else { return Err(missing) };
        match Record::read(&self.directory) {
            Ok(record) => self.record = record,
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(missing);
            }
            Err(error) => return Err(error),
        }
        Ok(lock)
    }
}

/// Locks a container's directory, waiting for whoever has it; `None` when it is gone.
fn lock(path: &Path) -> Result<Option<File>, Error> {
    let directory = match File::open(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)
        .map_err(|error| Error::file("lock", path)(error.into()))?;
    let links = directory.metadata().map_err(Error::file("look at", path))?.nlink();
    // It may have been removed while this program waited.
    Ok((links > 0).then_some(directory))
}

/// Removes a container's directory, the record last: what is left half way can still be deleted.
fn remove_directory(directory: &Path) -> Result<(), Error> {
    let rootfs = directory.join(ROOTFS);
    match fs::remove_dir(&rootfs) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("remove", rootfs)(error));
        }
        _ => {}
    }
    for name in [GATE, crate::seccomp::FILE, TEMPORARY, RECORD] {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", path)(error));
            }
            _ => {}
        }
    }
    fs::remove_dir(directory).map_err(Error::file("remove", directory))
}

/// Waits until the process has ended, reaped or not.
fn wait_end(pidfd: &OwnedFd) -> Result<(), Error> {
    let patience =
        Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience))) {
        Ok(0) => Err(Error::Launch {
            step: "wait for the end of init",
            source: io::ErrorKind::TimedOut.into(),
        }),
        Ok(_) => Ok(()),
        Err(error) => Err(Error::launch("wait for the end of init")(error)),
    }
}
