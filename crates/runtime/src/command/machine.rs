//! The commands for a container in a VM.

use container::Store;
use spec::ContainerId;

use super::{Error, console_for, exec, ps, show, update};
use crate::args::{Action, Exec, Format};
use crate::inherit::Inherited;
use crate::log::Log;
use crate::vm::{self, Machine};

/// Why checkpoints are refused.
const CHECKPOINT: &str = "criu saves processes of the host's kernel, and a VM's are the guest's";

/// Does what `action` says, if that is about a container in a VM; `None` for any other.
pub(super) fn run(
    store: &Store,
    action: &Action,
    inherited: &Result<Inherited, Error>,
    log: &Log,
) -> Result<Option<u8>, Error> {
    let at = Place { store };
    match action {
        Action::State { id } => at.with("state", id, show::machine),
        Action::Ps { id, format, arguments } => {
            at.with("ps", id, |machine| list(machine, *format, arguments))
        }
        Action::Exec(flags) => at
            .with("exec", &flags.id, |machine| execute(machine, flags, inherited, log))
            .map_err(|error| Error::Exec(Box::new(error))),
        Action::Update(flags) => {
            at.with("update", &flags.id, |machine| change(machine, flags, log))
        }
        Action::Start { id } => at.done("start", id, Machine::start),
        Action::Kill { id, signal, all } => {
            at.done("kill", id, |machine| machine.kill(*signal, *all))
        }
        Action::Delete { id, force } => at.done("delete", id, |machine| machine.delete(*force)),
        Action::Pause { id } => at.done("pause", id, Machine::pause),
        Action::Resume { id } => at.done("resume", id, Machine::resume),
        Action::Events(flags) => {
            at.done("events", &flags.id, |machine| machine.events(flags.interval()))
        }
        Action::ResizeTty { id, columns, rows } => {
            at.done("resize-tty", id, |machine| machine.resize(*columns, *rows))
        }
        Action::Checkpoint(flags) => at.done("checkpoint", &flags.id, |_| {
            Err(vm::Error::unsupported("a VM container", CHECKPOINT))
        }),
        Action::Create(_)
        | Action::CreateScratch(_)
        | Action::Run { .. }
        | Action::Restore(_)
        | Action::List { .. }
        | Action::Spec { .. }
        | Action::Features
        | Action::Version
        | Action::Help(_) => Ok(None),
    }
}

/// Where the containers are.
struct Place<'a> {
    store: &'a Store,
}

impl Place<'_> {
    /// Gives `work` the container, if it is one in a VM; the answer is the exit status.
    fn with(
        &self,
        name: &'static str,
        id: &ContainerId,
        work: impl FnOnce(&Machine) -> Result<u8, Error>,
    ) -> Result<Option<u8>, Error> {
        let machine = Machine::load(self.store, id).map_err(Error::vm(name, id))?;
        machine.as_ref().map(work).transpose()
    }

    /// The same for work that either fails or is done.
    fn done(
        &self,
        name: &'static str,
        id: &ContainerId,
        work: impl FnOnce(&Machine) -> Result<(), vm::Error>,
    ) -> Result<Option<u8>, Error> {
        self.with(name, id, |machine| work(machine).map(|()| 0).map_err(Error::vm(name, id)))
    }
}

fn execute(
    machine: &Machine,
    flags: &Exec,
    inherited: &Result<Inherited, Error>,
    log: &Log,
) -> Result<u8, Error> {
    let own = machine.record.process.clone().unwrap_or_default();
    let process = exec::process(&own, flags, log)?;
    let terminal = process.terminal() == Some(true);
    let console = console_for(terminal, flags.detach, flags.console_socket.as_ref())?;
    // Whichever of them is missing, none could be handed on.
    let descriptors = inherited.as_ref().map_or(1, |inherited| inherited.fds.len());
    let ended = machine.exec(&process, flags, &console, descriptors);
    ended.map_err(Error::vm("exec", &flags.id))
}

fn change(machine: &Machine, flags: &update::Flags, log: &Log) -> Result<u8, Error> {
    let change = update::change(flags, log)?;
    let done = if flags.wants_resctrl() {
        let why = "the host's caches are shared with no process of a guest";
        Err(vm::Error::unsupported("--l3-cache-schema and --mem-bw-schema", why))
    } else {
        machine.update(&change)
    };
    done.map(|()| 0).map_err(Error::vm("update", &flags.id))
}

/// The processes: their numbers as JSON, or the columns of `ps -ef`. The numbers are the guest's.
fn list(machine: &Machine, format: Format, arguments: &[std::ffi::OsString]) -> Result<u8, Error> {
    let id = &machine.record.id;
    if !arguments.is_empty() {
        let why = "they are those of the host's ps(1), which does not see the guest's processes";
        return Err(Error::vm("ps", id)(vm::Error::unsupported("ps options", why)));
    }
    let processes = machine.processes().map_err(Error::vm("ps", id))?;
    match format {
        Format::Json => {
            show::print_json_line(&processes.iter().map(|process| process.pid).collect::<Vec<_>>())
        }
        Format::Table => show::print(&ps::table(&processes)),
    }
}
