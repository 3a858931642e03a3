//! A VM with containers in it.
//!
//! For each process one thread waits for the agent to report its end. When the VM ends first, however
//! it did, that is every process's end: as if it had been killed. When the last container's init ends, the
//! VM has nothing left to do: its output is passed on, its disks are put in order, and it ends too.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use container::cgroup::Group;
use spec::oci::runtime::LinuxResources;
use spec::options::Options;
use spec::{ContainerId, Exit, ProcessId, Signal, Usage};
use vmm::machine::OVERHEAD_MIB;
use vmm::{Config, Machine, Start};
use wire::client::{self, Pending};
use wire::message::{self, Configure};
use wire::{Client, Request};

use super::Error;
use super::console;
use super::image::Disks;
use super::member::Member;
use super::processors::{self, Processors};
use super::stdio::{Output, Stdin, Streams};
use super::visitors::House;
use crate::{Facts, Stdio};

/// How long the agent may take to answer; an emulated guest on a busy host is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to put its disks in order.
const FAREWELL: Duration = Duration::from_secs(20);
/// How long a dead process's output may wait for its reader.
const READING: Duration = Duration::from_secs(5);
/// Bytes of randomness for a guest.
const SEED: usize = 64;

/// A VM with containers in it. Dropping it ends the VM.
pub(super) struct Running {
    /// The container that the machine was started for, whose disks are its.
    pub(super) first: ContainerId,
    pub(super) machine: Machine,
    pub(super) client: Arc<Client>,
    pub(super) memory_mib: u32,
    /// The release of the guest's kernel.
    pub(super) kernel: String,
    /// The first call, until it is known to be done.
    configuring: Mutex<Option<Pending>>,
    members: Mutex<HashMap<ContainerId, Arc<Member>>>,
    processes: Mutex<HashMap<ProcessId, Arc<Process>>>,
    pub(super) processors: Mutex<Processors>,
    ended: Mutex<bool>,
    /// What shows the console, if that is asked for.
    console: Mutex<Option<console::Served>>,
    /// Whom those in the guest may see.
    pub(super) house: Arc<House>,
    /// What holds the VM to its limits, until it has ended.
    pub(super) group: Mutex<Option<Group>>,
}

/// A process in the VM, until it is deleted.
pub(super) struct Process {
    stdin: Stdin,
    output: Mutex<Output>,
    exit: Mutex<Option<Exit>>,
    ended: Condvar,
}

/// What a VM is started from.
pub(super) struct Parts {
    /// The release of the kernel that the options name.
    pub(super) kernel: String,
    pub(super) hostname: String,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
    pub(super) netns: Option<PathBuf>,
    pub(super) member: Member,
}

impl Running {
    /// Starts the VM and makes it a machine of its own. [`Self::hold`] it before a program runs in it.
    pub(super) fn start(options: &Options, parts: Parts, disks: &Disks) -> Result<Self, Error> {
        let Parts { kernel, hostname, memory_mib, cpus, netns, member } = parts;
        let config = Config::locate(options)?;
        let mut outside = lock(&member.outside);
        let request = vmm::Request {
            memory_mib,
            cpus,
            root: disks.root.clone(),
            scratch: disks.scratch.clone(),
            taps: outside.cables().and_then(|cables| cables.taps.take()),
            netns,
        };
        let console = options.vm.console.as_deref().map(console::Socket::bind).transpose()?;
        let house = House::new(outside.cables().map(|cables| cables.netns()));
        drop(outside);
        let machine = Machine::start(&config, request, Start::Template)?;
        let console = console.map(|socket| socket.serve(machine.follow_console())).transpose()?;
        let writer = machine.channel()?;
        // A guest that stops reading is as good as dead; nobody waits for it for ever.
        writer.set_write_timeout(Some(PATIENCE)).map_err(Error::Channel)?;
        let client = Arc::new(Client::start(machine.channel()?, writer).map_err(Error::Refused)?);
        let first = member.container.clone();
        let members = HashMap::from([(first.clone(), Arc::new(member))]);
        let running = Self {
            first,
            machine,
            client,
            memory_mib,
            kernel,
            configuring: Mutex::default(),
            members: Mutex::new(members),
            processes: Mutex::default(),
            processors: Mutex::default(),
            ended: Mutex::default(),
            console: Mutex::new(console),
            house: Arc::new(house),
            group: Mutex::default(),
        };
        let configure = Request::Configure(configuration(hostname)?);
        let configuring = running.client.begin(&configure).map_err(|it| running.explain(it))?;
        *lock(&running.configuring) = Some(configuring);
        Ok(running)
    }

    /// Takes another container in. Refused when all of them have ended, for the VM is ending then, and to
    /// the first, whose disks are part of the machine.
    pub(super) fn admit(&self, member: Member) -> Result<Arc<Member>, Error> {
        let mut members = self.members();
        let process = ProcessId::init(member.container.clone());
        if members.contains_key(&member.container) {
            return Err(Error::Exists(process));
        }
        if member.container == self.first {
            return Err(Error::Lingers(member.container));
        }
        if members.values().all(|member| member.is_over()) {
            return Err(Error::State { process, state: "comes too late: its VM has ended" });
        }
        let member = Arc::new(member);
        members.insert(member.container.clone(), Arc::clone(&member));
        drop(members);
        match self.bound(&LinuxResources::default()) {
            Ok(()) => Ok(member),
            Err(error) => {
                self.dismiss(&member.container);
                Err(error)
            }
        }
    }

