//! VM isolation: the container in a small virtual machine with its own kernel.
//!
//! ```text
//!   create:  translate ─▶ disks ─▶ cable ─▶ VM (a clone) ─▶ Configure ─▶ Create
//!   the rest is asked of the agent, which does it with the same `container` crate as the host side
//! ```
//!
//! One VM holds one container. Whatever fails on the way leaves nothing: each part is undone when it
//! is dropped. It never silently becomes process isolation.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use spec::files::{Answer, Request as Work};
use spec::oci::runtime as oci;
use spec::options::{Accel, Options};
use spec::{ContainerId, Exit, Kind, Pid, ProcessId, ProcessInfo, Signal, Usage, annotation};
use vmm::machine::{OVERHEAD_MIB, class};
use wire::{Request, client, message};

use crate::{Bundle, Facts, Recipients, Rootfs, Sandbox, Stdio, WindowSize, facts};

mod clean;
mod files;
mod host_disks;
mod image;
mod kernel;
mod network;
mod refresh;
mod running;
mod shares;
mod stdio;
mod translate;
mod visitors;

pub use clean::clean;

use network::Cables;
use refresh::Outside;
use running::{PATIENCE, Parts, Running};

/// The guest's devices, in the order in which `vmm` attaches them.
const IMAGE: &str = "/dev/vda";
const SCRATCH: &str = "/dev/vdb";
/// The most virtual processors that a VM gets.
const MAX_CPUS: u32 = 64;

