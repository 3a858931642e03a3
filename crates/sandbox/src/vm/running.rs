//! A VM with a container in it.
//!
//! For each process one thread waits for the agent to report its end. When the VM ends first, however
//! it did, that is every process's end: as if it had been killed. When the container's init ends, the
//! VM has nothing left to do: its output is passed on, its disks are put in order, and it ends too.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use spec::options::Options;
use spec::{ContainerId, Exit, ProcessId, Signal, Usage};
use vmm::{Config, Machine, Start};
use wire::client::{self, Pending};
use wire::message::{self, Configure};
use wire::{Client, Request};

use super::Error;
use super::image::Disks;
use super::refresh::{self, Outside};
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

/// A VM with a container in it. Dropping it ends the VM.
pub(super) struct Running {
    pub(super) container: ContainerId,
    bundle: PathBuf,
    pub(super) machine: Machine,
    pub(super) client: Arc<Client>,
    pub(super) memory_mib: u32,
    /// The first call, until it is known to be done.
    configuring: Mutex<Option<Pending>>,
    processes: Mutex<HashMap<ProcessId, Arc<Process>>>,
    ended: Mutex<bool>,
    /// What the container had used when its init ended.
    used: Mutex<Option<Usage>>,
    /// What serves the host's files to it.
    shares: Mutex<Option<share::Server>>,
    /// What the engine may change of it.
    pub(super) outside: refresh::Shared,
    /// Who holds the other end sees when this is gone.
    _leash: OwnedFd,
    /// The leash's other end, until somebody takes it.
    leashed: Mutex<Option<OwnedFd>>,
}

/// A process in the VM, until it is deleted.
struct Process {
    stdin: Stdin,
    output: Mutex<Output>,
    exit: Mutex<Option<Exit>>,
    ended: Condvar,
}

/// What a VM is started from.
pub(super) struct Parts {
    pub(super) container: ContainerId,
    pub(super) bundle: PathBuf,
    pub(super) hostname: String,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
    pub(super) netns: Option<PathBuf>,
    pub(super) outside: Outside,
    pub(super) disks: Vec<vmm::Disk>,
}

impl Running {
    /// Starts the VM and makes it a machine of its own.
    pub(super) fn start(options: &Options, parts: Parts, disks: &Disks) -> Result<Self, Error> {
        let mut parts = parts;
        let config = Config::locate(options)?;
        let request = vmm::Request {
            memory_mib: parts.memory_mib,
            cpus: parts.cpus,
            root: disks.root.clone(),
            scratch: disks.scratch.clone(),
            taps: parts.outside.cables().and_then(|cables| cables.taps.take()),
            netns: parts.netns,
            disks: parts.disks,
        };
        let machine = Machine::start(&config, request, Start::Template)?;
        let writer = machine.channel()?;
        // A guest that stops reading is as good as dead; nobody waits for it for ever.
        writer.set_write_timeout(Some(PATIENCE)).map_err(Error::Channel)?;
        let client = Arc::new(Client::start(machine.channel()?, writer).map_err(Error::Refused)?);
        let (container, processes, ended) = (parts.container, Mutex::default(), Mutex::default());
        let (memory_mib, outside) = (parts.memory_mib, Mutex::new(parts.outside));
        let (used, shares) = (Mutex::default(), Mutex::default());
        let (leashed, leash) = refresh::leash().map_err(Error::Watch)?;
        let running = Self {
            container,
            bundle: parts.bundle,
            machine,
            client,
            memory_mib,
            processes,
            ended,
            used,
            shares,
            outside,
            configuring: Mutex::default(),
            _leash: leash,
            leashed: Mutex::new(Some(leashed)),
        };
        let configure = Request::Configure(configuration(parts.hostname)?);
        let configuring = running.client.begin(&configure).map_err(|it| running.explain(it))?;
        *lock(&running.configuring) = Some(configuring);
        Ok(running)
    }

