//! The processes of one sandbox, by what containerd's task API does with them.
//!
//! ```text
//!   create, exec --> Created --start--> Running <--> Paused
//!                       |                  |            |
//!                       +------- watch: sandbox.wait ---+--> Stopped --delete--> forgotten
//! ```
//!
//! One thread a process waits for its end, from its making on. The order of what is told about it
//! (created, started, exited, deleted) is the order in which it happened.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use containerd_shim_protos::types::mount::Mount;
use sandbox::{Bundle, Recipients, Rootfs, Sandbox, WindowSize};
use spec::files;
use spec::oci::runtime as oci;
use spec::options::Options;
use spec::state::Event;
use spec::{ContainerId, Exit, ProcessId, ProcessInfo, Signal, State, Usage};

use crate::bundle;
use crate::error::Error;
use crate::events::Events;
use crate::keeper::Keeper;
use crate::process::Process;
use crate::record::Record;
use crate::report;
use crate::streams::Wanted;

/// How long a killed process may take to end before its deletion is refused.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How long an attached client may take for the rest of its output when the shim goes.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);

/// The sandbox and its processes.
pub(crate) struct Tasks {
    events: Arc<Events>,
    /// What processes get whose configuration names no `oomScoreAdj`.
    oom_score: i32,
    /// Opened by the first `create`; locked while a container is made.
    sandbox: Mutex<Option<Arc<dyn Sandbox>>>,
    processes: Mutex<HashMap<ProcessId, Arc<Process>>>,
    /// Deleted processes whose output someone has still to take.
    leaving: Mutex<Vec<Arc<Process>>>,
    /// Told when the last process was forgotten.
    idle: Sender<Idle>,
    /// How many calls make a container or work on files, which needs none.
    busy: AtomicUsize,
}

/// A call at whose time no process may be known; the server does not go meanwhile.
struct Busy<'a>(&'a Tasks);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
        // The main thread is there as long as the process is.
        let _ = self.0.idle.send(Idle::Empty);
    }
}

/// What the main thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing is held any more.
    Empty,
    /// The server was asked to go.
    Quit,
}

/// A request to make a container.
pub(crate) struct Creation {
    pub(crate) container: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) options: Options,
    pub(crate) wanted: Wanted,
}

impl Tasks {
    pub(crate) fn new(events: Arc<Events>, oom_score: i32, idle: Sender<Idle>) -> Self {
        let (sandbox, processes) = (Mutex::new(None), Mutex::new(HashMap::new()));
        Self {
            events,
            oom_score,
            sandbox,
            processes,
            leaving: Mutex::default(),
            idle,
            busy: AtomicUsize::new(0),
        }
    }

