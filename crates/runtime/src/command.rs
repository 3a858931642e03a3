//! What each command does.

mod checkpoint;
mod error;
pub(crate) mod events;
mod exec;
mod machine;
mod ps;
mod restore;
mod scratch;
mod show;
mod template;
pub(crate) mod update;

use std::io;
use std::path::{Path, PathBuf};

use container::{Console, Container, CreateOptions, Launched, Recipients, Store};
use spec::oci::runtime as oci;
use spec::{ContainerId, Isolation, Kind, Signal};

use crate::args::{Action, Create, Global};
use crate::foreground::Foreground;
use crate::inherit::Inherited;
use crate::layers::{Claim, Layers};
use crate::log::Log;
use crate::{console, root, socket, vm, wall};

pub(crate) use error::Error;

/// Runs the command; the exit status is 0 but for a process in the foreground.
pub(crate) fn run(
    global: &Global,
    action: Action,
    inherited: Result<Inherited, Error>,
    log: &Log,
) -> Result<u8, Error> {
    let root = match &global.root {
        Some(root) => root.clone(),
        None => root::default()?,
    };
    let store = Store::open(root);
    if let Some(status) = machine::run(&store, &action, &inherited, log)? {
        return Ok(status);
    }
    let load = |action, id| store.load(id).map_err(Error::container(action, id));
    match action {
        Action::Checkpoint(flags) => {
            checkpoint::run(load("checkpoint", &flags.id)?, &flags, inherited?, log)
        }
        Action::Restore(flags) => {
            restore::run(&Making { store: &store, global, log, detached: flags.detach }, &flags)
        }
        Action::Create(flags) => {
            let making = Making { store: &store, global, log, detached: true };
            create(&making, &flags, inherited?)
        }
        Action::Run { create, keep, detach, subreaper } => {
            let making = Making { store: &store, global, log, detached: detach };
            run_container(&making, &create, inherited?, keep, subreaper)
        }
        Action::Start { id } => {
            load("start", &id)?.start().map_err(Error::container("start", id))?;
            Ok(0)
        }
        Action::State { id } => show::state(&load("state", &id)?),
        Action::Kill { id, signal, all } => {
            kill(&load("kill", &id)?, signal, all).map_err(Error::container("kill", id))?;
            Ok(0)
        }
        Action::Delete { id, force } => {
            let warnings = delete(&store, &id, force).map_err(Error::container("delete", id))?;
            log.warn_of(&warnings);
            Ok(0)
        }
        Action::Exec(flags) => load("exec", &flags.id)
            .and_then(|container| exec::run(&container, &flags, inherited?, log))
            .map_err(|error| Error::Exec(Box::new(error))),
        Action::List { format, quiet } => show::list(&store, format, quiet),
        Action::Ps { id, format, arguments } => ps::run(&load("ps", &id)?, format, &arguments),
        Action::Pause { id } => {
            load("pause", &id)?.pause().map_err(Error::container("pause", id))?;
            Ok(0)
        }
        Action::Resume { id } => {
            load("resume", &id)?.resume().map_err(Error::container("resume", id))?;
            Ok(0)
        }
        Action::Update(flags) => update::run(load("update", &flags.id)?, &flags, log),
        Action::Events(flags) => events::run(&load("events", &flags.id)?, &flags),
        Action::ResizeTty { id, columns, rows } => resize(&load("resize-tty", &id)?, columns, rows),
        Action::CreateScratch(flags) => scratch::create(&flags),
        Action::Spec { bundle, rootless } => template::write(&bundle, rootless),
        Action::Features => show::features(),
        Action::Version => show::version(),
        Action::Help(command) => show::help(command),
    }
}

/// Signals the container; without a signal only asks whether there is somebody to signal.
fn kill(container: &Container, signal: Option<Signal>, all: bool) -> Result<(), container::Error> {
    let Some(signal) = signal else {
        let alive = all || container.pid().is_some();
        return if alive { Ok(()) } else { Err(container::Error::NotRunning) };
    };
    container.signal(signal, if all { Recipients::All } else { Recipients::Init })
}

