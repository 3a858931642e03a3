//! Process isolation: the host's own kernel, by way of the `container` crate.
//!
//! ```text
//!   create: mount rootfs -> Store::create -> Process (pidfd, terminal)
//!   delete: Process reaped -> Container::delete -> unmount rootfs -> nothing left
//! ```
//!
//! Used by the shim, as one value for its whole life, from many threads. Every process is the shim's
//! child and is reaped here, once; whoever waits for it gets the same answer. The same container can
//! be reached with `hull-runtime --root`.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container::{Console, CreateOptions, ExecOptions, Store, Stream};
use spec::files::{Answer, Request};
use spec::oci::runtime as oci;
use spec::options::Options;
use spec::{ContainerId, Exit, Kind, Pid, ProcessId, ProcessInfo, Signal, Usage};

use crate::facts::{self, Facts};
use crate::{Bundle, Recipients, Rootfs, Sandbox, Stdio, WindowSize};

mod devices;
mod disk;
mod files;
mod process;
mod rootfs;
mod terminal;

use process::Process;

/// Why a container on the host's kernel could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container itself.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// Its root filesystem.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// The disk that limits what it writes.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Its facts.
    #[error(transparent)]
    Facts(#[from] facts::Error),
    /// One of its processes.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// Its files.
    #[error(transparent)]
    Files(#[from] tree::files::Error),
    /// Its root cannot be seen.
    #[error("see the container's root")]
    Assemble(#[source] io::Error),
    /// The way for data is broken.
    #[error("pass the data")]
    Data(#[source] io::Error),
    /// It has just ended.
    #[error("container {0} has ended")]
    Over(ContainerId),
    /// No such process.
    #[error("no such process: {0}")]
    NoProcess(ProcessId),
    /// There is such a process already.
    #[error("{0} exists already")]
    Exists(ProcessId),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Container(error) => error.kind(),
            Self::Rootfs(error) => error.kind(),
            Self::Disk(error) => error.kind(),
            Self::Facts(error) => error.kind(),
            Self::Process(error) => error.kind(),
            Self::Files(error) => error.kind(),
            Self::Assemble(_) | Self::Data(_) => Kind::Internal,
            Self::Over(_) => Kind::Conflict,
            Self::NoProcess(_) => Kind::NotFound,
            Self::Exists(_) => Kind::Exists,
        }
    }
}

/// The containers of one shim that share the host's kernel.
#[derive(Debug)]
pub struct Host {
    store: Store,
    /// Where empty disks are kept to copy from.
    cache: PathBuf,
    processes: Mutex<HashMap<ProcessId, Arc<Process>>>,
    /// What is to be unmounted with each container, in this order.
    mounts: Mutex<HashMap<ContainerId, Vec<PathBuf>>>,
}

impl Host {
    /// The host; nothing is made yet.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let store = Store::open(options.runtime_root());
        let cache = options.data("vm/scratch");
        Ok(Self { store, cache, processes: Mutex::default(), mounts: Mutex::default() })
    }

    fn find(&self, id: &ProcessId) -> Result<Arc<Process>, Error> {
        let found = lock(&self.processes).get(id).cloned();
        found.ok_or_else(|| Error::NoProcess(id.clone()))
    }

    fn vacant(&self, id: &ProcessId) -> Result<(), Error> {
        if lock(&self.processes).contains_key(id) {
            return Err(Error::Exists(id.clone()));
        }
        Ok(())
    }

    /// Takes the container's processes off the list.
    fn forget(&self, id: &ContainerId) -> Vec<Arc<Process>> {
        let mut processes = lock(&self.processes);
        let ours = processes.keys().filter(|process| process.container == *id);
        let ours: Vec<_> = ours.cloned().collect();
        ours.iter().filter_map(|process| processes.remove(process)).collect()
    }

    /// The root filesystem's path; what is mounted for it is put in front of `mounted`.
    fn mount_rootfs(&self, bundle: &Bundle, mounted: &mut Vec<PathBuf>) -> Result<PathBuf, Error> {
        let rootfs = match disk::of(bundle) {
            Some(disk) => {
                let rootfs = disk.prepare(&self.cache)?;
                mounted.push(disk.at().to_owned());
                disk.mount()?;
                rootfs
            }
            None => bundle.rootfs.clone(),
        };
        match rootfs {
            Rootfs::Directory(path) => Ok(path),
            Rootfs::Overlay { lower, upper, work } => {
                let path = bundle.path.join("rootfs");
                rootfs::mount_overlay(&path, &lower, &upper, &work)?;
                mounted.insert(0, path.clone());
                Ok(path)
            }
        }
    }

    /// Makes the container on the rootfs at `path`.
    fn create_on(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        rootfs: &Path,
        io: Stdio,
    ) -> Result<Process, Error> {
        Facts::namespaces().write(&bundle.path)?;
        let (stdio, ends) = streams(io, terminal(bundle.spec.process().as_ref()));
        let with_devices = devices::add(&bundle.spec);
        let spec = with_devices.as_ref().unwrap_or(&bundle.spec);
        let options = CreateOptions {
            rootfs: Some(rootfs.to_owned()),
            stdio,
            console: Console::Return,
            ..CreateOptions::new(&bundle.path, spec)
        };
        let (container, launched) = self.store.create(id, options)?;
        Process::new(ProcessId::init(id.clone()), launched, None, ends).map_err(|error| {
            // What failed first is what the caller is told.
            let _ = container.delete(true);
            error.into()
        })
    }

    /// Frees a container whose init has ended or is to be ended by `force`. Goes on whatever fails;
    /// gives the first failure.
    fn free(&self, id: &ContainerId, force: bool) -> Result<(), Error> {
        let deleted: Result<(), Error> = match self.store.load(id) {
            Ok(container) => match container.delete(force) {
                Ok(warnings) => {
                    for warning in warnings {
                        tracing::warn!(container = %id, warning);
                    }
                    Ok(())
                }
                Err(error) => Err(error.into()),
            },
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        };
        if deleted.as_ref().is_err_and(|error| error.kind() == Kind::Conflict) {
            return deleted;
        }
        let gone = self.forget(id);
        // They were killed with their cgroup; they are our children still.
        let reaped = gone.iter().try_for_each(|process| process.wait().map(drop));
        let mounts = lock(&self.mounts).remove(id).unwrap_or_default();
        let unmounted = unmount(&mounts);
        deleted?;
        reaped?;
        Ok(unmounted?)
    }
}