    /// Makes a container; its init waits at the start gate.
    pub(crate) fn create(&self, creation: Creation) -> Result<Arc<Process>, Error> {
        let _busy = self.busy();
        let id = ProcessId::init(creation.container.clone());
        let mut place = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner);
        if self.processes().contains_key(&id) {
            return Err(Error::Exists(id));
        }
        let bundle = bundle::read(&creation.bundle, &creation.rootfs, self.oom_score)?;
        let terminal = bundle.spec.process().as_ref().and_then(oci::Process::terminal);
        agree(terminal, creation.wanted.terminal)?;
        let sandbox = match place.as_ref() {
            Some(sandbox) => Arc::clone(sandbox),
            None => Arc::from(sandbox::open(&creation.options, &bundle.spec)?),
        };
        let record = Record {
            container: creation.container.clone(),
            options: creation.options.clone(),
            streams: creation.wanted.directory(),
            exit: None,
        };
        record.save(&creation.bundle)?;
        let made = creation.wanted.open(None).map_err(Error::from).and_then(|(io, streams)| {
            let keeper = Keeper::spawn(streams).map_err(Error::Keeper)?;
            let pid = sandbox.create(&creation.container, &bundle, io)?;
            Ok((keeper, pid))
        });
        let (keeper, pid) = made.inspect_err(|_| Record::remove(&creation.bundle))?;
        *place = Some(Arc::clone(&sandbox));
        let process = Process::new(id, pid, bundle.path, creation.wanted, sandbox, keeper);
        let process = self.insert(process);
        report::created(&self.events, &process, creation.rootfs);
        self.watch(&process, Some(record))?;
        Ok(process)
    }

    /// Makes another process in a container; it waits at its gate.
    pub(crate) fn exec(
        &self,
        id: ProcessId,
        mut program: oci::Process,
        wanted: Wanted,
    ) -> Result<(), Error> {
        let init = self.find(&ProcessId::init(id.container.clone()))?;
        if self.processes().contains_key(&id) {
            return Err(Error::Exists(id));
        }
        agree(program.terminal(), wanted.terminal)?;
        bundle::adjust_oom_score(&mut program, self.oom_score);
        let (io, streams) = wanted.open(id.exec.as_ref())?;
        let keeper = Keeper::spawn(streams).map_err(Error::Keeper)?;
        let sandbox = Arc::clone(&init.sandbox);
        let pid = sandbox.exec(&id, &program, io)?;
        let process = Process::new(id, pid, init.bundle.clone(), wanted, sandbox, keeper);
        let process = self.insert(process);
        report::exec_added(&self.events, &process);
        self.watch(&process, None)
    }

    /// Opens the gate.
    pub(crate) fn start(&self, id: &ProcessId) -> Result<Arc<Process>, Error> {
        let process = self.find(id)?;
        let order = process.starting();
        process.allows(Event::Start)?;
        process.sandbox.start(id)?;
        process.record(Event::Start)?;
        report::started(&self.events, &process);
        drop(order);
        Ok(process)
    }

    /// Delivers a signal to a process that has not ended.
    pub(crate) fn signal(&self, id: &ProcessId, signal: u32, all: bool) -> Result<(), Error> {
        let process = self.find(id)?;
        let signal = i32::try_from(signal).ok().and_then(Signal::new);
        let signal = signal.ok_or(Error::NoSignal)?;
        if process.exit().is_some() {
            return Err(Error::Ended(id.clone()));
        }
        let to = if all { Recipients::All } else { Recipients::One };
        Ok(process.sandbox.signal(id, signal, to)?)
    }

    /// Suspends or resumes a container.
    pub(crate) fn freeze(&self, container: &ContainerId, frozen: bool) -> Result<(), Error> {
        let init = self.find(&ProcessId::init(container.clone()))?;
        let event = if frozen { Event::Pause } else { Event::Resume };
        init.allows(event)?;
        init.sandbox.freeze(container, frozen)?;
        init.record(event)?;
        report::frozen(&self.events, container, frozen);
        Ok(())
    }

    /// Changes a container's limits; what is left out stays as it is.
    pub(crate) fn update(
        &self,
        container: &ContainerId,
        to: &oci::LinuxResources,
    ) -> Result<(), Error> {
        let init = self.find(&ProcessId::init(container.clone()))?;
        Ok(init.sandbox.update(container, to)?)
    }

    /// Takes up what was changed of a container from outside.
    pub(crate) fn refresh(&self, container: &ContainerId) -> Result<(), Error> {
        let init = self.find(&ProcessId::init(container.clone()))?;
        Ok(init.sandbox.refresh(container)?)
    }

    /// What a container uses.
    pub(crate) fn usage(&self, container: &ContainerId) -> Result<Usage, Error> {
        let init = self.find(&ProcessId::init(container.clone()))?;
        Ok(init.sandbox.usage(container)?)
    }

    /// Works on a container's files, whether it runs or not.
    pub(crate) fn files(&self, call: files::Call) -> Result<files::Answer, Error> {
        let _busy = self.busy();
        let spec = serde_json::to_vec(&call.config).map_err(std::io::Error::from);
        let spec = spec.and_then(|text| Ok(spec::config::spec(&text)?.value));
        let spec = spec.map_err(crate::files::Error::Config)?;
        let data = crate::files::connect(call.data)?;
        let sandbox = match self.find(&ProcessId::init(call.container.clone())) {
            Ok(init) => Arc::clone(&init.sandbox),
            Err(_) => self.sandbox_for(&call.options, &spec)?,
        };
        let (lower, upper, work) = (call.lower, call.upper, call.work);
        let rootfs = Rootfs::Overlay { lower, upper, work };
        let bundle = Bundle { path: call.bundle, spec, rootfs };
        Ok(sandbox.files(&call.container, &bundle, &call.request, data)?)
    }

    /// The sandbox, opened if there is none.
    fn sandbox_for(&self, options: &Options, spec: &oci::Spec) -> Result<Arc<dyn Sandbox>, Error> {
        let mut place = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = place.as_ref() {
            return Ok(Arc::clone(sandbox));
        }
        let sandbox: Arc<dyn Sandbox> = Arc::from(sandbox::open(options, spec)?);
        Ok(Arc::clone(place.insert(sandbox)))
    }

    fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self)
    }

    /// Sets the size of a process's terminal.
    pub(crate) fn resize(&self, id: &ProcessId, size: WindowSize) -> Result<(), Error> {
        let process = self.find(id)?;
        if !process.wanted.terminal {
            return Err(Error::NoTerminal(id.clone()));
        }
        Ok(process.sandbox.resize(id, size)?)
    }

    /// A container's processes, with pids of their own side.
    pub(crate) fn list(&self, container: &ContainerId) -> Result<Vec<ProcessInfo>, Error> {
        let init = self.find(&ProcessId::init(container.clone()))?;
        Ok(init.sandbox.processes(container)?)
    }

    /// Forgets a process that has ended or was never started; for an init, the container.
    pub(crate) fn delete(&self, id: &ProcessId) -> Result<(Arc<Process>, Exit), Error> {
        let process = self.find(id)?;
        if let State::Created { .. } = process.state() {
            // It may end by itself meanwhile; what counts is that it does.
            let _ = process.sandbox.signal(id, Signal::KILL, Recipients::One);
            process.wait(KILL_PATIENCE);
        }
        let exit = process.exit().ok_or_else(|| Error::Alive(id.clone()))?;
        process.sandbox.delete(id)?;
        let mut processes = self.processes();
        processes.remove(id);
        if id.exec.is_none() {
            processes.retain(|other, _| other.container != id.container);
            Record::remove(&process.bundle);
        }
        drop(processes);
        report::deleted(&self.events, &process, exit);
        self.leave(Arc::clone(&process));
        self.forget_sandbox();
        Ok((process, exit))
    }

    /// The process that `id` names.
    pub(crate) fn find(&self, id: &ProcessId) -> Result<Arc<Process>, Error> {
        let found = self.processes().get(id).cloned();
        found.ok_or_else(|| Error::NoProcess(id.clone()))
    }

    /// Whether nothing is held and nothing is being made.
    pub(crate) fn idle(&self) -> bool {
        self.processes().is_empty() && self.busy.load(Ordering::SeqCst) == 0
    }

    /// Asks the server to go. Refused silently, as containerd expects, while anything is held,
    /// unless it is to be `now`.
    pub(crate) fn shutdown(&self, now: bool) -> Result<(), Error> {
        if !self.idle() && !now {
            return Ok(());
        }
        let sandbox = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        sandbox.map_or(Ok(()), |sandbox| sandbox.shutdown())?;
        // The main thread is there as long as the process is.
        let _ = self.idle.send(Idle::Quit);
        Ok(())
    }

    /// Waits until attached clients have what the deleted processes wrote.
    pub(crate) fn flush(&self) {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.iter().for_each(|process| process.keeper.finish(FLUSH_PATIENCE));
    }

    fn leave(&self, process: Arc<Process>) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|process| !process.keeper.finished());
        leaving.push(process);
    }

    /// Ends the sandbox once it holds nothing; the lock keeps a container from being made meanwhile.
    fn forget_sandbox(&self) {
        let mut place = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.processes().is_empty() {
            return;
        }
        if let Some(Err(error)) = place.take().map(|sandbox| sandbox.shutdown()) {
            tracing::warn!(error = %spec::chain(&error), "sandbox left something behind");
        }
        drop(place);
        let _ = self.idle.send(Idle::Empty);
    }

    fn insert(&self, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        self.processes().insert(process.id.clone(), Arc::clone(&process));
        process
    }

    /// Starts the thread that waits for the end of `process`. `record` is the init's.
    fn watch(&self, process: &Arc<Process>, record: Option<Record>) -> Result<(), Error> {
        let (process, events) = (Arc::clone(process), Arc::clone(&self.events));
        let watch = move || end(&process, record, &events);
        let name = thread::Builder::new().name("waiter".into()).stack_size(256 << 10);
        name.spawn(watch).map(drop).map_err(Error::Watch)
    }

    fn processes(&self) -> MutexGuard<'_, HashMap<ProcessId, Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of `process` and tells it.
fn end(process: &Process, record: Option<Record>, events: &Events) {
    let exit = process.sandbox.wait(&process.id).unwrap_or_else(|error| {
        tracing::error!(process = %process.id, error = %spec::chain(&error), "wait");
        Exit::by(Signal::KILL)
    });
    process.keeper.drain();
    if let Some(record) = record {
        let record = Record { exit: Some(exit), ..record };
        if let Err(error) = record.save(&process.bundle) {
            tracing::warn!(%error, "exit code would not survive a killed shim");
        }
    }
    let order = process.starting();
    if let Err(error) = process.record(Event::Exit(exit)) {
        tracing::error!(process = %process.id, %error, "ended twice");
    }
    report::exited(events, process, exit);
    drop(order);
}

/// The configuration and the request must mean the same process.
fn agree(configured: Option<bool>, asked: bool) -> Result<(), Error> {
    if configured.unwrap_or(false) == asked {
        return Ok(());
    }
    Err(Error::Terminal { asked })
}
