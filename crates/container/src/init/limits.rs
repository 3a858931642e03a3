//! Resource limits and the OOM score, as far as this host allows: what root without
//! `CAP_SYS_RESOURCE` may not raise is set as high as it may, with a warning.
//!
//! Spec: OCI runtime-spec, config.md "POSIX process".

use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spec::oci::runtime::{PosixRlimit, PosixRlimitType, Process};

use super::Error;

/// Sets `process.oomScoreAdj`.
pub(super) fn oom_score(process: &Process, warnings: &mut Vec<String>) -> Result<(), Error> {
    let Some(adjust) = process.oom_score_adj() else { return Ok(()) };
    let path = "/proc/self/oom_score_adj";
    match fs::write(path, adjust.to_string()) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            warnings
                .push(format!("process.oomScoreAdj: {adjust} needs CAP_SYS_RESOURCE; unchanged"));
            Ok(())
        }
        Err(error) => Err(Error::step("set process.oomScoreAdj")(error)),
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
    let finite = |value: u64| (value != u64::MAX).then_some(value);
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
    fn no_limit_is_above_every_limit() {
        assert_eq!(least(None, Some(5)), Some(5));
        assert_eq!(least(Some(3), None), Some(3));
        assert_eq!(least(Some(3), Some(5)), Some(3));
        assert_eq!(least(None, None), None);
    }
}
