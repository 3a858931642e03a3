//! The guest's containers: what the shim's calls do.
//!
//! A container here is the host's with other resources: the same configuration, made by the same
//! crate, on a root filesystem and in a network namespace of the guest's own.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container::{CreateOptions, ExecOptions, Recipients, Store};
use spec::oci::runtime as oci;
use spec::{ContainerId, Kind, ProcessId, Signal, annotation};
use wire::message::{Create, Exec, Refresh, SHARED_MEMORY};
use wire::server::Streams;
use wire::{Failure, Receiver, Reply, Request, StreamId};

use crate::boot::PROGRAM;
use crate::disks;
use crate::files::{self, Reached};
use crate::network::{self, Namespace};
use crate::process::Process;
use crate::rootfs::{self, Place};
use crate::stdio::{self, Pipes};
use crate::visitors::{self, Queue, Visitors};
use crate::workers::Workers;
use crate::{configure, done};

const STORE: &str = "/run/containers";

/// Everything that the agent holds.
pub(crate) struct Guest {
    store: Store,
    streams: Streams,
    /// A network namespace from the template's time: to make one takes a clone a tenth of a second.
    prepared: Mutex<Option<Namespace>>,
    processes: Mutex<HashMap<ProcessId, Arc<Process>>>,
    places: Mutex<HashMap<ContainerId, Arc<Home>>>,
    /// Streams that were announced and wait for the call that names them.
    expected: Mutex<HashMap<StreamId, Receiver>>,
    /// Those who want to speak with somebody on the host.
    visitors: (Visitors, Queue),
    workers: Workers,
}

/// Where a container lives; its network is there while it runs.
struct Home {
    network: Option<Network>,
    place: Place,
}

/// A container's network namespace.
#[derive(Clone)]
struct Network {
    netns: Arc<Namespace>,
    /// Whether it is another container's.
    joined: bool,
}

