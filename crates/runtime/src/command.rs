//! What each command does.

mod exec;
mod show;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use container::{Console, Container, CreateOptions, Launched, Recipients, Store};
use spec::{ContainerId, Kind};

use crate::args::{Action, Create, Global};
use crate::console;
use crate::foreground::Foreground;
use crate::log::Log;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The container could not be made, changed or removed.
    #[error("{action} {id}")]
    Container {
        /// The command.
        action: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: container::Error,
    },
    /// The list of containers could not be read.
    #[error("list")]
    List(#[source] container::Error),
    /// A file that the command line names or implies.
    #[error("{action} {}", path.display())]
    File {
        /// What was done to it.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A JSON file that is not what it should be.
    #[error("{}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The flags and the configuration do not fit together.
    #[error("{0}")]
    Usage(String),
    /// Waiting for the process, or writing the answer.
    #[error("{step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        let Self::Container { source, .. } = self else { return 1 };
        match source.kind() {
            Kind::CommandNotFound => 127,
            Kind::CommandNotExecutable => 126,
            _ => 1,
        }
    }

    fn container(action: &'static str, id: impl ToString) -> impl FnOnce(container::Error) -> Self {
        move |source| Self::Container { action, id: id.to_string(), source }
    }

    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }

    fn step(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

/// Runs the command; the exit status is 0 but for a process in the foreground.
pub(crate) fn run(global: &Global, action: Action, log: &Log) -> Result<u8, Error> {
    let store = Store::open(&global.root);
    let load = |action, id| store.load(id).map_err(Error::container(action, id));
    match action {
        Action::Create(flags) => {
            make(&store, &flags, true, log, "create")?;
            Ok(0)
        }
        Action::Run { create, keep, detach } => run_container(&store, &create, keep, detach, log),
        Action::Start { id } => {
            load("start", &id)?.start().map_err(Error::container("start", id))?;
            Ok(0)
        }
        Action::State { id } => show::state(&load("state", &id)?),
        Action::Kill { id, signal, all } => {
            let to = if all { Recipients::All } else { Recipients::Init };
            load("kill", &id)?.signal(signal, to).map_err(Error::container("kill", id))?;
            Ok(0)
        }
        Action::Delete { id, force } => {
            let warnings = delete(&store, &id, force).map_err(Error::container("delete", id))?;
            log.warn_of(&warnings);
            Ok(0)
        }
        Action::Exec(flags) => exec::run(&load("exec", &flags.id)?, &flags, log),
        Action::List { format, quiet } => show::list(&store, format, quiet),
        Action::Ps { id, format } => show::processes(&load("ps", &id)?, format),
        Action::Pause { id } => {
            load("pause", &id)?.pause().map_err(Error::container("pause", id))?;
            Ok(0)
        }
        Action::Resume { id } => {
            load("resume", &id)?.resume().map_err(Error::container("resume", id))?;
            Ok(0)
        }
        Action::Spec { bundle } => show::template(&bundle),
        Action::Version => show::version(),
        Action::Help => show::help(),
    }
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

/// Makes a container from its bundle. `detached`: nobody will be there to serve its terminal.
fn make(
    store: &Store,
    flags: &Create,
    detached: bool,
    log: &Log,
    action: &'static str,
) -> Result<(Container, Launched), Error> {
    let path = flags.bundle.join("config.json");
    let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
    let read = spec::config::spec(&bytes).map_err(|source| Error::Json { path, source })?;
    log.warn_of(&read.warnings);
    let spec = read.value;
    // A configuration's relative paths begin at the bundle.
    std::env::set_current_dir(&flags.bundle).map_err(Error::file("enter", &flags.bundle))?;
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    let mut options = CreateOptions::new(std::path::Path::new("."), &spec);
    options.console = console(terminal, detached, flags.console_socket.as_ref())?;
    options.pid_file = flags.pid_file.as_deref();
    options.preserve_fds = preserved(flags.preserve_fds)?;
    options.no_pivot = flags.no_pivot;
    options.no_new_keyring = flags.no_new_keyring;
    let made = store.create(&flags.id, options).map_err(Error::container(action, &flags.id))?;
    log.warn_of(&made.1.warnings);
    log.debug("container created");
    Ok(made)
}

/// Where a terminal goes: to the socket, or to this process when it stays in the foreground.
fn console(terminal: bool, detached: bool, socket: Option<&PathBuf>) -> Result<Console, Error> {
    match (terminal, detached, socket) {
        (true, true, None) => {
            let text = "a detached process with a terminal needs --console-socket";
            Err(Error::Usage(text.to_owned()))
        }
        (false, true, Some(_)) => {
            Err(Error::Usage("--console-socket is for a process with a terminal".to_owned()))
        }
        (true, true, Some(path)) => {
            let socket = console::connect(path).map_err(Error::file("connect to", path))?;
            Ok(Console::Socket(socket))
        }
        _ => Ok(Console::Return),
    }
}

/// The caller's descriptors 3, 4, … to hand on.
fn preserved(count: u32) -> Result<Vec<OwnedFd>, Error> {
    // systemd's sockets come on top of those that were asked for.
    let listen = std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse::<u32>().ok());
    let own = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let total = count + listen.filter(|_| own).unwrap_or(0);
    (3..)
        .take(total as usize)
        .map(|number| sys::spawn::inherited(number).map_err(Error::step("--preserve-fds")))
        .collect()
}

fn run_container(
    store: &Store,
    flags: &Create,
    keep: bool,
    detach: bool,
    log: &Log,
) -> Result<u8, Error> {
    let foreground = Foreground::begin().map_err(Error::step("hold back signals"))?;
    let (container, process) = make(store, flags, detach, log, "run")?;
    if let Err(source) = container.start() {
        // The first failure is the one that is told.
        let _ = container.delete(true);
        return Err(Error::Container { action: "run", id: flags.id.to_string(), source });
    }
    if detach {
        return Ok(0);
    }
    let status = foreground.wait(&process).map_err(Error::step("wait for the container"));
    if !keep {
        let warnings = container.delete(true).map_err(Error::container("run", &flags.id))?;
        log.warn_of(&warnings);
    }
    status
}