/// Sets the size of the terminal that init has for its input, output or errors.
fn resize(container: &Container, columns: u16, rows: u16) -> Result<u8, Error> {
    let id = &container.record().id;
    let not_running = || Error::container("resize-tty", id)(container::Error::NotRunning);
    let pid = container.pid().ok_or_else(not_running)?;
    for number in 0..3 {
        let path = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
        if let Ok(terminal) = console::open(&path) {
            console::set_size(&terminal, columns, rows).map_err(Error::step("set the size"))?;
            return Ok(0);
        }
    }
    Err(Error::Usage(format!("resize-tty {id}: its init process has no terminal")))
}

/// Deletes the container; with `force` it is no error that there is none.
fn delete(store: &Store, id: &ContainerId, force: bool) -> Result<Vec<String>, container::Error> {
    loop {
        match store.load(id) {
            Err(error) if force && error.kind() == Kind::NotFound => {
                if store.clear(id)? {
                    return Ok(Vec::new());
                }
                // It was still being made.
            }
            loaded => return loaded?.delete(force),
        }
    }
}

/// How a container is made.
struct Making<'a> {
    store: &'a Store,
    global: &'a Global,
    log: &'a Log,
    /// Nobody will be there to serve its terminal.
    detached: bool,
}

/// What a container is made from.
struct Wanted {
    /// The configuration in the bundle.
    spec: oci::Spec,
    /// What it asks for.
    wall: Isolation,
    /// Instead of a directory as root.
    layers: Option<Claim>,
}

fn wanted(making: &Making<'_>, flags: &Create, action: &'static str) -> Result<Wanted, Error> {
    let mut spec = config(&flags.bundle, making.log)?;
    let usual = if flags.vm.host.is_some() { Isolation::Vm } else { Isolation::Process };
    let wall = wall::of(&spec, usual).and_then(|wall| {
        if wall.shares_kernel() {
            let kernel = rustix::system::uname();
            wall::check_kernel(&spec, &kernel.release().to_string_lossy())?;
        }
        Ok(wall)
    });
    let wall = wall.map_err(|source| Error::Wall { action, id: flags.id.to_string(), source })?;
    if let Some(flag) = flags.vm.given().filter(|_| wall.shares_kernel()) {
        let why = "there is no VM: the configuration asks for a container of this kernel";
        return Err(Error::Usage(format!("{action} {}: {flag}: {why}", flags.id)));
    }
    let claim = |layers| Claim::take(layers, making.store, wall);
    let layers = match spec.windows() {
        None => Ok(None),
        Some(_) => Layers::take(&mut spec, &absolute(&flags.bundle)?)
            .and_then(|layers| layers.map(claim).transpose()),
    };
    let layers = layers.map_err(Error::layers(action, &flags.id))?;
    Ok(Wanted { spec, wall, layers })
}

/// Makes a container whose init waits at its gate.
fn create(making: &Making<'_>, flags: &Create, inherited: Inherited) -> Result<u8, Error> {
    let Wanted { spec, wall, layers } = wanted(making, flags, "create")?;
    match wall {
        Isolation::Process => make(making, flags, (spec, layers), inherited, "create").map(|_| 0),
        Isolation::Vm => {
            let in_vm = in_vm(making, flags, (&spec, layers), &inherited)?;
            vm::create(in_vm).map(|_| 0).map_err(Error::vm("create", &flags.id))
        }
    }
}

/// How a container in a VM is made.
fn in_vm<'a>(
    making: &'a Making<'_>,
    flags: &'a Create,
    (spec, layers): (&'a oci::Spec, Option<Claim>),
    inherited: &Inherited,
) -> Result<vm::Making<'a>, Error> {
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    Ok(vm::Making {
        store: making.store,
        flags,
        spec,
        layers,
        console: console_for(terminal, making.detached, flags.console_socket.as_ref())?,
        detached: making.detached,
        descriptors: inherited.fds.len(),
        systemd_cgroup: making.global.systemd_cgroup,
    })
}