/// What is there when this is called, and not sooner.
type Coming<T> = Box<dyn FnOnce() -> Result<T, Error>>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Configure(#[from] configure::Error),
    #[error(transparent)]
    Container(#[from] container::Error),
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Disk(#[from] disks::Error),
    #[error(transparent)]
    Files(#[from] files::Error),
    #[error(transparent)]
    Stdio(#[from] stdio::Error),
    #[error("have work done by a thread")]
    Worker(#[source] io::Error),
    #[error("take in a visitor")]
    Visitor(#[source] io::Error),
    #[error("process {0} does not exist")]
    NoProcess(ProcessId),
    #[error("process {0} already exists")]
    Exists(ProcessId),
    #[error("process {process} {state}")]
    State { process: ProcessId, state: &'static str },
    #[error("{action} {process}")]
    Process { action: &'static str, process: ProcessId, source: io::Error },
}

impl Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Configure(error) => error.kind(),
            Self::Container(error) => error.kind(),
            Self::Rootfs(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Files(error) => error.kind(),
            Self::Stdio(_) | Self::Worker(_) | Self::Visitor(_) => Kind::Exhausted,
            Self::NoProcess(_) => Kind::NotFound,
            Self::Exists(_) => Kind::Exists,
            Self::State { .. } => Kind::Conflict,
            Self::Process { .. } | Self::Disk(_) => Kind::Internal,
        }
    }
}

impl Guest {
    /// `netns` is for the first container.
    pub(crate) fn new(streams: Streams, netns: Namespace, workers: Workers) -> Self {
        let prepared = Mutex::new(Some(netns));
        let (processes, places, expected) = Default::default();
        let (store, visitors) = (Store::open(STORE), visitors::queue());
        Self { store, streams, prepared, processes, places, expected, visitors, workers }
    }

    /// Does what is asked, and says how it went.
    pub(crate) fn serve(&self, request: &Request) -> Result<Reply, Failure> {
        self.dispatch(request).map_err(|error| Failure::from_error(error.kind(), &error))
    }

    fn dispatch(&self, request: &Request) -> Result<Reply, Error> {
        match request {
            Request::Configure(with) => done(configure::configure(with).map_err(Error::from)),
            Request::Create(create) => done(self.create(create)),
            Request::Exec(exec) => done(self.exec(exec)),
            Request::Start { process } => done(self.start(process)),
            Request::Signal { process, signal, all } => done(self.signal(process, *signal, *all)),
            Request::Wait { process } => {
                let code = self.process(process)?.wait();
                Ok(Reply::Exit { code })
            }
            Request::Resize { process, rows, columns } => {
                let resized = self.process(process)?.resize(*rows, *columns);
                done(resized.map_err(failed("resize the terminal of", process)))
            }
            Request::Processes { container } => {
                Ok(Reply::Processes { list: self.store.load(container)?.processes()? })
            }
            Request::Freeze { container, frozen } => {
                let container = self.store.load(container)?;
                done(
                    if *frozen { container.pause() } else { container.resume() }
                        .map_err(Error::from),
                )
            }
            Request::SetClock { now } => done(configure::set_clock(*now).map_err(Error::from)),
            Request::Update { container, resources } => {
                done(self.store.load(container)?.update(resources).map_err(Error::from))
            }
            Request::Usage { container } => {
                Ok(Reply::Usage { usage: Box::new(self.store.load(container)?.usage()?) })
            }
            Request::Refresh(refresh) => done(self.refresh(refresh)),
            Request::Receive { from, to } => {
                let visitor = self.visitors.1.receive(*from, *to, &self.streams);
                Ok(Reply::Came { visitor: visitor.map_err(Error::Visitor)? })
            }
            Request::Open { container, rootfs, shares } => {
                let mut place = Place::make(container, rootfs)?;
                if let Some(shares) = shares {
                    let grafts = place.share(shares, &self.streams, &self.visitors.0)?;
                    place.graft(&grafts);
                }
                self.settle(container, place, None);
                Ok(Reply::Done)
            }
            Request::Expect { stream } => {
                let receiver = self.streams.receiver(*stream);
                self.expected().insert(*stream, receiver);
                Ok(Reply::Done)
            }
            Request::Files { container, request, data } => self.files(container, request, *data),
            Request::Delete { process } => done(self.delete(process)),
            Request::Shutdown => done(self.shut_down()),
        }
    }

    fn create(&self, create: &Create) -> Result<(), Error> {
        let process = ProcessId::init(create.container.clone());
        self.check_free(&process)?;
        // Side by side: neither needs the other.
        let network = self.network(create)?;
        let place = Place::make(&create.container, &create.rootfs);
        let network = network()?;
        let mut place = place?;
        let files = place.write(&create.files)?;
        let mut spec = create.spec.clone();
        join(&mut spec, oci::LinuxNamespaceType::Network, network.netns.path());
        for (typ, donor) in &create.joins {
            if *typ != oci::LinuxNamespaceType::Network {
                join(&mut spec, *typ, &self.of(donor)?.join("ns").join(in_proc(*typ)));
            }
            if *typ == oci::LinuxNamespaceType::Ipc {
                let memory = self.of(donor)?.join("ns/mnt");
                share_memory(&mut spec, &place.share_memory(&memory)?);
            }
        }
        for (file, path) in create.files.iter().zip(&files) {
            mount_from(&mut spec, Path::new(&file.path), path);
        }
        let annotations = spec.annotations().as_ref();
        if let Some(on) = annotations.and_then(|all| all.get(annotation::INIT)).cloned() {
            mount_from(&mut spec, Path::new(&on), Path::new(PROGRAM));
        }
        if let Some(shares) = &create.shares {
            for graft in place.share(shares, &self.streams, &self.visitors.0)? {
                mount_from(&mut spec, &graft.destination, &graft.source);
            }
        }
        disks::fill_in(&mut spec, &create.disks)?;
        let mut options = CreateOptions::new(place.dir(), &spec);
        options.rootfs = Some(place.rootfs());
        let terminal = has_terminal(spec.process().as_ref());
        let mut pipes =
            Pipes::make(if terminal { wire::message::Stdio::default() } else { create.stdio })?;
        options.stdio = pipes.take_theirs();
        let (container, launched) = self.store.create(&create.container, options)?;
        let begun = self.adopt(&process, launched, None, pipes, create.stdio);
        if begun.is_err() {
            // It is not needed any more; what matters is why.
            let _ = container.delete(true);
        } else {
            self.settle(&create.container, place, Some(network));
        }
        begun
    }

    /// The network of a container to come: its own, which is made meanwhile, or that of the one it joins.
    fn network(&self, create: &Create) -> Result<Coming<Network>, Error> {
        let network = |(typ, _): &&(_, _)| *typ == oci::LinuxNamespaceType::Network;
        if let Some((_, donor)) = create.joins.iter().find(network) {
            let found = self.home(donor)?.network.clone();
            let found = found.ok_or_else(|| Error::NoProcess(ProcessId::init(donor.clone())))?;
            return Ok(Box::new(|| Ok(Network { joined: true, ..found })));
        }
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (wanted, visitors) = (create.network.clone(), self.visitors.0.clone());
        let furnish = move || {
            let netns = prepared.map_or_else(Namespace::make, Ok)?;
            netns.update(&wanted, &visitors).map(|()| netns)
        };
        let made = self.workers.ask(furnish).map_err(Error::Worker)?;
        Ok(Box::new(move || {
            let made = made.recv().map_err(|error| Error::Worker(io::Error::other(error)))?;
            Ok(Network { netns: Arc::new(made?), joined: false })
        }))
    }

    /// What the kernel shows of a container's init.
    fn of(&self, donor: &ContainerId) -> Result<PathBuf, Error> {
        let pid = self.store.load(donor)?.pid();
        let pid = pid.ok_or_else(|| Error::NoProcess(ProcessId::init(donor.clone())))?;
        Ok(Path::new("/proc").join(pid.to_string()))
    }

    /// Takes up what has changed on the host.
    fn refresh(&self, refresh: &Refresh) -> Result<(), Error> {
        let home = self.home(&refresh.container)?;
        home.place.rewrite(&refresh.files)?;
        match &home.network {
            Some(Network { netns, joined: false }) => {
                Ok(netns.update(&refresh.network, &self.visitors.0)?)
            }
            _ => Ok(()),
        }
    }

    fn exec(&self, exec: &Exec) -> Result<(), Error> {
        self.check_free(&exec.process)?;
        let container = self.store.load(&exec.process.container)?;
        let mut options = ExecOptions::new(&exec.program);
        let terminal = has_terminal(Some(&exec.program));
        let mut pipes =
            Pipes::make(if terminal { wire::message::Stdio::default() } else { exec.stdio })?;
        options.stdio = pipes.take_theirs();
        let made = container.exec(options)?;
        self.adopt(&exec.process, made.process, Some(made.gate), pipes, exec.stdio)
    }

    /// Takes charge of a new process and connects its streams.
    fn adopt(
        &self,
        id: &ProcessId,
        launched: container::Launched,
        gate: Option<container::Gate>,
        pipes: Pipes,
        to: wire::message::Stdio,
    ) -> Result<(), Error> {
        let process = Process::new(launched, gate);
        let watched = Arc::clone(&process);
        self.workers.give(move || watched.reap()).map_err(failed("watch", id))?;
        let (streams, workers) = (&self.streams, &self.workers);
        match process.pty() {
            Some(pty) => stdio::connect_terminal(pty, to, streams, workers)?,
            None => pipes.connect(to, streams, workers)?,
        }
        self.processes().insert(id.clone(), process);
        Ok(())
    }

    fn start(&self, id: &ProcessId) -> Result<(), Error> {
        let process = self.process(id)?;
        match (&id.exec, process.take_gate()) {
            (None, _) => Ok(self.store.load(&id.container)?.start()?),
            (Some(_), Some(gate)) => Ok(gate.open()?),
            (Some(_), None) => {
                Err(Error::State { process: id.clone(), state: "was started before" })
            }
        }
    }

    fn signal(&self, id: &ProcessId, signal: Signal, all: bool) -> Result<(), Error> {
        let process = self.process(id)?;
        match (&id.exec, all) {
            (None, false) => {
                Ok(self.store.load(&id.container)?.signal(signal, Recipients::Init)?)
            }
            (_, true) => Ok(self.store.load(&id.container)?.signal(signal, Recipients::All)?),
            (Some(_), false) if process.has_ended() => {
                Err(Error::State { process: id.clone(), state: "has ended" })
            }
            (Some(_), false) => process.signal(signal).map_err(failed("signal", id)),
        }
    }

    fn delete(&self, id: &ProcessId) -> Result<(), Error> {
        let process = self.process(id)?;
        if !process.has_ended() {
            return Err(Error::State { process: id.clone(), state: "still runs" });
        }
        if id.exec.is_none() {
            self.store.load(&id.container)?.delete(false)?;
            self.processes().retain(|process, _| process.container != id.container);
            let place = self.places().remove(&id.container);
            drop(place);
            rustix::fs::sync();
        } else {
            self.processes().remove(id);
        }
        Ok(())
    }

    /// Ends every container, so that the disks can be put in order.
    fn shut_down(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for container in self.store.list()? {
            outcome = outcome.and(container.delete(true).map(drop).map_err(Error::from));
        }
        let places = std::mem::take(&mut *self.places());
        drop(places);
        rustix::fs::sync();
        outcome
    }

    fn files(
        &self,
        id: &ContainerId,
        request: &spec::files::Request,
        data: Option<StreamId>,
    ) -> Result<Reply, Error> {
        let input = match data.filter(|_| request.takes_data()) {
            Some(id) => {
                let expected = self.expected().remove(&id);
                Some(expected.ok_or(files::Error::Unannounced(id))?)
            }
            None => None,
        };
        let home = self.home(id)?;
        let reached = Reached { store: &self.store, id, place: &home.place };
        let answer = reached.serve(request, input, data, &self.streams)?;
        Ok(Reply::Files { answer })
    }

    fn settle(&self, id: &ContainerId, place: Place, network: Option<Network>) {
        self.places().insert(id.clone(), Arc::new(Home { network, place }));
    }

    fn home(&self, id: &ContainerId) -> Result<Arc<Home>, Error> {
        let home = self.places().get(id).cloned();
        Ok(home.ok_or_else(|| files::Error::NoContainer(id.clone()))?)
    }

    fn check_free(&self, id: &ProcessId) -> Result<(), Error> {
        if self.processes().contains_key(id) {
            return Err(Error::Exists(id.clone()));
        }
        Ok(())
    }

    fn process(&self, id: &ProcessId) -> Result<Arc<Process>, Error> {
        self.processes().get(id).cloned().ok_or_else(|| Error::NoProcess(id.clone()))
    }

    fn processes(&self) -> MutexGuard<'_, HashMap<ProcessId, Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Home>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, HashMap<StreamId, Receiver>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed<'a>(
    action: &'static str,
    process: &'a ProcessId,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Process { action, process: process.clone(), source }
}

fn has_terminal(process: Option<&oci::Process>) -> bool {
    process.and_then(oci::Process::terminal).unwrap_or(false)
}

/// A namespace's name in `/proc/PID/ns` (namespaces(7)).
fn in_proc(typ: oci::LinuxNamespaceType) -> &'static str {
    match typ {
        oci::LinuxNamespaceType::Network => "net",
        oci::LinuxNamespaceType::Mount => "mnt",
        oci::LinuxNamespaceType::Pid => "pid",
        oci::LinuxNamespaceType::Ipc => "ipc",
        oci::LinuxNamespaceType::Uts => "uts",
        oci::LinuxNamespaceType::User => "user",
        oci::LinuxNamespaceType::Cgroup => "cgroup",
        oci::LinuxNamespaceType::Time => "time",
    }
}

/// Lets the container join the namespace of a type at `path`.
fn join(spec: &mut oci::Spec, typ: oci::LinuxNamespaceType, path: &Path) {
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == typ {
            namespace.set_path(Some(path.to_owned()));
        }
    }
}

/// Lets the container have the shared memory that is seen at `from`.
fn share_memory(spec: &mut oci::Spec, from: &Path) {
    let (at, options) =
        (Path::new(SHARED_MEMORY), ["bind", "rprivate", "nosuid", "nodev", "noexec"]);
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.destination() == at {
            mount
                .set_typ(Some("bind".to_owned()))
                .set_source(Some(from.to_owned()))
                .set_options(Some(options.map(str::to_owned).to_vec()));
        }
    }
}

/// Lets the bind mount on `destination` come from `source`.
fn mount_from(spec: &mut oci::Spec, destination: &Path, source: &Path) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.destination() == destination {
            mount.set_source(Some(source.to_owned()));
        }
    }
}
