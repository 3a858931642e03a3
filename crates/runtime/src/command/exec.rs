//! `exec`: another process in a running container.

use std::collections::HashSet;
use std::path::Path;

use container::{Container, ExecOptions};
use spec::oci::runtime::{Capability, LinuxCapabilities, Process, User};

use super::{Error, console, preserved};
use crate::args::Exec;
use crate::foreground::Foreground;
use crate::log::Log;

/// Executes what the flags say, and waits for its end unless detached.
pub(super) fn run(container: &Container, flags: &Exec, log: &Log) -> Result<u8, Error> {
    let process = process(container, flags, log)?;
    let foreground = Foreground::begin().map_err(Error::step("hold back signals"))?;
    let mut options = ExecOptions::new(&process);
    let terminal = process.terminal() == Some(true);
    options.console = console(terminal, flags.detach, flags.console_socket.as_ref())?;
    options.pid_file = flags.pid_file.as_deref();
    options.preserve_fds = preserved(flags.preserve_fds)?;
    let exec = container.exec(options).map_err(Error::container("exec", &flags.id))?;
    log.warn_of(&exec.process.warnings);
    exec.gate.open().map_err(Error::container("exec", &flags.id))?;
    if flags.detach {
        return Ok(0);
    }
    foreground.wait(&exec.process).map_err(Error::step("wait for the process"))
}

/// The file that `--process` names, or the container's own process with what the flags change.
fn process(container: &Container, flags: &Exec, log: &Log) -> Result<Process, Error> {
    let own = container.record().process.clone().unwrap_or_default();
    let mut process = match &flags.process {
        Some(path) => return Ok(inherited(read(path, log)?, &own)),
        None => own,
    };
    process.set_args(Some(flags.args.clone()));
    process.set_terminal(Some(flags.tty));
    if let Some(cwd) = &flags.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(user) = &flags.user {
        process.set_user(parse_user(user)?);
    }
    if !flags.additional_gids.is_empty() {
        let mut user = process.user().clone();
        user.set_additional_gids(Some(flags.additional_gids.clone()));
        process.set_user(user);
    }
    if flags.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(flags.env.iter().cloned());
    process.set_env(Some(env));
    if !flags.caps.is_empty() {
        let added = flags.caps.iter().map(|name| capability(name)).collect::<Result<_, _>>()?;
        process.set_capabilities(Some(with(process.capabilities().clone(), &added)));
    }
    Ok(process)
}

fn read(path: &Path, log: &Log) -> Result<Process, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    let read = spec::config::process(&bytes)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    log.warn_of(&read.warnings);
    Ok(read.value)
}

/// The process with what it leaves open as the container's own has it: all that runc takes over.
fn inherited(mut process: Process, own: &Process) -> Process {
    let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if empty(process.apparmor_profile()) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if empty(process.selinux_label()) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(own.scheduler().clone());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own.oom_score_adj());
    }
    if process.user().umask().is_none() {
        let umask = own.user().umask();
        process.user_mut().set_umask(umask);
    }
    process
}

/// `UID[:GID]` in numbers.
fn parse_user(text: &str) -> Result<User, Error> {
    let invalid = || Error::Usage(format!("--user: {text:?} is not UID or UID:GID"));
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let mut user = User::default();
    user.set_uid(uid.parse().map_err(|_| invalid())?);
    user.set_gid(gid.parse().map_err(|_| invalid())?);
    Ok(user)
}

fn capability(name: &str) -> Result<Capability, Error> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    short.parse().map_err(|_| Error::Usage(format!("--cap: {name:?} is no capability")))
}

/// Adds capabilities to all sets but the inheritable and ambient ones, as runc does.
fn with(own: Option<LinuxCapabilities>, added: &HashSet<Capability>) -> LinuxCapabilities {
    let mut sets = own.unwrap_or_default();
    let join = |set: &Option<HashSet<Capability>>| {
        Some(set.iter().flatten().chain(added).copied().collect::<HashSet<_>>())
    };
    sets.set_bounding(join(sets.bounding()));
    sets.set_effective(join(sets.effective()));
    sets.set_permitted(join(sets.permitted()));
    sets
}
