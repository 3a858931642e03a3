//! VM isolation: the container in a small virtual machine with its own kernel.
//!
//! ```text
//!   create:  translate ─▶ disks ─▶ cable ─▶ VM (a clone) ─▶ Configure ─▶ Create
//!   the rest is asked of the agent, which does it with the same `container` crate as the host side
//! ```
//!
//! A container that shares another's VM finds the machine there: its disks are attached, and its namespaces
//! are its own or, where it says so, the others'. Whatever fails on the way leaves nothing: each part is undone
//! when it is dropped. It never silently becomes process isolation.

use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use spec::files::{Answer, Request as Work};
use spec::oci::runtime as oci;
use spec::options::{Accel, Options};
use spec::{ContainerId, Exit, Pid, ProcessId, ProcessInfo, Signal, Usage, annotation};
use vmm::machine::{OVERHEAD_MIB, class};
use wire::{Request, message};

use crate::{Bundle, Facts, Recipients, Rootfs, Sandbox, Stdio, WindowSize};

mod bounds;
mod clean;
mod console;
mod error;
mod files;
mod host_disks;
mod image;
mod kernel;
mod member;
mod network;
mod processors;
mod refresh;
mod running;
mod shares;
mod signal;
mod stdio;
mod translate;
mod visitors;

pub use clean::clean;
pub use error::Error;

use member::Member;
use network::Cables;
use refresh::Outside;
use running::{PATIENCE, Parts, Running, lock};

/// The guest's devices, in the order in which `vmm` attaches them.
const IMAGE: &str = "/dev/vda";
const SCRATCH: &str = "/dev/vdb";
/// The most virtual processors that a VM gets.
const MAX_CPUS: u32 = 64;
/// Those of a VM whose container has no quota: what the agent makes side by side comes sooner.
const USUAL_CPUS: usize = 2;

/// One VM and the containers in it.
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
        let running = self.slot().clone().filter(|running| running.member(&id.container).is_ok());
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

    /// Starts a VM with the container in it.
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
        let disks = match &bundle.rootfs {
            Rootfs::Directory(path) => {
                guest.binds.insert(0, directory(path, bundle)?);
                image::placeholders(&self.options)?
            }
            Rootfs::Overlay { .. } => self.disks(bundle)?,
        };
        let started = start_in(kernel, id, guest, &disks, io, bundle, begun);
        if disks.unused || started.is_err() {
            disks.forget();
        }
        started
    }

    /// Makes the container in the VM of others.
    fn join(
        &self,
        running: &Arc<Running>,
        id: &ContainerId,
        bundle: &Bundle,
        io: Stdio,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let _awake = running.awake()?;
        let mut guest = translate::translate(&bundle.spec)?;
        if guest.netns.is_some() {
            return Err(Error::SecondNetwork(id.clone()));
        }
        running.has_room(memory_limit(&guest.spec))?;
        bounds::has_none(id, &resources(&bundle.spec))?;
        kernel::satisfies(&running.kernel, &bundle.spec)?;
        let (mut disks, named) = host_disks::open(&guest.disks)?;
        let own = match &bundle.rootfs {
            Rootfs::Directory(path) => {
                guest.binds.insert(0, directory(path, bundle)?);
                None
            }
            Rootfs::Overlay { .. } => Some(self.disks(bundle)?),
        };
        let rootfs = match own.as_ref().map(image::Disks::open).transpose()? {
            Some([image, scratch]) => {
                let serials = (image.serial.clone(), scratch.serial.clone());
                disks.extend([image, scratch]);
                message::Rootfs::Disks { image: serials.0, scratch: serials.1 }
            }
            None => message::Rootfs::Shared,
        };
        let outside = Outside::new(std::mem::take(&mut guest.files), None)?;
        let member = running.admit(Member::new(id.clone(), bundle, outside, &disks)?)?;
        let attached = running.attach(&disks);
        let made = attached
            .and_then(|()| running.populate(&member, guest, rootfs, named, io))
            .and_then(|()| Ok(facts(running, begun).write(&bundle.path)?));
        made.inspect_err(|_| {
            running.dismiss(id);
            own.inspect(image::Disks::forget);
        })
    }

    fn disks(&self, bundle: &Bundle) -> Result<image::Disks, Error> {
        let annotations = bundle.spec.annotations().as_ref();
        let scratch = annotations.and_then(|all| all.get(annotation::SCRATCH_MIB)?.parse().ok());
        Ok(image::disks(&self.options, &bundle.rootfs, scratch)?)
    }
}