    /// Gives the guest disks, which go when their container is [dismissed](Self::dismiss).
    pub(super) fn attach(&self, disks: &[vmm::Disk]) -> Result<(), Error> {
        disks.iter().try_for_each(|disk| Ok(self.machine.attach(disk)?))
    }

    /// Refuses a container with more memory, in bytes, than the VM was started with: a limit above it would
    /// be a promise that cannot be kept.
    pub(super) fn has_room(&self, memory: Option<u64>) -> Result<(), Error> {
        let (asked, has) = (memory.unwrap_or_default() >> 20, self.memory_mib);
        if asked + u64::from(OVERHEAD_MIB) > u64::from(has) {
            return Err(Error::Memory { asked, has });
        }
        Ok(())
    }

    /// Lets go of a container that the agent has forgotten, or that never came to be; whether it was the
    /// only one.
    pub(super) fn dismiss(&self, container: &ContainerId) -> bool {
        let mut members = self.members();
        let (member, only) = (members.remove(container), members.is_empty());
        drop(members);
        self.processes().retain(|process, _| process.container != *container);
        let Some(member) = member else { return only };
        member.leave();
        if !only && let Err(error) = self.bound(&LinuxResources::default()) {
            tracing::warn!(%container, error = spec::chain(&error), "VM keeps the limits it had with it");
        }
        // A guest that stands still does not let go of a disk.
        let _awake = self.awake();
        for disk in member.disks() {
            if let Err(error) = self.machine.detach(disk) {
                tracing::debug!(%container, error = %spec::chain(&error), "disk not detached");
            }
        }
        only
    }

    /// The container, if it is here.
    pub(super) fn member(&self, container: &ContainerId) -> Result<Arc<Member>, Error> {
        let member = self.members().get(container).cloned();
        member.ok_or_else(|| Error::NoProcess(ProcessId::init(container.clone())))
    }

    /// Whether the inits of all containers have ended, and the VM with them.
    pub(super) fn is_over(&self) -> bool {
        self.members().values().all(|member| member.is_over())
    }

    /// What the containers may have that have not ended.
    pub(super) fn all_limits(&self) -> Vec<LinuxResources> {
        let members = self.members();
        let living = members.values().filter(|member| !member.is_over());
        living.map(|member| lock(&member.limits).clone()).collect()
    }

    /// Whether all containers that have not ended are paused, and there is one.
    pub(super) fn sleeps(&self) -> bool {
        let members = self.members();
        let mut living =
            members.values().filter(|member| member.stays() && !member.is_over()).peekable();
        living.peek().is_some() && living.all(|member| member.frozen.load(Ordering::SeqCst))
    }

    /// Serves the guest with what is outside of it, once its container is there.
    pub(super) fn attend(self: &Arc<Self>, member: &Arc<Member>) -> Result<(), Error> {
        self.open_house()?;
        match member.leashed() {
            Some(leashed) => self.watch_files(member, leashed),
            None => Ok(()),
        }
    }

    /// Calls the agent for something that has no result.
    ///
    /// The machine's configuration is answered first: the agent does it before it turns to what it is told
    /// next. It is waited for here, where the next is on its way already, which saves a way there and back.
    pub(super) fn order(&self, request: &Request) -> Result<(), Error> {
        let _awake = self.awake()?;
        let call = self.client.begin(request).map_err(|error| self.explain(error))?;
        let configuring = lock(&self.configuring).take();
        let mut calls = configuring.iter().chain([&call]);
        let done = calls.try_for_each(|call| self.client.done(call, Some(PATIENCE)));
        done.map_err(|error| self.explain(error))
    }

    /// An error of a call, with the console's last words when the guest is to blame.
    pub(super) fn explain(&self, error: client::Error) -> Error {
        match error {
            client::Error::Ended(_) | client::Error::TimedOut(_) => {
                Error::Silent { console: self.machine.last_words(), source: error }
            }
            other => Error::Refused(other),
        }
    }