impl Sandbox for Host {
    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Pid, crate::Error> {
        let init = ProcessId::init(id.clone());
        self.vacant(&init)?;
        let mut mounted = Vec::new();
        let process = self.mount_rootfs(bundle, &mut mounted);
        let process = process.and_then(|path| self.create_on(id, bundle, &path, io));
        let process = process.inspect_err(|_| {
            // What failed first is what the caller is told.
            let _ = unmount(&mounted);
        })?;
        let pid = process.pid();
        lock(&self.mounts).insert(id.clone(), mounted);
        lock(&self.processes).insert(init, Arc::new(process));
        Ok(pid)
    }

    fn exec(&self, id: &ProcessId, program: &oci::Process, io: Stdio) -> Result<Pid, crate::Error> {
        self.vacant(id)?;
        let container = self.store.load(&id.container).map_err(Error::from)?;
        let (stdio, ends) = streams(io, terminal(Some(program)));
        let options = ExecOptions { stdio, ..ExecOptions::new(program) };
        let exec = container.exec(options).map_err(Error::from)?;
        let process = Process::new(id.clone(), exec.process, Some(exec.gate), ends);
        let process = process.map_err(Error::from)?;
        let pid = process.pid();
        lock(&self.processes).insert(id.clone(), Arc::new(process));
        Ok(pid)
    }

    fn start(&self, id: &ProcessId) -> Result<(), crate::Error> {
        let process = self.find(id)?;
        let started = match id.exec {
            Some(_) => process.gate().map_err(Error::from)?.open(),
            None => self.store.load(&id.container).and_then(|container| container.start()),
        };
        Ok(started.map_err(Error::from)?)
    }

    fn signal(&self, id: &ProcessId, signal: Signal, to: Recipients) -> Result<(), crate::Error> {
        let process = self.find(id)?;
        let to = match (to, &id.exec) {
            (Recipients::One, Some(_)) => {
                return Ok(process.signal(signal).map_err(Error::from)?);
            }
            (Recipients::One, None) => container::Recipients::Init,
            (Recipients::All, _) => container::Recipients::All,
        };
        let container = self.store.load(&id.container).map_err(Error::from)?;
        Ok(container.signal(signal, to).map_err(Error::from)?)
    }