impl Sandbox for Vm {
    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Pid, crate::Error> {
        let mut slot = self.slot();
        let running = match (&*slot, annotation::sandbox(&bundle.spec)) {
            (Some(running), Some(_)) => {
                self.join(running, id, bundle, io)?;
                Arc::clone(running)
            }
            (Some(_), None) => return Err(Error::Second(id.clone()).into()),
            (None, Some(sandbox)) => return Err(Error::NoSandbox(sandbox.to_owned()).into()),
            (None, None) => {
                self.end_still();
                let running = self.start_container(id, bundle, io)?;
                Arc::clone(slot.insert(running))
            }
        };
        Ok(running.machine.pid())
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
        Ok(running.signal(id, signal, all)?)
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
        let _awake = running.awake()?;
        let request = Request::Processes { container: id.clone() };
        let list = running.client.processes(&request, PATIENCE);
        Ok(list.map_err(|error| running.explain(error))?)
    }

    fn update(&self, id: &ContainerId, to: &oci::LinuxResources) -> Result<(), crate::Error> {
        let running = self.alive(&ProcessId::init(id.clone()))?;
        running.has_room(limit(to))?;
        Ok(running.update(id, to)?)
    }

    fn usage(&self, id: &ContainerId) -> Result<Usage, crate::Error> {
        Ok(self.running(&ProcessId::init(id.clone()))?.usage(id)?)
    }

    fn freeze(&self, id: &ContainerId, frozen: bool) -> Result<(), crate::Error> {
        Ok(self.alive(&ProcessId::init(id.clone()))?.freeze(id, frozen)?)
    }

    fn refresh(&self, id: &ContainerId) -> Result<(), crate::Error> {
        let running = self.alive(&ProcessId::init(id.clone()))?;
        Ok(running.refresh(&*running.member(id)?)?)
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
        Ok(running.files(id.clone(), request, data)?)
    }