/// Why a VM container could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for what a VM cannot have.
    #[error(transparent)]
    Translate(#[from] translate::Error),
    /// There is no kernel for it.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A block device of the host cannot be a disk of it.
    #[error(transparent)]
    HostDisk(#[from] host_disks::Error),
    /// There are no disks.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The host's files cannot be shared.
    #[error(transparent)]
    Share(#[from] share::Error),
    /// There is no network.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// This host lacks a part.
    #[error(transparent)]
    Config(#[from] vmm::config::Error),
    /// The VM did not start.
    #[error(transparent)]
    Machine(#[from] vmm::machine::Error),
    /// The agent refused, or the call could not be made.
    #[error(transparent)]
    Refused(client::Error),
    /// The guest does not answer.
    #[error("the VM does not answer{console}")]
    Silent {
        /// The last words on its console, in parentheses, or nothing.
        console: String,
        /// How that showed.
        source: client::Error,
    },
    /// The channel cannot be set up.
    #[error("set up the channel to the VM")]
    Channel(#[source] io::Error),
    /// The host gives no random numbers or time.
    #[error("take a seed and the time for the VM")]
    Seed(#[source] io::Error),
    /// The way for an archive is broken.
    #[error("pass the data")]
    Data(#[source] io::Error),
    /// The engine's files cannot be followed.
    #[error("watch the engine's files")]
    Watch(#[source] io::Error),
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
    /// The facts could not be recorded.
    #[error(transparent)]
    Facts(#[from] facts::Error),
    /// The id means nothing here.
    #[error("no such process: {0}")]
    NoProcess(ProcessId),
    /// The name is taken.
    #[error("{0} exists already")]
    Exists(ProcessId),
    /// It is in no state for that.
    #[error("{process} {state}")]
    State {
        /// Which.
        process: ProcessId,
        /// Its state.
        state: &'static str,
    },
    /// A running VM's memory does not grow.
    #[error(
        "memory: {asked} MiB do not fit into the VM, which was started with {has} MiB; \
         make the container anew"
    )]
    Memory {
        /// MiB that the container shall have.
        asked: u64,
        /// MiB of the VM.
        has: u32,
    },
    /// One VM, one container.
    #[error("container {0}: several containers in one VM are not supported yet")]
    Second(ContainerId),
    /// What a dead shim left could not be removed.
    #[error(transparent)]
    Clean(#[from] clean::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Translate(error) => error.kind(),
            Self::Kernel(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::HostDisk(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Share(error) => shares::kind(error),
            Self::Config(error) => error.kind(),
            Self::Machine(error) => error.kind(),
            Self::Refused(error) => error.kind(),
            Self::Facts(error) => error.kind(),
            Self::Silent { .. } => Kind::Unavailable,
            Self::Channel(_) | Self::Data(_) | Self::Seed(_) | Self::Clean(_) => Kind::Internal,
            Self::Thread(_) | Self::Watch(_) => Kind::Exhausted,
            Self::NoProcess(_) => Kind::NotFound,
            Self::Exists(_) => Kind::Exists,
            Self::State { .. } => Kind::Conflict,
            Self::Second(_) | Self::Memory { .. } => Kind::Unsupported,
        }
    }
}

/// One VM and the container in it.
pub struct Vm {
    options: Options,
    running: Mutex<Option<Arc<Running>>>,
    /// A VM in which no program runs, for the files of a container that does not.
    still: Mutex<Option<Arc<Running>>>,
}

impl Vm {
    /// Takes note of the options; the VM starts with its container.
    pub fn open(options: &Options) -> Result<Self, Error> {
        Ok(Self { options: options.clone(), running: Mutex::default(), still: Mutex::default() })
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn still_slot(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.still.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the VM in which no program runs: it holds the disks.
    fn end_still(&self) {
        if let Some(still) = self.still_slot().take() {
            still.end();
        }
    }

    /// The VM that holds `id`.
    fn running(&self, id: &ProcessId) -> Result<Arc<Running>, Error> {
        let running = self.slot().clone().filter(|running| running.container == id.container);
        running.ok_or_else(|| Error::NoProcess(id.clone()))
    }

    /// The VM that holds `id`, which has not ended.
    fn alive(&self, id: &ProcessId) -> Result<Arc<Running>, Error> {
        let running = self.running(id)?;
        match running.exit(id)? {
            None => Ok(running),
            Some(_) => Err(Error::State { process: id.clone(), state: "has ended" }),
        }
    }

    /// Refuses the network of another of the engine's containers: a VM takes its interface over, which
    /// only one can.
    fn owns(&self, id: &ContainerId, netns: Option<&Path>) -> Result<(), Error> {
        let engines = self.options.exec_root.join("netns");
        match netns {
            Some(path) if path.starts_with(&engines) && !path.ends_with(id.as_str()) => {
                let what = "joining the network of another container".to_owned();
                Err(translate::Error::Namespace { what }.into())
            }
            _ => Ok(()),
        }
    }

    fn start_container(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        io: Stdio,
    ) -> Result<Arc<Running>, Error> {
        let begun = Instant::now();
        let mut guest = translate::translate(&bundle.spec)?;
        self.owns(id, guest.netns.as_deref())?;
        let kernel = kernel::choose(&self.options, &bundle.spec)?;
        let annotations = bundle.spec.annotations().as_ref();
        let scratch = annotations.and_then(|all| all.get(annotation::SCRATCH_MIB)?.parse().ok());
        let disks = match &bundle.rootfs {
            Rootfs::Directory(path) if scratch.is_some() => {
                return Err(image::Error::Limit(path.clone()).into());
            }
            Rootfs::Directory(path) => {
                guest.binds.insert(0, translate::root(path, &bundle.spec)?);
                image::placeholders(&self.options)?
            }
            Rootfs::Overlay { .. } => image::disks(&self.options, &bundle.rootfs, scratch)?,
        };
        let started = start_in(&kernel, id, guest, &disks, io, bundle, begun);
        if disks.unused || started.is_err() && disks.new {
            // Nothing of the container's was written to it; the error that counts is the other one.
            let _ = fs::remove_file(&disks.scratch);
        }
        started
    }
}

impl Sandbox for Vm {
    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Pid, crate::Error> {
        let mut slot = self.slot();
        if slot.is_some() {
            return Err(Error::Second(id.clone()).into());
        }
        self.end_still();
        let running = self.start_container(id, bundle, io)?;
        let pid = running.machine.pid();
        *slot = Some(running);
        Ok(pid)
    }

    fn exec(&self, id: &ProcessId, program: &oci::Process, io: Stdio) -> Result<Pid, crate::Error> {
        let running = self.alive(&ProcessId::init(id.container.clone()))?;
        let exec = |stdio| {
            let (process, program) = (id.clone(), program.clone());
            Request::Exec(Box::new(message::Exec { process, program, stdio }))
        };
        running.make(id, io, exec)?;
        Ok(running.machine.pid())
    }

    fn start(&self, id: &ProcessId) -> Result<(), crate::Error> {
        Ok(self.alive(id)?.order(&Request::Start { process: id.clone() })?)
    }

    fn signal(&self, id: &ProcessId, signal: Signal, to: Recipients) -> Result<(), crate::Error> {
        let all = to == Recipients::All;
        let running = if all { self.running(id)? } else { self.alive(id)? };
        Ok(running.order(&Request::Signal { process: id.clone(), signal, all })?)
    }

    fn wait(&self, id: &ProcessId) -> Result<Exit, crate::Error> {
        Ok(self.running(id)?.wait(id)?)
    }

    fn resize(&self, id: &ProcessId, size: WindowSize) -> Result<(), crate::Error> {
        let WindowSize { rows, columns } = size;
        Ok(self.alive(id)?.order(&Request::Resize { process: id.clone(), rows, columns })?)
    }

    fn close_stdin(&self, id: &ProcessId) -> Result<(), crate::Error> {
        Ok(self.running(id)?.close_stdin(id)?)
    }

    fn processes(&self, id: &ContainerId) -> Result<Vec<ProcessInfo>, crate::Error> {
        let running = self.alive(&ProcessId::init(id.clone()))?;
        let request = Request::Processes { container: id.clone() };
        let list = running.client.processes(&request, PATIENCE);
        Ok(list.map_err(|error| running.explain(error))?)
    }

    /// The guest's memory is what the VM was started with: a limit above it would be a promise that
    /// cannot be kept.
    fn update(&self, id: &ContainerId, to: &oci::LinuxResources) -> Result<(), crate::Error> {
        let running = self.alive(&ProcessId::init(id.clone()))?;
        let limit = to.memory().as_ref().and_then(oci::LinuxMemory::limit);
        let asked = limit.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default() >> 20;
        let has = running.memory_mib;
        if asked + u64::from(OVERHEAD_MIB) > u64::from(has) {
            return Err(Error::Memory { asked, has }.into());
        }
        let (container, resources) = (id.clone(), Box::new(to.clone()));
        Ok(running.order(&Request::Update { container, resources })?)
    }

    fn usage(&self, id: &ContainerId) -> Result<Usage, crate::Error> {
        Ok(self.running(&ProcessId::init(id.clone()))?.usage()?)
    }

    fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<(), crate::Error> {
        let running = self.alive(&ProcessId::init(id.clone()))?;
        Ok(running.order(&Request::Freeze { container: id.clone(), frozen })?)
    }

    fn refresh(&self, id: &ContainerId) -> Result<(), crate::Error> {
        Ok(self.alive(&ProcessId::init(id.clone()))?.refresh()?)
    }

    fn files(
        &self,
        id: &ContainerId,
        bundle: &Bundle,
        request: &Work,
        data: Option<UnixStream>,
    ) -> Result<Answer, crate::Error> {
        let init = ProcessId::init(id.clone());
        let running = match self.running(&init) {
            Ok(_) => self.alive(&init)?,
            Err(_) => self.still(id, bundle)?,
        };
        Ok(running.files(request, data)?)
    }

    /// With its init the VM goes too; its disk is in order then.
    fn delete(&self, id: &ProcessId) -> Result<Exit, crate::Error> {
        let running = self.running(id)?;
        let Some(exit) = running.exit(id)? else {
            return Err(Error::State { process: id.clone(), state: "still runs" }.into());
        };
        if id.exec.is_none() {
            running.end();
            self.slot().take();
            return Ok(exit);
        }
        // A guest that has ended has nothing left to forget.
        match running.order(&Request::Delete { process: id.clone() }) {
            Ok(()) | Err(Error::Silent { .. }) => running.forget(id),
            Err(error) => return Err(error.into()),
        }
        Ok(exit)
    }

    fn shutdown(&self) -> Result<(), crate::Error> {
        self.end_still();
        let running = self.slot().take();
        if let Some(running) = running {
            running.end();
        }
        Ok(())
    }
}

/// Starts the VM, with the options and the release of its kernel, and the container in it.
fn start_in(
    (options, kernel): &(Options, String),
    id: &ContainerId,
    guest: translate::Guest,
    disks: &image::Disks,
    io: Stdio,
    bundle: &Bundle,
    begun: Instant,
) -> Result<Arc<Running>, Error> {
    let (host_disks, named) = host_disks::open(&guest.disks)?;
    let cables = guest.netns.as_deref().map(Cables::lay).transpose()?;
    let outside = Outside::new(guest.files, cables)?;
    let (files, network) = (outside.files(), outside.network());
    let parts = Parts {
        container: id.clone(),
        bundle: bundle.path.clone(),
        hostname: guest.spec.hostname().clone().unwrap_or_else(|| id.to_string()),
        memory_mib: memory(&guest.spec, options),
        cpus: options.vm.cpus.unwrap_or_else(|| processors(&guest.spec)).clamp(1, MAX_CPUS),
        netns: guest.netns,
        outside,
        disks: host_disks,
    };
    let running = Arc::new(Running::start(options, parts, disks)?);
    let shares = running.share(&guest.binds)?;
    let rootfs = if disks.unused { message::Rootfs::Shared } else { on_disks() };
    let create = |stdio| {
        Request::Create(Box::new(message::Create {
            container: id.clone(),
            spec: guest.spec,
            rootfs,
            files,
            shares,
            disks: named,
            network,
            stdio,
        }))
    };
    let made = running.make(&ProcessId::init(id.clone()), io, create);
    let made = made.and_then(|()| running.attend());
    let recorded = made.and_then(|()| Ok(facts(&running, kernel, begun).write(&bundle.path)?));
    if let Err(error) = recorded {
        running.machine.kill();
        return Err(error);
    }
    Ok(running)
}

/// A root filesystem on the machine's disks.
fn on_disks() -> message::Rootfs {
    message::Rootfs::Disks { image: IMAGE.into(), scratch: SCRATCH.into() }
}

fn facts(running: &Running, kernel: &str, begun: Instant) -> Facts {
    let backend = running.machine.backend();
    let accelerator = match backend.accel {
        Accel::Kvm => "kvm",
        Accel::Auto | Accel::Tcg => "tcg",
    };
    Facts {
        backend: format!("qemu-{accelerator}"),
        accelerator: Some(accelerator.into()),
        hardware_isolation: backend.accel == Accel::Kvm,
        worker_pid: Some(running.machine.pid()),
        walls: running.machine.walls().into_iter().map(str::to_owned).collect(),
        kernel: Some(kernel.to_owned()),
        template: Some(backend.template),
        start_ms: u64::try_from(begun.elapsed().as_millis()).ok(),
        ended: None,
    }
}

/// The guest's memory in MiB: what the container may use and what the guest itself needs, or the
/// host's default for a container without a limit.
fn memory(spec: &oci::Spec, options: &Options) -> u32 {
    let limit = || {
        let limit = spec.linux().as_ref()?.resources().as_ref()?.memory().as_ref()?.limit()?;
        let mib = u64::try_from(limit).ok().filter(|bytes| *bytes > 0)?.div_ceil(1 << 20);
        Some(u32::try_from(mib).unwrap_or(u32::MAX).saturating_add(OVERHEAD_MIB))
    };
    class(limit().unwrap_or(options.vm.memory_mib))
}

/// As many virtual processors as the container's CPU quota can use at once; one without a quota.
fn processors(spec: &oci::Spec) -> u32 {
    let quota = || {
        let cpu = spec.linux().as_ref()?.resources().as_ref()?.cpu().as_ref()?;
        let quota = u64::try_from(cpu.quota()?).ok()?;
        let period = cpu.period().filter(|period| *period > 0).unwrap_or(100_000);
        u32::try_from(quota.div_ceil(period)).ok()
    };
    quota().unwrap_or(1)
}