    fn wait(&self, id: &ProcessId) -> Result<Exit, crate::Error> {
        Ok(self.find(id)?.wait().map_err(Error::from)?)
    }

    fn resize(&self, id: &ProcessId, size: WindowSize) -> Result<(), crate::Error> {
        Ok(self.find(id)?.resize(size).map_err(Error::from)?)
    }

    /// The process reads the caller's pipe itself, or its terminal's pump does: closing the pipe's
    /// other end is all it takes.
    fn close_stdin(&self, id: &ProcessId) -> Result<(), crate::Error> {
        Ok(self.find(id).map(drop)?)
    }

    fn processes(&self, id: &ContainerId) -> Result<Vec<ProcessInfo>, crate::Error> {
        let container = self.store.load(id).map_err(Error::from)?;
        Ok(container.processes().map_err(Error::from)?)
    }

    fn update(&self, id: &ContainerId, to: &oci::LinuxResources) -> Result<(), crate::Error> {
        let mut container = self.store.load(id).map_err(Error::from)?;
        Ok(container.update(to).map_err(Error::from)?)
    }

    fn usage(&self, id: &ContainerId) -> Result<Usage, crate::Error> {
        let container = self.store.load(id).map_err(Error::from)?;
        Ok(container.usage().map_err(Error::from)?)
    }

    fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<(), crate::Error> {
        let container = self.store.load(id).map_err(Error::from)?;
        let done = if frozen { container.pause() } else { container.resume() };
        Ok(done.map_err(Error::from)?)
    }

    /// It is in that namespace, and sees those files themselves.
    fn refresh(&self, id: &ContainerId) -> Result<(), crate::Error> {
        Ok(self.find(&ProcessId::init(id.clone())).map(drop)?)
    }

    fn files(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        request: &Request,
        data: Option<UnixStream>,
    ) -> Result<Answer, crate::Error> {
        Ok(self.serve_files(id, bundle, request, data)?)
    }

    fn delete(&self, id: &ProcessId) -> Result<Exit, crate::Error> {
        let process = self.find(id)?;
        let exit = process.ended().map_err(Error::from)?;
        match id.exec {
            Some(_) => drop(lock(&self.processes).remove(id)),
            None => self.free(&id.container, false)?,
        }
        Ok(exit)
    }

    fn shutdown(&self) -> Result<(), crate::Error> {
        let ids: Vec<_> = lock(&self.processes)
            .keys()
            .filter(|id| id.exec.is_none())
            .map(|id| id.container.clone())
            .collect();
        let freed: Vec<_> = ids.iter().map(|id| self.free(id, true)).collect();
        Ok(freed.into_iter().collect::<Result<(), Error>>()?)
    }
}

/// Ends and removes what a [`Host`] left of `container` when its program was killed.
pub fn clean(options: &Options, container: &ContainerId, bundle: &Path) -> Result<(), Error> {
    let host = Host::open(options)?;
    let freed = host.free(container, true);
    let unmounted = unmount(&[bundle.join("rootfs"), bundle.join(disk::AT)]);
    freed?;
    Ok(unmounted?)
}

/// Unmounts all of it; gives the first failure.
fn unmount(mounts: &[PathBuf]) -> Result<(), rootfs::Error> {
    let each: Vec<_> = mounts.iter().map(|path| rootfs::unmount(path)).collect();
    each.into_iter().collect()
}

fn terminal(process: Option<&oci::Process>) -> bool {
    process.and_then(oci::Process::terminal).unwrap_or(false)
}

/// The streams for the process itself, and with a terminal those for its pump.
fn streams(io: Stdio, terminal: bool) -> (container::Stdio, Stdio) {
    if terminal {
        return (container::Stdio::default(), io);
    }
    let stream = |fd: Option<OwnedFd>| fd.map_or(Stream::Null, Stream::Fd);
    let [stdin, stdout, stderr] = [io.stdin, io.stdout, io.stderr].map(stream);
    (container::Stdio { stdin, stdout, stderr }, Stdio::default())
}

/// Nothing panics while it holds one of the locks, so a poisoned one is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
