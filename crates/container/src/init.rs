//! The process that becomes the user's program: the second life of the caller's executable.
//!
//! ```text
//!   request -> cgroups -> namespaces -> rootfs -> [launcher's hooks] -> pivot -> masks
//!           -> limits, user, capabilities -> ready -> [seccomp agent] -> recorded -> gate -> seccomp
//!           -> execve
//! ```
//!
//! Single-threaded from its first instruction. All signals stay blocked until the program runs; init
//! leaves early only when the launcher is gone, seen as end of file.
//!
//! Invariant: nothing of the host stays open past execve, and until then the process cannot be traced
//! from inside the container (it is not dumpable, and has more capabilities).

pub(crate) mod command;
mod credentials;
pub(crate) mod limits;
pub(crate) mod memory;
mod scheduler;
mod terminal;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SocketFlags;
use rustix::process::DumpableBehavior;
use spec::Kind;
use sys::signalfd::SignalFd;

use crate::channel::Channel;
use crate::error::kind_of;
use crate::lsm::Labels;
use crate::request::{Layout, Plan, Reply, Request};
use crate::rootfs::{self, Rootfs};
use crate::seccomp::Filter;
use crate::source::Sources;
use crate::{check, hook};

use command::Command;

/// `argv[0]` of the second life; `argv[1]` is the number of the channel's descriptor.
pub(crate) const NAME: &CStr = c"hull-init";

/// Why the container's side failed; the cause stays in `source`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A step that is one system call or little more.
    #[error("{step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The root filesystem.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// The user's program.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A hook in the container.
    #[error(transparent)]
    Hook(#[from] hook::Error),
    /// The configuration, found out late.
    #[error(transparent)]
    Config(#[from] check::Error),
    /// The launcher was killed.
    #[error("the launcher is gone")]
    Abandoned,
}

impl Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Step { source, .. } => kind_of(source),
            Self::Rootfs(error) => error.kind(),
            Self::Command(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::Hook(_) | Self::Abandoned => Kind::Internal,
        }
    }

    /// For `map_err` on a step.
    pub(crate) fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step { step, source: source.into() }
    }
}

/// Runs the container's side when this program was started as `hull-init`, and then never returns.
/// Call it first thing in `main`, before threads, logging and argument parsing.
pub fn dispatch() {
    let mut args = std::env::args_os();
    if args.next().is_none_or(|name| name.as_encoded_bytes() != NAME.to_bytes()) {
        return;
    }
    let number = args.next().and_then(|number| number.to_str()?.parse::<i32>().ok());
    let channel = number.and_then(|number| Some((number, sys::spawn::inherited(number).ok()?)));
    if let Some((number, channel)) = channel {
        let mut speaker = Channel::from(channel);
        let error = match run(&mut speaker, number) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let reply = Reply::Failed { kind: error.kind(), message: spec::chain(&error) };
        // Whoever should read it may be gone.
        let _ = speaker.send(&reply, None);
    }
    std::process::exit(1);
}

/// A value that does not exist: the way forward from [`run`] is another program.
enum Never {}

/// Does everything. On failure `speaker` is whom to tell: the launcher at first, the starter later.
fn run(speaker: &mut Channel, number: i32) -> Result<Never, Error> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::step("protect init from being traced"))?;
    let (request, _) = speaker
        .receive::<Request<'static>>()
        .map_err(Error::step("read the request"))?
        .ok_or(Error::Abandoned)?;
    let Inherited { gate, namespaces, sources } = inherited(&request.layout, number + 1)?;
    let mut warnings = Vec::new();
    let labels = Labels::open(&request.process).map_err(Error::step("open the own labels"))?;
    join_cgroups(&request)?;
    scheduler::confine(&request.process, request.plan.is_none(), &mut warnings)?;
    limits::oom_score(&request.process, &mut warnings)?;
    limits::lift(None, &request.process);
    enter(&request.layout, &namespaces)?;
    drop(namespaces);
    rustix::process::setsid().map_err(Error::step("make a session"))?;

    let pty = match &request.plan {
        Some(plan) => build(plan, &request, sources, &labels, speaker, &mut warnings)?,
        None => visit(&request, &sources)?,
    };
    let command = settle(&request, &labels, &mut warnings)?;
    speaker
        .send(&Reply::Ready { warnings }, pty.as_ref().map(AsFd::as_fd))
        .map_err(Error::step("tell the launcher"))?;
    drop(pty);
    if let Some(filter) = &request.filter {
        ask_agent(filter, speaker)?;
    }
    wait_at_gate(speaker, gate)?;
    if let Some(plan) = &request.plan
        && let Some(state) = &plan.state
    {
        let state = hook::State { status: "created".into(), ..inner(state) };
        hook::run_inside(&plan.start_container, &request.process, &state)?;
    }
    credentials::restrict(&request)?;
    Err(command.execute().into())
}