    /// With the last init the VM goes too; the disks are in order then.
    fn delete(&self, id: &ProcessId) -> Result<Exit, crate::Error> {
        let running = self.running(id)?;
        let Some(exit) = running.exit(id)? else {
            return Err(Error::State { process: id.clone(), state: "still runs" }.into());
        };
        if running.is_over() {
            running.end();
        } else {
            // A guest that has ended has nothing left to forget, nor has one that ends meanwhile, which
            // forgets all of them by itself.
            match running.order(&Request::Delete { process: id.clone() }) {
                Ok(()) | Err(Error::Silent { .. }) => {}
                Err(_) if running.is_over() => running.end(),
                Err(error) => return Err(error.into()),
            }
        }
        if id.exec.is_some() {
            running.forget(id);
        } else if running.dismiss(&id.container) {
            self.slot().take();
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
    (options, kernel): (Options, String),
    id: &ContainerId,
    mut guest: translate::Guest,
    disks: &image::Disks,
    io: Stdio,
    bundle: &Bundle,
    begun: Instant,
) -> Result<Arc<Running>, Error> {
    let (host_disks, named) = host_disks::open(&guest.disks)?;
    let cables = guest.netns.as_deref().map(Cables::lay).transpose()?;
    let outside = Outside::new(std::mem::take(&mut guest.files), cables)?;
    let parts = Parts {
        kernel,
        hostname: guest.spec.hostname().clone().unwrap_or_else(|| id.to_string()),
        memory_mib: memory(&guest.spec, &options),
        cpus: processors(&guest.spec, &options),
        netns: guest.netns.take(),
        member: Member::new(id.clone(), bundle, outside, &host_disks)?,
    };
    let running = Arc::new(Running::start(&options, parts, disks)?);
    let member = running.member(id)?;
    let rootfs = if disks.unused { message::Rootfs::Shared } else { on_disks() };
    let populate = || {
        running.attach(&host_disks)?;
        running.populate(&member, guest, rootfs, named, io)?;
        Ok(facts(&running, begun).write(&bundle.path)?)
    };
    // The host takes its time to move a process, and the guest to make a container.
    let made = thread::scope(|scope| {
        let mut group = lock(&running.group);
        let populated = scope.spawn(populate);
        let held = running.hold(&mut group, cgroup(&bundle.spec).as_deref());
        drop(group);
        let populated = populated.join().unwrap_or_else(|panic| resume_unwind(panic));
        held.and(populated)
    });
    made.inspect_err(|_| running.machine.kill())?;
    Ok(running)
}

impl Running {
    /// Makes the container of `member`, whose disks are attached.
    fn populate(
        self: &Arc<Self>,
        member: &Arc<Member>,
        guest: translate::Guest,
        rootfs: message::Rootfs,
        disks: Vec<message::Disk>,
        io: Stdio,
    ) -> Result<(), Error> {
        let shares = self.share(member, &guest.binds)?;
        let outside = lock(&member.outside);
        let (files, network) = (outside.files(), outside.network());
        drop(outside);
        let create = |stdio| {
            Request::Create(Box::new(message::Create {
                container: member.container.clone(),
                spec: guest.spec,
                rootfs,
                files,
                shares,
                disks,
                network,
                joins: guest.joins,
                stdio,
            }))
        };
        self.make(&ProcessId::init(member.container.clone()), io, create)?;
        self.attend(member)
    }
}

/// A root filesystem that is a directory of the host's, which has no size of its own.
fn directory(path: &Path, bundle: &Bundle) -> Result<translate::Bind, Error> {
    let annotations = bundle.spec.annotations().as_ref();
    if annotations.is_some_and(|all| all.contains_key(annotation::SCRATCH_MIB)) {
        return Err(image::Error::Limit(path.to_owned()).into());
    }
    Ok(translate::root(path, &bundle.spec)?)
}

/// A root filesystem on the machine's disks.
fn on_disks() -> message::Rootfs {
    message::Rootfs::Disks { image: IMAGE.into(), scratch: SCRATCH.into() }
}

fn facts(running: &Running, begun: Instant) -> Facts {
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
        kernel: Some(running.kernel.clone()),
        template: Some(backend.template),
        start_ms: u64::try_from(begun.elapsed().as_millis()).ok(),
        ended: None,
    }
}

/// The guest's memory in MiB: what the container may use and what the guest itself needs, or the
/// host's default for a container without a limit.
fn memory(spec: &oci::Spec, options: &Options) -> u32 {
    let needed = |bytes: u64| {
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        mib.saturating_add(OVERHEAD_MIB)
    };
    class(memory_limit(spec).map_or(options.vm.memory_mib, needed))
}

/// Where the control groups of the container are, on either side.
fn cgroup(spec: &oci::Spec) -> Option<PathBuf> {
    spec.linux().as_ref()?.cgroups_path().clone()
}

/// The container's limits.
fn resources(spec: &oci::Spec) -> oci::LinuxResources {
    spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default()
}

/// The container's limit of memory in bytes.
fn memory_limit(spec: &oci::Spec) -> Option<u64> {
    limit(&resources(spec))
}

fn limit(resources: &oci::LinuxResources) -> Option<u64> {
    let bytes = resources.memory().as_ref()?.limit()?;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// As many virtual processors as are asked for, or as the container's CPU quota can use at once; without a
/// quota as many as are usual, where the host has them.
fn processors(spec: &oci::Spec, options: &Options) -> u32 {
    let quota = || {
        let cpu = spec.linux().as_ref()?.resources().as_ref()?.cpu().as_ref()?;
        let quota = u64::try_from(cpu.quota()?).ok()?;
        let period = cpu.period().filter(|period| *period > 0).unwrap_or(100_000);
        u32::try_from(quota.div_ceil(period)).ok()
    };
    let usual = || {
        let host = thread::available_parallelism().map_or(1, NonZero::get);
        u32::try_from(host.min(USUAL_CPUS)).ok()
    };
    options.vm.cpus.or_else(quota).or_else(usual).unwrap_or(1).clamp(1, MAX_CPUS)
}