/// Makes a container from its bundle.
fn make(
    making: &Making<'_>,
    flags: &Create,
    (mut spec, mut layers): (oci::Spec, Option<Claim>),
    inherited: Inherited,
    action: &'static str,
) -> Result<(Container, Launched), Error> {
    // Before the directory changes.
    let pid_file = flags.pid_file.as_deref().map(absolute).transpose()?;
    add_variables(&mut spec, inherited.variables());
    // A configuration's relative paths begin at the bundle.
    std::env::set_current_dir(&flags.bundle).map_err(Error::file("enter", &flags.bundle))?;
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    let pidfd = flags.pidfd_socket.as_ref().map(|path| pidfd_socket(path)).transpose()?;
    let mut options = CreateOptions::new(Path::new("."), &spec);
    options.console = console_for(terminal, making.detached, flags.console_socket.as_ref())?;
    options.pid_file = pid_file.as_deref();
    options.preserve_fds = inherited.fds;
    options.no_pivot = flags.no_pivot;
    options.no_new_keyring = flags.no_new_keyring;
    options.systemd_cgroup = making.global.systemd_cgroup;
    let overlay = layers.as_mut().map(Claim::overlay).transpose();
    options.layers = overlay.map_err(Error::layers(action, &flags.id))?;
    let (container, launched) = making.store.create(&flags.id, options).map_err(|error| {
        layers.iter().for_each(Claim::undo);
        Error::container(action, &flags.id)(error)
    })?;
    making.log.warn_of(&launched.warnings);
    if let Some(pty) = &launched.pty {
        console::pass_line_ends(pty);
    }
    if let Some(socket) = pidfd
        && let Err(error) = socket::send(&socket, "standard", &launched.pidfd)
    {
        // The first failure is the one that is told.
        let _ = container.delete(true);
        return Err(Error::step("send the pidfd to --pidfd-socket")(error));
    }
    making.log.debug(&format!("container {} created, pid {}", flags.id, launched.pid));
    Ok((container, launched))
}

fn add_variables(spec: &mut oci::Spec, variables: Vec<String>) {
    if let Some(process) = spec.process_mut()
        && !variables.is_empty()
    {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(variables);
        process.set_env(Some(env));
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::file("find", path))
}

fn pidfd_socket(path: &Path) -> Result<std::os::fd::OwnedFd, Error> {
    socket::connect(path).map_err(Error::file("connect to", path))
}

/// Where a terminal goes: to the socket, or to this process when it stays in the foreground.
fn console_for(terminal: bool, detached: bool, socket: Option<&PathBuf>) -> Result<Console, Error> {
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    match (terminal && detached, socket) {
        (true, None) => usage(
            "cannot allocate tty if runc will detach without setting console socket: --console-socket",
        ),
        (false, Some(_)) => usage(
            "cannot use console socket if runc will not detach or allocate tty: --console-socket",
        ),
        (true, Some(path)) => {
            let socket = socket::connect(path).map_err(Error::file("connect to", path))?;
            Ok(Console::Socket(socket))
        }
        (false, None) => Ok(Console::Return),
    }
}

fn run_container(
    making: &Making<'_>,
    flags: &Create,
    inherited: Inherited,
    keep: bool,
    subreaper: bool,
) -> Result<u8, Error> {
    let Wanted { spec, wall, layers } = wanted(making, flags, "run")?;
    if wall == Isolation::Vm {
        let in_vm = in_vm(making, flags, (&spec, layers), &inherited)?;
        return vm::run(in_vm, keep).map_err(Error::vm("run", &flags.id));
    }
    let subreaper = subreaper && !making.detached;
    let foreground = Foreground::begin(subreaper).map_err(Error::step("hold back signals"))?;
    let (container, process) = make(making, flags, (spec, layers), inherited, "run")?;
    if let Err(source) = container.start() {
        // The first failure is the one that is told.
        let _ = container.delete(true);
        return Err(Error::Container { action: "run", id: flags.id.to_string(), source });
    }
    if making.detached {
        return Ok(0);
    }
    let status = foreground.wait(&process).map_err(Error::step("wait for the container"));
    if let Ok(status) = &status {
        making.log.debug(&format!("process exited, pid {}, status {status}", process.pid));
    }
    if !keep {
        clean_up(making, container, "run")?;
    }
    status
}

/// Deletes a container whose process was in the foreground; somebody may have done so before.
fn clean_up(making: &Making<'_>, container: Container, action: &'static str) -> Result<(), Error> {
    let id = container.record().id.clone();
    match container.delete(true) {
        Ok(warnings) => making.log.warn_of(&warnings),
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(Error::container(action, id)(error)),
    }
    Ok(())
}

/// What is in a file: a pipe is not waited for.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bundle's configuration.
fn config(bundle: &Path, log: &Log) -> Result<oci::Spec, Error> {
    let path = bundle.join("config.json");
    let bytes = contents(&path).map_err(Error::file("read", &path))?;
    let read = spec::config::spec(&bytes).map_err(|source| Error::Json { path, source })?;
    log.warn_of(&read.warnings);
    Ok(read.value)
}