/// What init was started with, besides its streams and the channel.
struct Inherited {
    gate: Option<OwnedFd>,
    namespaces: Vec<OwnedFd>,
    sources: Sources,
}

/// Takes over what follows the channel.
fn inherited(layout: &Layout, first: i32) -> Result<Inherited, Error> {
    let mut numbers = first..;
    let mut take = || {
        let number = numbers.next().unwrap_or(-1);
        sys::spawn::inherited(number).map_err(Error::step("take over a descriptor"))
    };
    let gate = if layout.gate { Some(take()?) } else { None };
    let namespaces = layout.namespaces.iter().map(|_| take()).collect::<Result<_, _>>()?;
    let rootfs = if layout.rootfs { Some(take()?) } else { None };
    let mut source = |index: &usize| take().map(|source| (*index, source));
    let mounts = layout.mounts.iter().map(&mut source).collect::<Result<_, _>>()?;
    let devices = layout.devices.iter().map(&mut source).collect::<Result<_, _>>()?;
    Ok(Inherited { gate, namespaces, sources: Sources { rootfs, mounts, devices } })
}

/// A thread that writes 0 moves itself, which takes no global lock.
fn join_cgroups(request: &Request<'_>) -> Result<(), Error> {
    for file in &request.tasks {
        match std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|mut tasks| io::Write::write_all(&mut tasks, b"0"))
        {
            Ok(()) => {}
            Err(source) => return Err(Error::Step { step: "join the cgroups", source }),
        }
    }
    Ok(())
}

/// Enters the namespaces that exist; the mount namespace last, since it changes what paths mean.
fn enter(layout: &Layout, namespaces: &[OwnedFd]) -> Result<(), Error> {
    let mount = libc::CLONE_NEWNS.cast_unsigned();
    let pairs = || layout.namespaces.iter().zip(namespaces);
    for (kind, namespace) in pairs()
        .filter(|(kind, _)| **kind != mount)
        .chain(pairs().filter(|(kind, _)| **kind == mount))
    {
        sys::namespace::enter(namespace, *kind).map_err(Error::step("enter a namespace"))?;
    }
    Ok(())
}

/// Settles in a container that exists, whose namespaces this process has entered.
fn visit(request: &Request<'_>, sources: &Sources) -> Result<Option<OwnedFd>, Error> {
    if let Some(root) = &sources.rootfs {
        let changed = rustix::process::fchdir(root).map_err(io::Error::from);
        changed
            .and_then(|()| rootfs::root_here())
            .map_err(Error::step("change to the container's root"))?;
    }
    terminal::for_exec(&request.process)
}

