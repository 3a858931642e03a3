//! Another process in a running container.
//!
//! It is born in the container's pid namespace and cgroups, enters the other namespaces itself and
//! then does what an init does from the point where the rootfs stands.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use spec::oci::runtime as oci;

use crate::bitmap::Bitmap;
use crate::create::write_pid_file;
use crate::launch::{Place, Starting};
use crate::record::Record;
use crate::request::{Layout, Request};
use crate::seccomp::Filter;
use crate::store::Container;
use crate::{Console, Error, Gate, Launched, Stdio, check};

/// What is executed in a running container. `ExecOptions::new(process)` and then what differs.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The program. Absent fields stay absent (no capabilities means none); nothing is taken from
    /// the container's own process but the seccomp filter.
    pub process: &'a oci::Process,
    /// Standard streams, when there is no terminal.
    pub stdio: Stdio,
    /// Where the terminal's master goes, when there is one.
    pub console: Console,
    /// File to write the new pid to, atomically, before `exec` returns.
    pub pid_file: Option<&'a Path>,
    /// Descriptors that the user's program inherits as 3, 4, …, in order.
    pub preserve_fds: Vec<OwnedFd>,
    /// Cgroups beneath the container's to run in; they must exist.
    pub cgroups: Vec<Subgroup>,
    /// Whether to make it in a paused container too, where it waits for the end of the pause.
    pub ignore_paused: bool,
}

/// A cgroup beneath the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subgroup {
    /// In which hierarchy of cgroup v1; `None` for all, and for v2.
    pub controller: Option<String>,
    /// Its path from the container's.
    pub path: PathBuf,
}

impl<'a> ExecOptions<'a> {
    /// Inherited streams.
    pub fn new(process: &'a oci::Process) -> Self {
        Self {
            process,
            stdio: Stdio::default(),
            console: Console::default(),
            pid_file: None,
            preserve_fds: Vec::new(),
            cgroups: Vec::new(),
            ignore_paused: false,
        }
    }
}

/// A process that was made by [`Container::exec`] and waits at its gate.
#[derive(Debug)]
pub struct Exec {
    /// The process.
    pub process: Launched,
    /// Opens its way to the user's program.
    pub gate: Gate,
}

/// Namespaces that a process enters by itself; the pid namespace it is born in. A launcher that is
/// nobody in the container's user namespace has it born in that one too.
const ENTERED: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWTIME
    | libc::CLONE_NEWUSER)
    .cast_unsigned();

const USER: u32 = libc::CLONE_NEWUSER.cast_unsigned();
const PID: u32 = libc::CLONE_NEWPID.cast_unsigned();
const BORN_IN: u32 = USER | PID;

/// See [`Container::exec`]; the caller has checked that the container runs.
pub(crate) fn exec(
    container: &Container,
    init: &OwnedFd,
    options: &ExecOptions<'_>,
) -> Result<Exec, Error> {
    check::process(options.process)?;
    let record = container.record();
    let filter = if record.filtered { Some(Filter::load(container.directory())?) } else { None };
    let cgroup = record.cgroup.beneath(&options.cgroups)?;
    let beside = record.init.filter(|_| options.cgroups.is_empty()).map(|init| init.pid.raw());
    let birthplace = cgroup.birthplace(beside)?;
    let born_in = record.namespaces & BORN_IN;
    let outsider = born_in & USER != 0 && !rustix::process::geteuid().is_root();
    let enter = [USER, PID].into_iter().filter(|kind| outsider && born_in & kind != 0);
    let root = root(record)?;
    let place = Place {
        stdio: &options.stdio,
        terminal: options.process.terminal() == Some(true),
        preserved: &options.preserve_fds,
        made: 0,
        pid_namespace: (born_in & PID != 0 && !outsider).then_some(init),
        enter: enter.map(|kind| (kind.cast_signed(), init.as_fd())).collect(),
        held: outsider,
        cgroup: birthplace.as_ref(),
        extra: [init.as_fd()].into_iter().chain(root.as_ref().map(AsFd::as_fd)).collect(),
    };
    let mut starting = start(&place, options.process)?;
    if let Some(group) = &record.rdt {
        group.join(starting.pid.raw())?;
    }
    if outsider {
        starting.admit()?;
    }
    let entered = record.namespaces & if outsider { ENTERED & !USER } else { ENTERED };
    let request = Request {
        process: Cow::Borrowed(options.process),
        tasks: cgroup.tasks(),
        filter: filter.as_ref().map(Cow::Borrowed),
        personality: record.personality.as_ref().map(Cow::Borrowed),
        memory_policy: record.memory_policy.as_ref().map(Cow::Borrowed),
        layout: Layout { namespaces: vec![entered], rootfs: root.is_some(), ..Layout::default() },
        plan: None,
    };
    starting.prepare(&request, || Ok(()))?;
    starting.give_console(&options.console)?;
    if let Some(agent) = filter.as_ref().and_then(Filter::agent) {
        starting.give_listener(agent, &container.state()?)?;
    }
    if let Some(path) = options.pid_file {
        write_pid_file(path, starting.pid.raw())?;
    }
    let (process, channel) = starting.keep()?;
    Ok(Exec { process, gate: Gate::new(channel) })
}

/// The root directory to change to, where no mount namespace brings it along.
fn root(record: &Record) -> Result<Option<OwnedFd>, Error> {
    let Some(init) = record.init.filter(|_| record.rootfs_mount.is_some()) else {
        return Ok(None);
    };
    let path = format!("/proc/{}/root", init.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty());
    root.map(Some).map_err(|error| Error::file("open", path)(error.into()))
}

/// Starts the process on the processors of `process.execCPUAffinity.initial`, which it inherits.
fn start(place: &Place<'_>, process: &oci::Process) -> Result<Starting, Error> {
    let (initial, _) = affinity(process)?;
    if initial.is_empty() {
        return place.start();
    }
    let step = "set process.execCPUAffinity.initial";
    let own = sys::schedule::affinity().map_err(Error::launch(step))?;
    sys::schedule::set_affinity(initial.words()).map_err(Error::launch(step))?;
    let starting = place.start();
    sys::schedule::set_affinity(&own).map_err(Error::launch("return to the own processors"))?;
    starting
}

/// The processors of `process.execCPUAffinity.initial` as a mask in hexadecimal, for a debug log;
/// `None` where it names none.
pub fn initial_affinity(process: &oci::Process) -> Option<String> {
    let (initial, _) = affinity(process).ok()?;
    (!initial.is_empty()).then(|| format!("{initial:x}"))
}

/// The two sets of `process.execCPUAffinity`; empty where it names none.
pub(crate) fn affinity(process: &oci::Process) -> Result<(Bitmap, Bitmap), check::Error> {
    let Some(affinity) = process.exec_cpu_affinity() else { return Ok(Default::default()) };
    let read = |field, text: &Option<String>| {
        Bitmap::parse(text.as_deref().unwrap_or_default())
            .map_err(|reason| check::Error::invalid(field, reason))
    };
    let initial = read("process.execCPUAffinity.initial", affinity.initial())?;
    Ok((initial, read("process.execCPUAffinity.final", affinity.cpu_affinity_final())?))
}
