//! Processes as `/proc` describes them.
//!
//! See proc_pid_stat(5), proc_pid_status(5).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use spec::ProcessInfo;

/// The kernel's unit of time towards user space, on every architecture that Hull runs on.
const TICKS_PER_SECOND: u64 = 100;

/// What `/proc/PID/stat` says, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    comm: String,
    state: char,
    ppid: i32,
    tty: u32,
    cpu_ticks: u64,
    nice: i32,
    threads: u32,
    started: u64,
    vsz_bytes: u64,
    rss_pages: u64,
}

/// When a process started, in clock ticks since boot: field 22 of its `stat`.
///
/// # Errors
///
/// `ENOENT` or `ESRCH` when there is no such process.
pub fn start_time(pid: i32) -> io::Result<u64> {
    stat(pid).map(|stat| stat.started)
}

/// A pidfd of the process `pid` that started at `started`; `None` when it has ended, be it a zombie.
pub(crate) fn open(pid: i32, started: u64) -> io::Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The number may mean another process by now; the descriptor no longer changes.
    match stat(pid) {
        Ok(stat) if stat.started == started && !matches!(stat.state, 'Z' | 'X') => Ok(Some(pidfd)),
        Ok(_) => Ok(None),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Describes the processes; those that ended meanwhile are left out.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn describe(pids: &[i32]) -> io::Result<Vec<ProcessInfo>> {
    let boot = boot_time()?;
    let mut list: Vec<ProcessInfo> = Vec::with_capacity(pids.len());
    for pid in pids {
        match one(*pid, boot) {
            Ok(info) => list.push(info),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    // A parent outside the container is nobody's business inside.
    let known: Vec<i32> = list.iter().map(|info| info.pid).collect();
    for info in &mut list {
        if !known.contains(&info.ppid) {
            info.ppid = 0;
        }
    }
    Ok(list)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn one(pid: i32, boot: u64) -> io::Result<ProcessInfo> {
    let stat = stat(pid)?;
    let owner = fs::metadata(format!("/proc/{pid}"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let effective = |name: &str, or: u32| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(or)
    };
    let args = fs::read(format!("/proc/{pid}/cmdline"))?;
    let args = args
        .strip_suffix(b"\0")
        .map(|args| {
            args.split(|byte| *byte == 0).map(|a| String::from_utf8_lossy(a).into()).collect()
        })
        .unwrap_or_default();
    Ok(ProcessInfo {
        pid,
        ppid: stat.ppid,
        uid: effective("Uid:", owner.uid()),
        gid: effective("Gid:", owner.gid()),
        comm: stat.comm,
        args,
        state: stat.state,
        tty: terminal(stat.tty),
        started: boot + stat.started / TICKS_PER_SECOND,
        cpu_ms: stat.cpu_ticks * 1000 / TICKS_PER_SECOND,
        vsz_kib: stat.vsz_bytes / 1024,
        rss_kib: stat.rss_pages * (rustix::param::page_size() as u64 / 1024),
        threads: stat.threads,
        nice: stat.nice,
    })
}

fn stat(pid: i32) -> io::Result<Stat> {
    let bytes = fs::read(format!("/proc/{pid}/stat"))?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat"));
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(invalid)
}

/// Parses a `stat` line. The name may hold anything, spaces and parentheses too: it ends at the last
/// closing one.
fn parse(line: &str) -> Option<Stat> {
    fn read<T: std::str::FromStr>(field: Option<&str>) -> Option<T> {
        field?.parse().ok()
    }
    let (start, rest) = line.rsplit_once(") ")?;
    let (_, comm) = start.split_once(" (")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Field 3 of the manual is the first one here.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        comm: comm.to_owned(),
        state: field(3)?.chars().next()?,
        ppid: read(field(4))?,
        tty: read::<i32>(field(7))?.cast_unsigned(),
        cpu_ticks: read::<u64>(field(14))? + read::<u64>(field(15))?,
        nice: read(field(19))?,
        threads: read(field(20))?,
        started: read(field(22))?,
        vsz_bytes: read(field(23))?,
        rss_pages: read(field(24))?,
    })
}

/// A controlling terminal's device number as `ps` prints it.
fn terminal(device: u32) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

/// When the system was booted, in seconds since 1970.
fn boot_time() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no btime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_confuse() {
        let line =
            "7 (a) b (c) S 1 7 7 34816 7 4194304 95 0 0 0 12 30 0 0 20 -5 3 0 2212 4096 9 1\n";
        let stat = parse(line).expect("a stat line");
        assert_eq!((stat.comm.as_str(), stat.state, stat.ppid), ("a) b (c", 'S', 1));
        assert_eq!((stat.cpu_ticks, stat.nice, stat.threads, stat.started), (42, -5, 3, 2212));
        assert_eq!((stat.vsz_bytes, stat.rss_pages), (4096, 9));
        assert_eq!(terminal(stat.tty), "pts/0");
    }

    #[test]
    fn terminals_are_named_as_ps_names_them() {
        for (device, name) in [
            (0, "?"),
            (34818, "pts/2"),
            (0x8900, "pts/256"),
            (0x0501, "console"),
            (0x0440, "ttyS0"),
            (0x0401, "tty1"),
        ] {
            assert_eq!(terminal(device), name, "{device:#x}");
        }
    }

    #[test]
    fn this_process_is_described() {
        let pid = std::process::id().cast_signed();
        let list = describe(&[pid, i32::MAX]).expect("readable");
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].pid, list[0].ppid), (pid, 0));
        assert!(!list[0].args.is_empty());
        assert!(open(pid, start_time(pid).expect("alive")).expect("opens").is_some());
        assert!(open(pid, 1).expect("opens").is_none());
    }
}