/// Builds the container around this process, which ends up in its root directory.
fn build(
    plan: &Plan<'_>,
    request: &Request<'_>,
    sources: Sources,
    labels: &Labels,
    launcher: &Channel,
    warnings: &mut Vec<String>,
) -> Result<Option<OwnedFd>, Error> {
    if plan.cgroup_namespace {
        sys::namespace::unshare_cgroup().map_err(Error::step("make a cgroup namespace"))?;
    }
    if let Some(offsets) = &plan.clocks {
        sys::namespace::make_time(offsets)
            .map_err(Error::step("make a time namespace with linux.timeOffsets"))?;
    }
    if let Some(name) = &plan.keyring {
        labels
            .with_keys(|| join_keyring(name))
            .map_err(Error::step("label keyrings by process.selinuxLabel"))??;
    }
    if plan.loopback {
        sys::interface::loopback_up().map_err(Error::step("bring up the loopback interface"))?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).map_err(Error::step("set the hostname"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(Error::step("set the domainname"))?;
    }
    // Modes are meant as they are given.
    rustix::process::umask(rustix::fs::Mode::empty());
    let rootfs = Rootfs::build(plan, sources, warnings)?;
    let pty = terminal::for_container(&request.process, rootfs.tree())?;
    if plan.launcher_hooks {
        launcher.send(&Reply::Hooks, None).map_err(Error::step("tell the launcher"))?;
        if !launcher.wait().map_err(Error::step("wait for the launcher"))? {
            return Err(Error::Abandoned);
        }
    }
    if let Some(state) = &plan.state {
        hook::run_all("createContainer", &plan.create_container, &inner(state))?;
    }
    rootfs.enter(plan, request.process.cwd())?;
    Ok(pty)
}

/// The state as hooks in the container see it: with the pid that this process has there.
fn inner(state: &hook::State) -> hook::State {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    hook::State { pid: Some(pid), ..state.clone() }
}

fn join_keyring(name: &str) -> Result<(), Error> {
    let name = std::ffi::CString::new(format!("_ses.{name}")).unwrap_or_default();
    match sys::keyring::join_session(&name) {
        // A kernel without keyrings has none to share.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        result => result.map_err(Error::step("make a session keyring")),
    }
}

/// Takes on what the program should have: directory, limits, user, capabilities.
fn settle(
    request: &Request<'_>,
    labels: &Labels,
    warnings: &mut Vec<String>,
) -> Result<Command, Error> {
    let process = &request.process;
    let mut directory = command::enter_directory(process.cwd());
    limits::resources(process, warnings)?;
    limits::stdio_owner(process)?;
    scheduler::apply(process)?;
    if let Some(personality) = &request.personality {
        memory::personality(personality)?;
    }
    if let Some(policy) = &request.memory_policy {
        memory::policy(policy)?;
    }
    credentials::assume(process, request.filter.is_some(), warnings)?;
    if directory.as_ref().is_err_and(command::Error::is_denied) {
        // The user may be allowed where root is not: on NFS, say.
        directory = command::enter_directory(process.cwd());
    }
    directory?;
    let umask = process.user().umask().unwrap_or(0o022);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask & 0o777));
    labels.apply().map_err(Error::step("set process.apparmorProfile or process.selinuxLabel"))?;
    Ok(Command::find(process)?)
}

/// Puts this process under the part of the filter that an agent answers for, which the launcher tells.
fn ask_agent(filter: &Filter, launcher: &Channel) -> Result<(), Error> {
    let listener = filter.listen().map_err(Error::step("install the seccomp filter"))?;
    let Some(listener) = listener else { return Ok(()) };
    launcher
        .write(&Reply::Listener { fd: listener.as_raw_fd() })
        .map_err(Error::step("tell the launcher of the seccomp listener"))?;
    if !launcher.wait().map_err(Error::step("wait for the launcher"))? {
        return Err(Error::Abandoned);
    }
    Ok(())
}

/// Waits for the launcher to have recorded the container, then for the start. From then on `speaker`
/// is the starter.
fn wait_at_gate(speaker: &mut Channel, gate: Option<OwnedFd>) -> Result<(), Error> {
    let step = "wait at the start gate";
    let go = |channel: &Channel| channel.wait().map_err(Error::step(step));
    let recorded = go(speaker)?;
    let Some(gate) = gate else {
        return if recorded { Ok(()) } else { Err(Error::Abandoned) };
    };
    if !recorded {
        return Err(Error::Abandoned);
    }
    let signals = SignalFd::all().map_err(Error::step(step))?;
    loop {
        wait_for_starter(&gate, &signals).map_err(Error::step(step))?;
        let accepted =
            rustix::io::retry_on_intr(|| rustix::net::accept_with(&gate, SocketFlags::CLOEXEC));
        *speaker = Channel::from(accepted.map_err(Error::step(step))?);
        // Who only looks whether somebody waits here hangs up without a word.
        if go(speaker)? {
            return Ok(());
        }
    }
}

/// Waits until somebody connects. A signal that ends programs ends init too: the kernel lets the first
/// process of a pid namespace live unless it ends by itself.
fn wait_for_starter(gate: &OwnedFd, signals: &SignalFd) -> io::Result<()> {
    loop {
        let mut fds = [
            PollFd::new(gate, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        if !fds[1].revents().is_empty() {
            match signals.read()? {
                // Those that are ignored, or stop a program, unless it does otherwise.
                libc::SIGCHLD
                | libc::SIGCONT
                | libc::SIGURG
                | libc::SIGWINCH
                | libc::SIGTSTP
                | libc::SIGTTIN
                | libc::SIGTTOU => {}
                signal => std::process::exit(128 + signal),
            }
        } else if !fds[0].revents().is_empty() {
            return Ok(());
        }
    }
}
