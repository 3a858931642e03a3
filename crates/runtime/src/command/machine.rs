//! The commands for a container in a VM.

use container::Store;
use spec::ContainerId;

use super::{Error, console_for, exec, ps, show, update};
use crate::args::{Action, Format};
use crate::inherit::Inherited;
use crate::log::Log;
use crate::vm::{self, Machine};

/// Why checkpoints are refused.
const CHECKPOINT: &str = "criu saves processes of the host's kernel, and a VM's are the guest's";

/// The container in a VM that `action` is about, if it is about one that there is.
pub(super) fn of(store: &Store, action: &Action) -> Result<Option<Machine>, Error> {
    let Some((name, id)) = subject(action) else { return Ok(None) };
    Machine::load(store, id).map_err(Error::vm(name, id))
}

/// Does what `action` says.
pub(super) fn run(
    machine: &Machine,
    action: Action,
    inherited: &Inherited,
    log: &Log,
) -> Result<u8, Error> {
    let id = &machine.record.id;
    let (name, _) = subject(&action).unwrap_or(("", id));
    let done = match action {
        Action::State { .. } => return show::machine(machine),
        Action::Ps { format, arguments, .. } => return list(machine, format, &arguments),
        Action::Exec(flags) => {
            let own = machine.record.process.clone().unwrap_or_default();
            return exec::process(&own, &flags, log)
                .and_then(|process| {
                    let terminal = process.terminal() == Some(true);
                    let console =
                        console_for(terminal, flags.detach, flags.console_socket.as_ref())?;
                    let descriptors = inherited.fds.len();
                    let ended = machine.exec(&process, &flags, &console, descriptors);
                    ended.map_err(Error::vm(name, id))
                })
                .map_err(|error| Error::Exec(Box::new(error)));
        }
        Action::Update(flags) => {
            let change = update::change(&flags, log)?;
            if flags.wants_resctrl() {
                let why = "the host's caches are shared with no process of a guest";
                Err(vm::Error::unsupported("--l3-cache-schema and --mem-bw-schema", why))
            } else {
                machine.update(&change)
            }
        }
        Action::Start { .. } => machine.start(),
        Action::Kill { signal, all, .. } => machine.kill(signal, all),
        Action::Delete { force, .. } => machine.delete(force),
        Action::Pause { .. } => machine.pause(),
        Action::Resume { .. } => machine.resume(),
        Action::Events(flags) => machine.events(flags.interval()),
        Action::ResizeTty { columns, rows, .. } => machine.resize(columns, rows),
        Action::Checkpoint(_) => Err(vm::Error::unsupported("a VM container", CHECKPOINT)),
        Action::Create(_)
        | Action::Run { .. }
        | Action::Restore(_)
        | Action::List { .. }
        | Action::Spec { .. }
        | Action::Features
        | Action::Version
        | Action::Help(_) => Ok(()),
    };
    done.map(|()| 0).map_err(Error::vm(name, machine.record.id.to_string()))
}

/// What `action` is called and which container that exists it is about.
fn subject(action: &Action) -> Option<(&'static str, &ContainerId)> {
    match action {
        Action::Checkpoint(flags) => Some(("checkpoint", &flags.id)),
        Action::Start { id } => Some(("start", id)),
        Action::State { id } => Some(("state", id)),
        Action::Kill { id, .. } => Some(("kill", id)),
        Action::Delete { id, .. } => Some(("delete", id)),
        Action::Exec(flags) => Some(("exec", &flags.id)),
        Action::Ps { id, .. } => Some(("ps", id)),
        Action::Pause { id } => Some(("pause", id)),
        Action::Resume { id } => Some(("resume", id)),
        Action::Update(flags) => Some(("update", &flags.id)),
        Action::Events(flags) => Some(("events", &flags.id)),
        Action::ResizeTty { id, .. } => Some(("resize-tty", id)),
        Action::Create(_)
        | Action::Run { .. }
        | Action::Restore(_)
        | Action::List { .. }
        | Action::Spec { .. }
        | Action::Features
        | Action::Version
        | Action::Help(_) => None,
    }
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
