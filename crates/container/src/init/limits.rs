//! Resource limits and the OOM score, as far as this host allows: what root without
//! `CAP_SYS_RESOURCE` may not raise is set as high as it may, with a warning.
//!
//! Spec: OCI runtime-spec, config.md "POSIX process".

use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use spec::oci::runtime::{PosixRlimit, PosixRlimitType, Process};

use super::Error;

/// Sets `process.oomScoreAdj`, or what is nearest to it. Without one the caller's stays.
pub(super) fn oom_score(process: &Process, warnings: &mut Vec<String>) -> Result<(), Error> {
    let Some(adjust) = process.oom_score_adj() else { return Ok(()) };
    let step = "set process.oomScoreAdj";
    let path = "/proc/self/oom_score_adj";
    let own = fs::read_to_string(path).map_err(Error::step(step))?;
    let own = own.trim().parse().unwrap_or(0);
    if own == adjust {
        return Ok(());
    }
    let denied = |error: &io::Error| error.raw_os_error() == Some(libc::EACCES);
    match fs::write(path, adjust.to_string()) {
        Err(error) if denied(&error) => {
            let least =
                least_allowed(adjust, own, |value| fs::write(path, value.to_string()).is_ok());
            warnings.push(format!(
                "process.oomScoreAdj: {adjust} needs CAP_SYS_RESOURCE; it is {least}"
            ));
            Ok(())
        }
        result => result.map_err(Error::step(step)),
    }
}

/// The smallest value above `refused` that `set` takes, and that is set in the end; `own` is taken.
fn least_allowed(refused: i32, own: i32, set: impl Fn(i32) -> bool) -> i32 {
    let (mut refused, mut taken) = (refused, own);
    while refused + 1 < taken {
        let middle = refused.midpoint(taken);
        if set(middle) { taken = middle } else { refused = middle }
    }
    taken
}

/// Lifts the hard limits of a process, by default this one, to what `process.rlimits` wants, and sets
/// its OOM score: for one that will not be allowed to, or is not already, in its user namespace. What
/// is not allowed here either is left for it to find out.
pub(crate) fn lift(pid: Option<Pid>, process: &Process) {
    if let (Some(pid), Some(adjust)) = (pid, process.oom_score_adj()) {
        let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
        let _ = fs::write(path, adjust.to_string());
    }
    for limit in process.rlimits().iter().flatten() {
        let resource = resource(limit.typ());
        let hard = finite(limit.hard());
        let own = getrlimit(resource);
        // Never below: what is still to be done might need more than the program may.
        if hard != own.maximum && least(hard, own.maximum) == own.maximum {
            let _ = prlimit(pid, resource, Rlimit { current: own.current, maximum: hard });
        }
    }
}

/// Sets `process.rlimits`.
pub(super) fn resources(process: &Process, warnings: &mut Vec<String>) -> Result<(), Error> {
    for limit in process.rlimits().iter().flatten() {
        set(limit, warnings).map_err(Error::step("set process.rlimits"))?;
    }
    Ok(())
}

fn set(limit: &PosixRlimit, warnings: &mut Vec<String>) -> io::Result<()> {
    let resource = resource(limit.typ());
    let wanted = Rlimit { current: finite(limit.soft()), maximum: finite(limit.hard()) };
    match setrlimit(resource, wanted) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => {
            let hard = getrlimit(resource).maximum;
            let clamped = Rlimit { current: least(finite(limit.soft()), hard), maximum: hard };
            setrlimit(resource, clamped)?;
            warnings.push(format!(
                "process.rlimits: {} above {} needs CAP_SYS_RESOURCE; clamped",
                limit.typ(),
                hard.map_or("unlimited".to_owned(), |hard| hard.to_string()),
            ));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The specification's largest number is no limit.
fn finite(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

/// The smaller limit; `None` is no limit.
fn least(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (limit, None) | (None, limit) => limit,
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// Gives the standard streams to the user, who may want to open `/dev/stdout` again.
pub(super) fn stdio_owner(process: &Process) -> Result<(), Error> {
    use rustix::stdio::{stderr, stdin, stdout};
    let null = rustix::fs::makedev(1, 3);
    let user = process.user().uid();
    for stream in [stdin(), stdout(), stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if stat.st_rdev == null || stat.st_uid == user {
            continue;
        }
        let owner = (Some(Uid::from_raw(user)), None::<Gid>);
        match rustix::fs::fchown(stream, owner.0, owner.1) {
            // Not all that can be a stream has an owner that can be changed.
            Ok(())
            | Err(rustix::io::Errno::PERM | rustix::io::Errno::ROFS | rustix::io::Errno::INVAL) => {
            }
            Err(error) => return Err(Error::step("give the standard streams to the user")(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_score_that_is_taken_is_found() {
        for (refused, own, floor) in [(-1000, 0, 0), (-900, 500, 0), (-1, 1000, 999), (5, 6, 6)] {
            let last = std::cell::Cell::new(own);
            let set = |value| {
                value >= floor && {
                    last.set(value);
                    true
                }
            };
            assert_eq!(least_allowed(refused, own, set), floor, "{refused} {own}");
            assert_eq!(last.get(), floor);
        }
    }

    #[test]
    fn no_limit_is_above_every_limit() {
        assert_eq!(least(None, Some(5)), Some(5));
        assert_eq!(least(Some(3), None), Some(3));
        assert_eq!(least(Some(3), Some(5)), Some(3));
        assert_eq!(least(None, None), None);
    }
}
