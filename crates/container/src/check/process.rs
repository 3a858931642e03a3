//! What `process` may ask for, of a container or of an exec.

use spec::oci::runtime::{LinuxSchedulerPolicy, Process, Scheduler};

use super::{Error, has_text, refuse};

/// Checks a program to execute, of a container or of an exec.
pub(crate) fn process(process: &Process) -> Result<(), Error> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("process.args", "empty"));
    }
    if !process.cwd().is_absolute() {
        let reason = format!("{} is not an absolute path", process.cwd().display());
        return Err(Error::invalid("process.cwd", reason));
    }
    let strings = process.args().iter().flatten().chain(process.env().iter().flatten());
    if strings.into_iter().any(|text| text.contains('\0')) {
        return Err(Error::invalid("process", "a zero byte in args or env"));
    }
    let nameless = |text: &&String| text.find('=').is_none_or(|at| at == 0);
    if let Some(text) = process.env().iter().flatten().find(nameless) {
        return Err(Error::invalid("process.env", format!("{text:?} is not NAME=VALUE")));
    }
    limits(process)?;
    if let Some(scheduler) = process.scheduler() {
        self::scheduler(scheduler)?;
    }
    if let Some(priority) = process.io_priority()
        && !(0..=7).contains(&priority.priority())
    {
        let reason = format!("{} is not 0 to 7", priority.priority());
        return Err(Error::invalid("process.ioPriority.priority", reason));
    }
    crate::exec::affinity(process)?;
    if let Some(adj) = process.oom_score_adj()
        && !(-1000..=1000).contains(&adj)
    {
        let reason = format!("{adj} is not -1000 to 1000");
        return Err(Error::invalid("process.oomScoreAdj", reason));
    }
    if has_text(process.apparmor_profile().as_ref()) && !crate::lsm::has_apparmor() {
        return Err(Error::unsupported("process.apparmorProfile", "a kernel without AppArmor"));
    }
    if has_text(process.selinux_label().as_ref()) && !crate::lsm::has_selinux() {
        return Err(Error::unsupported("process.selinuxLabel", "a kernel without SELinux"));
    }
    refuse(&[
        ("process.commandLine", has_text(process.command_line().as_ref())),
        ("process.user.username", has_text(process.user().username().as_ref())),
    ])
}

fn limits(process: &Process) -> Result<(), Error> {
    let mut seen = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        if seen.contains(&limit.typ()) {
            return Err(Error::invalid(
                "process.rlimits",
                format!("{} is named twice", limit.typ()),
            ));
        }
        if limit.soft() > limit.hard() {
            let reason = format!("{}: soft is above hard", limit.typ());
            return Err(Error::invalid("process.rlimits", reason));
        }
        seen.push(limit.typ());
    }
    Ok(())
}

/// Each value belongs to some of the policies. See sched_setattr(2).
fn scheduler(scheduler: &Scheduler) -> Result<(), Error> {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedOther, SchedRr};
    let policy = scheduler.policy();
    let nice = scheduler.nice().unwrap_or(0);
    if matches!(policy, SchedOther | SchedBatch) && !(-20..=19).contains(&nice) {
        return Err(Error::invalid("process.scheduler.nice", format!("{nice} is not -20 to 19")));
    }
    if scheduler.priority().unwrap_or(0) != 0 && !matches!(policy, SchedFifo | SchedRr) {
        let reason = format!("{policy} has none; SCHED_FIFO and SCHED_RR have");
        return Err(Error::invalid("process.scheduler.priority", reason));
    }
    let times = [
        ("process.scheduler.runtime", scheduler.runtime()),
        ("process.scheduler.deadline", scheduler.deadline()),
        ("process.scheduler.period", scheduler.period()),
    ];
    match times.into_iter().find(|(_, time)| time.unwrap_or(0) != 0) {
        Some((field, _)) if *policy != SchedDeadline => {
            Err(Error::invalid(field, format!("{policy} has none; SCHED_DEADLINE has")))
        }
        _ => Ok(()),
    }
}