    /// Makes a process by `request`, which is told the numbers of its streams, and watches it.
    pub(super) fn make(
        self: &Arc<Self>,
        id: &ProcessId,
        io: Stdio,
        request: impl FnOnce(message::Stdio) -> Request,
    ) -> Result<(), Error> {
        if self.processes().contains_key(id) {
            return Err(Error::Exists(id.clone()));
        }
        let streams = Streams::announce(io, &self.client);
        self.order(&request(streams.numbers))?;
        let (stdin, output) = streams.connect(&self.client).map_err(Error::Thread)?;
        let (output, exit, ended) = (Mutex::new(output), Mutex::default(), Condvar::new());
        let process = Arc::new(Process { stdin, output, exit, ended });
        self.processes().insert(id.clone(), Arc::clone(&process));
        let (running, client, id) = (Arc::downgrade(self), Arc::clone(&self.client), id.clone());
        let watch = move || {
            let init_of = id.exec.is_none().then(|| id.container.clone());
            let told = client.wait(id);
            let last = init_of.zip(running.upgrade()).is_some_and(|(container, running)| {
                running.init_ended(&container, told.as_ref().err())
            });
            process.end(told.map_or_else(|_| Exit::by(Signal::KILL), Exit::now));
            if last {
                running.upgrade().inspect(|running| running.end());
            }
        };
        thread::Builder::new().name("waiter".into()).spawn(watch).map(drop).map_err(Error::Thread)
    }

    /// What the container uses, or had used when it ended.
    pub(super) fn usage(&self, container: &ContainerId) -> Result<Usage, Error> {
        if let Some(used) = self.member(container)?.used() {
            return Ok(used);
        }
        let _awake = self.awake()?;
        let request = Request::Usage { container: container.clone() };
        self.client.usage(&request, PATIENCE).map_err(|error| self.explain(error))
    }

    /// Takes note of the end of a container's init, or of the VM before it; whether it was the last.
    fn init_ended(&self, container: &ContainerId, cause: Option<&client::Error>) -> bool {
        let Ok(member) = self.member(container) else { return self.is_over() };
        let _awake = self.awake();
        let request = Request::Usage { container: container.clone() };
        let used = match cause {
            None => self.client.usage(&request, FAREWELL).ok(),
            Some(error) => {
                self.note_end(&member, error);
                None
            }
        };
        member.ended(used);
        self.is_over()
    }

    /// Notes why the VM ended before its container did, unless it was told to.
    fn note_end(&self, member: &Member, error: &client::Error) {
        if *lock(&self.ended) {
            return;
        }
        // Then its last words are on the console.
        self.machine.kill();
        let console = self.machine.last_words();
        let ended = format!("the VM ended before its container{console}: {}", spec::chain(error));
        let Member { container, bundle, .. } = member;
        tracing::warn!(%container, reason = ended, "VM ended");
        let noted = Facts::read(bundle)
            .map_or(Ok(()), |facts| Facts { ended: Some(ended), ..facts }.write(bundle));
        if let Err(error) = noted {
            tracing::warn!(%container, error = spec::chain(&error), "reason is not kept");
        }
    }

    /// Blocks until the process ends.
    pub(super) fn wait(&self, id: &ProcessId) -> Result<Exit, Error> {
        let process = self.find(id)?;
        let mut exit = lock(&process.exit);
        loop {
            match *exit {
                Some(exit) => return Ok(exit),
                None => exit = process.ended.wait(exit).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// How the process ended; `None` while it runs.
    pub(super) fn exit(&self, id: &ProcessId) -> Result<Option<Exit>, Error> {
        Ok(*lock(&self.find(id)?.exit))
    }

    pub(super) fn close_stdin(&self, id: &ProcessId) -> Result<(), Error> {
        self.find(id)?.stdin.end();
        Ok(())
    }

    pub(super) fn forget(&self, id: &ProcessId) {
        self.processes().remove(id);
    }

    /// Ends the VM, its disks in order where the agent still answers. Whoever comes second waits for
    /// the first.
    pub(super) fn end(&self) {
        let mut ended = lock(&self.ended);
        if *ended {
            return;
        }
        let _awake = self.awake();
        let over: Vec<_> =
            self.processes().values().filter(|process| process.is_over()).cloned().collect();
        for process in over {
            lock(&process.output).drain(READING);
        }
        if let Err(error) = self.client.order(&Request::Shutdown, Some(FAREWELL)) {
            tracing::debug!(worker = %self.machine.pid(), %error, "guest ended without a farewell");
        }
        self.machine.kill();
        drop(lock(&self.console).take());
        self.members().values().for_each(|member| member.leave());
        drop(lock(&self.group).take());
        *ended = true;
    }

    pub(super) fn find(&self, id: &ProcessId) -> Result<Arc<Process>, Error> {
        self.processes().get(id).cloned().ok_or_else(|| Error::NoProcess(id.clone()))
    }

    fn members(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Member>>> {
        lock(&self.members)
    }

    fn processes(&self) -> MutexGuard<'_, HashMap<ProcessId, Arc<Process>>> {
        lock(&self.processes)
    }
}

impl Process {
    /// Waits for its end, so long; whether it came.
    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        let exit = lock(&self.exit);
        let waited = self.ended.wait_timeout_while(exit, patience, |exit| exit.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.exit).is_some()
    }

    fn end(&self, exit: Exit) {
        *lock(&self.exit) = Some(exit);
        self.ended.notify_all();
        self.stdin.end();
    }
}

fn configuration(hostname: String) -> Result<Configure, Error> {
    let mut seed = [0; SEED];
    let filled = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    filled.map_err(|error| Error::Seed(error.into()))?;
    Ok(Configure { seed: message::to_hex(&seed), clock: processors::now()?, hostname })
}

pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