    /// Serves the guest with what is outside of it, once its container is there.
    pub(super) fn attend(self: &Arc<Self>) -> Result<(), Error> {
        let netns = lock(&self.outside).cables().map(|cables| cables.netns());
        let sockets = lock(&self.shares).as_ref().map(share::Server::sockets);
        if netns.is_some() || sockets.is_some() {
            self.open_house(House { netns, sockets, ..House::default() })?;
        }
        match lock(&self.leashed).take() {
            Some(leashed) => self.watch_files(leashed),
            None => Ok(()),
        }
    }

    /// Keeps the server of the host's files as long as the VM.
    pub(super) fn keep(&self, server: share::Server) {
        *lock(&self.shares) = Some(server);
    }

    /// Calls the agent for something that has no result.
    ///
    /// The machine's configuration is answered first: the agent does it before it turns to what it is told
    /// next. It is waited for here, where the next is on its way already, which saves a way there and back.
    pub(super) fn order(&self, request: &Request) -> Result<(), Error> {
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
            let is_init = id.exec.is_none();
            let told = client.wait(id);
            let init_of = running.upgrade().filter(|_| is_init);
            let exit = match told {
                Ok(code) => {
                    init_of.inspect(|running| running.remember_usage());
                    Exit::now(code)
                }
                Err(error) => {
                    init_of.inspect(|running| running.note_end(&error));
                    Exit::by(Signal::KILL)
                }
            };
            process.end(exit);
            if is_init {
                running.upgrade().inspect(|running| running.end());
            }
        };
        thread::Builder::new().name("waiter".into()).spawn(watch).map(drop).map_err(Error::Thread)
    }

    /// What the container uses, or had used when it ended.
    pub(super) fn usage(&self) -> Result<Usage, Error> {
        if let Some(used) = &*lock(&self.used) {
            return Ok(used.clone());
        }
        let request = Request::Usage { container: self.container.clone() };
        self.client.usage(&request, PATIENCE).map_err(|error| self.explain(error))
    }

    /// Notes why the VM ended before its container did, unless it was told to.
    fn note_end(&self, error: &client::Error) {
        if *lock(&self.ended) {
            return;
        }
        // Then its last words are on the console.
        self.machine.kill();
        let console = self.machine.last_words();
        let ended = format!("the VM ended before its container{console}: {}", spec::chain(error));
        tracing::warn!(container = %self.container, reason = ended, "VM ended");
        let noted = Facts::read(&self.bundle)
            .map_or(Ok(()), |facts| Facts { ended: Some(ended), ..facts }.write(&self.bundle));
        if let Err(error) = noted {
            tracing::warn!(container = %self.container, error = spec::chain(&error), "reason is not kept");
        }
    }

    fn remember_usage(&self) {
        let request = Request::Usage { container: self.container.clone() };
        *lock(&self.used) = self.client.usage(&request, FAREWELL).ok();
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
        let over: Vec<_> =
            self.processes().values().filter(|process| process.is_over()).cloned().collect();
        for process in over {
            lock(&process.output).drain(READING);
        }
        if let Err(error) = self.client.order(&Request::Shutdown, Some(FAREWELL)) {
            tracing::debug!(container = %self.container, %error, "guest ended without a farewell");
        }
        self.machine.kill();
        drop(lock(&self.shares).take());
        *ended = true;
    }

    fn find(&self, id: &ProcessId) -> Result<Arc<Process>, Error> {
        self.processes().get(id).cloned().ok_or_else(|| Error::NoProcess(id.clone()))
    }

    fn processes(&self) -> MutexGuard<'_, HashMap<ProcessId, Arc<Process>>> {
        lock(&self.processes)
    }
}

impl Process {
    fn is_over(&self) -> bool {
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
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let clock = clock.map_err(|error| Error::Seed(io::Error::other(error)))?;
    Ok(Configure { seed: message::to_hex(&seed), clock, hostname })
}

pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
