//! `exec`: another process in a running container.

use std::collections::HashSet;
use std::path::Path;

use container::{Container, ExecOptions, Subgroup};
use spec::oci::runtime::{Capability, LinuxCapabilities, Process, User};

use super::{Error, console_for, pidfd_socket};
use crate::args::Exec;
use crate::foreground::Foreground;
use crate::inherit::Inherited;
use crate::log::Log;
use crate::{console, socket};

/// Executes what the flags say, and waits for its end unless detached.
pub(super) fn run(
    container: &Container,
    flags: &Exec,
    inherited: Inherited,
    log: &Log,
) -> Result<u8, Error> {
    let own = container.record().process.clone().unwrap_or_default();
    let process = process(&own, flags, log)?;
    let foreground = Foreground::begin(false).map_err(Error::step("hold back signals"))?;
    let mut options = ExecOptions::new(&process);
    let terminal = process.terminal() == Some(true);
    options.console = console_for(terminal, flags.detach, flags.console_socket.as_ref())?;
    options.pid_file = flags.pid_file.as_deref();
    options.preserve_fds = inherited.fds;
    options.ignore_paused = flags.ignore_paused;
    options.cgroups = subgroups(&flags.cgroups)?;
    let pidfd = flags.pidfd_socket.as_ref().map(|path| pidfd_socket(path)).transpose()?;
    let exec = container.exec(options).map_err(Error::container("exec", &flags.id))?;
    log.warn_of(&exec.process.warnings);
    if let Some(mask) = container::initial_affinity(&process) {
        log.debug(&format!("process.execCPUAffinity.initial: affinity: {mask}"));
    }
    if let Some(pty) = &exec.process.pty {
        console::pass_line_ends(pty);
    }
    if let Some(socket) = pidfd {
        socket::send(&socket, "setns", &exec.process.pidfd)
            .map_err(Error::step("send the pidfd to --pidfd-socket"))?;
    }
    exec.gate.open().map_err(Error::container("exec", &flags.id))?;
    log.debug(&format!("process executed in {}, pid {}", flags.id, exec.process.pid));
    if flags.detach {
        return Ok(0);
    }
    foreground.wait(&exec.process).map_err(Error::step("wait for the process"))
}

/// The file that `--process` names, or the container's own process with what the flags change.
pub(super) fn process(own: &Process, flags: &Exec, log: &Log) -> Result<Process, Error> {
    let mut process = match &flags.process {
        Some(path) => return Ok(inherited(read(path, log)?, own)),
        None => own.clone(),
    };
    process.set_args(Some(flags.args.clone()));
    process.set_terminal(Some(flags.tty));
    if let Some(cwd) = &flags.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(profile) = &flags.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &flags.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(wanted) = flags.no_new_privs {
        process.set_no_new_privileges(Some(wanted));
    }
    let mut user = process.user().clone();
    if let Some(text) = &flags.user {
        set_user(&mut user, text)?;
    }
    let gids = user.additional_gids().iter().flatten().chain(&flags.additional_gids).copied();
    let gids: Vec<u32> = gids.collect();
    user.set_additional_gids(Some(gids));
    process.set_user(user);
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

/// `--cgroup`: one path for all hierarchies, or `CONTROLLER,...:PATH` for some.
fn subgroups(list: &[String]) -> Result<Vec<Subgroup>, Error> {
    let invalid = |text: &str, why| Err(Error::Usage(format!("--cgroup: {text:?} {why}")));
    let mut groups: Vec<Subgroup> = Vec::new();
    for text in list {
        let Some((controllers, path)) = text.split_once(':') else {
            if list.len() > 1 {
                return invalid(text, "has no <controller>: prefix");
            }
            groups.push(Subgroup { controller: None, path: text.into() });
            continue;
        };
        for name in controllers.split(',') {
            if name.is_empty() {
                return invalid(text, "has an empty <controller> prefix");
            }
            if groups.iter().any(|group| group.controller.as_deref() == Some(name)) {
                return invalid(text, "names a controller that was there before");
            }
            groups.push(Subgroup { controller: Some(name.to_owned()), path: path.into() });
        }
    }
    Ok(groups)
}

/// `UID[:GID]` in numbers; without a group the process keeps its own.
fn set_user(user: &mut User, text: &str) -> Result<(), Error> {
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let number = |text: &str, what| {
        let invalid = || Error::Usage(format!("--user: bad {what} {text:?}"));
        text.parse::<u32>().map_err(|_| invalid())
    };
    user.set_uid(number(uid, "uid")?);
    if let Some(gid) = gid {
        user.set_gid(number(gid, "gid")?);
    }
    Ok(())
}

fn capability(name: &str) -> Result<Capability, Error> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    short.parse().map_err(|_| Error::Usage(format!("--cap: {name:?} is no capability")))
}

/// Adds capabilities to the bounding, effective and permitted sets, and where there are inheritable
/// ones to the ambient set, as runc does.
fn with(own: Option<LinuxCapabilities>, added: &HashSet<Capability>) -> LinuxCapabilities {
    let mut sets = own.unwrap_or_default();
    let join = |set: &Option<HashSet<Capability>>| {
        Some(set.iter().flatten().chain(added).copied().collect::<HashSet<_>>())
    };
    sets.set_bounding(join(sets.bounding()));
    sets.set_effective(join(sets.effective()));
    sets.set_permitted(join(sets.permitted()));
    if sets.inheritable().is_some() {
        sets.set_ambient(join(sets.ambient()));
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_group_keeps_the_processes_own() {
        let mut user = User::default();
        user.set_gid(7);
        for (text, want) in [("5", (5, 7)), ("5:6", (5, 6)), ("0:0", (0, 0))] {
            let mut user = user.clone();
            set_user(&mut user, text).expect("valid");
            assert_eq!((user.uid(), user.gid()), want, "{text}");
        }
        for text in ["", "root", "5:", "5:x", "-1"] {
            assert!(set_user(&mut user, text).is_err(), "{text}");
        }
    }

    #[test]
    fn cgroups_are_one_for_all_or_one_for_each_controller() {
        let parse = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
            let groups = subgroups(&list).ok()?;
            Some(groups.into_iter().map(|g| (g.controller, g.path)).collect::<Vec<_>>())
        };
        let named = |name: &str, path: &str| (Some(name.to_owned()), path.into());
        assert_eq!(parse(&["a/b"]), Some(vec![(None, "a/b".into())]));
        assert_eq!(
            parse(&["memory:m", "cpu,cpuacct:c"]),
            Some(vec![named("memory", "m"), named("cpu", "c"), named("cpuacct", "c")])
        );
        for list in [["a", "b"], ["memory:m", "memory:n"], [":m", "cpu:x"]] {
            assert_eq!(parse(&list), None, "{list:?}");
        }
    }

    #[test]
    fn added_capabilities_are_ambient_only_beside_inheritable_ones() {
        let added = HashSet::from([Capability::NetAdmin]);
        let has = |set: &Option<HashSet<Capability>>| set.as_ref().is_some_and(|s| !s.is_empty());
        let mut own = LinuxCapabilities::default();
        own.set_inheritable(None).set_ambient(None);
        assert!(!has(with(Some(own.clone()), &added).ambient()));
        own.set_inheritable(Some(HashSet::new()));
        let sets = with(Some(own), &added);
        assert!(has(sets.ambient()) && has(sets.bounding()) && !has(sets.inheritable()));
    }
}
