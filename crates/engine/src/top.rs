//! Printing processes as `ps` does, without a `ps`: the same for both walls.
//!
//! Docker runs the host's `ps` with the client's arguments; behind a VM there is none to run. The
//! arguments that clients use are understood here, others are refused.
//!
//! Spec: ps(1) "STANDARD FORMAT SPECIFIERS", "OUTPUT FORMAT CONTROL".

use std::time::{Duration, SystemTime};

use spec::ProcessInfo;
use time::OffsetDateTime;

use crate::bundle::user::Accounts;
use crate::error::Error;
use crate::request::Top;

const FIELD: &str = "ps_args";

/// The columns to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format(Vec<(String, Column)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Pid,
    Ppid,
    User,
    Uid,
    Group,
    Gid,
    Comm,
    Args,
    State,
    Tty,
    Time,
    BsdTime,
    Elapsed,
    ElapsedSeconds,
    Start,
    Vsz,
    Rss,
    Cpu,
    CpuShare,
    Memory,
    Threads,
    Nice,
}

/// Names for `-o`, the heads that ps gives them, and what they print.
const COLUMNS: [(&str, &str, Column); 42] = [
    ("pid", "PID", Column::Pid),
    ("tgid", "TGID", Column::Pid),
    ("ppid", "PPID", Column::Ppid),
    ("user", "USER", Column::User),
    ("euser", "EUSER", Column::User),
    ("uname", "USER", Column::User),
    ("uid", "UID", Column::Uid),
    ("euid", "EUID", Column::Uid),
    ("group", "GROUP", Column::Group),
    ("egroup", "EGROUP", Column::Group),
    ("gid", "GID", Column::Gid),
    ("egid", "EGID", Column::Gid),
    ("comm", "COMMAND", Column::Comm),
    ("ucmd", "CMD", Column::Comm),
    ("ucomm", "COMMAND", Column::Comm),
    ("cmd", "CMD", Column::Args),
    ("args", "COMMAND", Column::Args),
    ("command", "COMMAND", Column::Args),
    ("stat", "STAT", Column::State),
    ("state", "S", Column::State),
    ("s", "S", Column::State),
    ("tty", "TT", Column::Tty),
    ("tt", "TT", Column::Tty),
    ("tname", "TTY", Column::Tty),
    ("time", "TIME", Column::Time),
    ("cputime", "TIME", Column::Time),
    ("bsdtime", "TIME", Column::BsdTime),
    ("etime", "ELAPSED", Column::Elapsed),
    ("etimes", "ELAPSED", Column::ElapsedSeconds),
    ("stime", "STIME", Column::Start),
    ("start_time", "START", Column::Start),
    ("start", "STARTED", Column::Start),
    ("vsz", "VSZ", Column::Vsz),
    ("vsize", "VSZ", Column::Vsz),
    ("rss", "RSS", Column::Rss),
    ("c", "C", Column::Cpu),
    ("pcpu", "%CPU", Column::CpuShare),
    ("%cpu", "%CPU", Column::CpuShare),
    ("pmem", "%MEM", Column::Memory),
    ("%mem", "%MEM", Column::Memory),
    ("nlwp", "NLWP", Column::Threads),
    ("ni", "NI", Column::Nice),
];

const FULL: [(&str, Column); 8] = [
    ("UID", Column::User),
    ("PID", Column::Pid),
    ("PPID", Column::Ppid),
    ("C", Column::Cpu),
    ("STIME", Column::Start),
    ("TTY", Column::Tty),
    ("TIME", Column::Time),
    ("CMD", Column::Args),
];
const USER: [(&str, Column); 11] = [
    ("USER", Column::User),
    ("PID", Column::Pid),
    ("%CPU", Column::CpuShare),
    ("%MEM", Column::Memory),
    ("VSZ", Column::Vsz),
    ("RSS", Column::Rss),
    ("TTY", Column::Tty),
    ("STAT", Column::State),
    ("START", Column::Start),
    ("TIME", Column::BsdTime),
    ("COMMAND", Column::Args),
];
const SHORT: [(&str, Column); 4] =
    [("PID", Column::Pid), ("TTY", Column::Tty), ("TIME", Column::Time), ("CMD", Column::Comm)];
const BSD: [(&str, Column); 5] = [
    ("PID", Column::Pid),
    ("TTY", Column::Tty),
    ("STAT", Column::State),
    ("TIME", Column::BsdTime),
    ("COMMAND", Column::Args),
];

impl Format {
    /// Reads ps's arguments. Which processes they select does not matter: it is the container's.
    pub(crate) fn parse(arguments: &str) -> Result<Self, Error> {
        let mut chosen: &[(&str, Column)] = &SHORT;
        let mut own = Vec::new();
        let mut words = arguments.split_whitespace().peekable();
        if words.peek().is_none() {
            chosen = &FULL;
        }
        while let Some(word) = words.next() {
            let unsupported = || Error::Unsupported { field: FIELD, problem: word.to_owned() };
            let (options, bsd) = match word.strip_prefix('-') {
                // An old way to write it that ps understands too.
                Some("aux") => ("aux", true),
                Some(options) => (options, false),
                None => (word, true),
            };
            if bsd {
                chosen = &BSD;
            }
            for (at, option) in options.char_indices() {
                match (option, bsd) {
                    ('e' | 'A' | 'a' | 'd' | 'x' | 'w', _) | ('f' | 'r', true) => {}
                    ('f', false) => chosen = &FULL,
                    ('u', true) => chosen = &USER,
                    ('o', _) => {
                        let rest = options.get(at + 1..).unwrap_or_default();
                        let list = if rest.is_empty() { words.next() } else { Some(rest) };
                        own.extend(columns(list.ok_or_else(unsupported)?)?);
                        break;
                    }
                    _ => return Err(unsupported()),
                }
            }
        }
        if own.is_empty() {
            own = chosen.iter().map(|(head, column)| ((*head).to_owned(), *column)).collect();
        }
        if !own.iter().any(|(_, column)| *column == Column::Pid) {
            let problem = "Couldn't find PID field in ps output".to_owned();
            return Err(Error::Invalid { field: FIELD, problem });
        }
        Ok(Self(own))
    }

    /// The processes in this format.
    pub(crate) fn print(
        &self,
        processes: &[ProcessInfo],
        accounts: &Accounts,
        now: SystemTime,
    ) -> Top {
        let host = Host { accounts, now, memory_kib: memory_kib() };
        let row = |process: &ProcessInfo| {
            self.0.iter().map(|(_, column)| host.cell(process, *column)).collect()
        };
        Top {
            titles: self.0.iter().map(|(head, _)| head.clone()).collect(),
            rows: processes.iter().map(row).collect(),
        }
    }
}

/// Reads `pid,comm=NAME`.
fn columns(list: &str) -> Result<Vec<(String, Column)>, Error> {
    list.split(',')
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (name, head) = word.split_once('=').map_or((word, None), |(n, h)| (n, Some(h)));
            let known = COLUMNS.iter().find(|(known, ..)| *known == name);
            let (_, title, column) = known.ok_or_else(|| Error::Unsupported {
                field: FIELD,
                problem: format!("column {name:?}"),
            })?;
            Ok((head.unwrap_or(title).to_owned(), *column))
        })
        .collect()
}

struct Host<'a> {
    accounts: &'a Accounts,
    now: SystemTime,
    /// Of the host: also a VM's processes take their memory there.
    memory_kib: u64,
}

impl Host<'_> {
    fn cell(&self, process: &ProcessInfo, column: Column) -> String {
        let name = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), str::to_owned);
        match column {
            Column::Pid => process.pid.to_string(),
            Column::Ppid => process.ppid.to_string(),
            Column::User => name(self.accounts.name(process.uid), process.uid),
            Column::Uid => process.uid.to_string(),
            Column::Group => name(self.accounts.group_name(process.gid), process.gid),
            Column::Gid => process.gid.to_string(),
            Column::Comm => process.comm.clone(),
            Column::Args if process.args.is_empty() => format!("[{}]", process.comm),
            Column::Args => process.args.join(" "),
            Column::State => process.state.to_string(),
            Column::Tty => process.tty.clone(),
            Column::Time => clock(process.cpu_ms / 1000),
            Column::BsdTime => {
                let seconds = process.cpu_ms / 1000;
                format!("{}:{:02}", seconds / 60, seconds % 60)
            }
            Column::Elapsed => elapsed(self.age(process).as_secs()),
            Column::ElapsedSeconds => self.age(process).as_secs().to_string(),
            Column::Start => self.start(process),
            Column::Vsz => process.vsz_kib.to_string(),
            Column::Rss => process.rss_kib.to_string(),
            Column::Cpu => (self.tenths_of_cpu(process) / 10).to_string(),
            Column::CpuShare => tenths(self.tenths_of_cpu(process)),
            Column::Memory => tenths(process.rss_kib * 1000 / self.memory_kib.max(1)),
            Column::Threads => process.threads.to_string(),
            Column::Nice => process.nice.to_string(),
        }
    }

    fn age(&self, process: &ProcessInfo) -> Duration {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(process.started);
        self.now.duration_since(started).unwrap_or_default()
    }

    /// Thousandths of a processor since its start.
    fn tenths_of_cpu(&self, process: &ProcessInfo) -> u64 {
        process.cpu_ms / self.age(process).as_secs().max(1)
    }

    /// The time for what started today, else the day; UTC.
    fn start(&self, process: &ProcessInfo) -> String {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(process.started);
        let (start, now) = (OffsetDateTime::from(started), OffsetDateTime::from(self.now));
        if start.date() == now.date() {
            return format!("{:02}:{:02}", start.hour(), start.minute());
        }
        let month = start.month().to_string();
        format!("{}{:02}", month.get(..3).unwrap_or(&month), start.day())
    }
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// `[days-]hh:mm:ss`.
fn clock(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let time = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days > 0 { format!("{days}-{time}") } else { time }
}

/// `[[days-]hh:]mm:ss`.
fn elapsed(seconds: u64) -> String {
    let text = clock(seconds);
    text.strip_prefix("00:").map_or(text.clone(), str::to_owned)
}

fn memory_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|total| total.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_that_people_type_are_understood() {
        let cases = [
            ("", Some("UID PID PPID C STIME TTY TIME CMD")),
            ("-ef", Some("UID PID PPID C STIME TTY TIME CMD")),
            ("aux", Some("USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND")),
            ("-aux", Some("USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND")),
            ("-o pid,comm", Some("PID COMMAND")),
            ("-eo pid,args=WHAT", Some("PID WHAT")),
            ("-opid -o user", Some("PID USER")),
            ("-e", Some("PID TTY TIME CMD")),
            ("ax", Some("PID TTY STAT TIME COMMAND")),
            ("-o comm", None),
            ("-o pid,nonsense", None),
            ("-o", None),
            ("--forest", None),
            ("-p 1", None),
        ];
        for (arguments, want) in cases {
            let heads = Format::parse(arguments).ok().map(|format| {
                format.0.into_iter().map(|(head, _)| head).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(heads.as_deref(), want, "{arguments}");
        }
    }

    #[test]
    fn a_process_looks_as_ps_shows_it() {
        let process = ProcessInfo {
            pid: 3964,
            ppid: 0,
            uid: 0,
            gid: 0,
            comm: "ping".into(),
            args: vec!["ping".into(), "localhost".into()],
            state: 'S',
            tty: "?".into(),
            started: 1_000_000,
            cpu_ms: 3_723_000,
            vsz_kib: 1,
            rss_kib: 1,
            threads: 1,
            nice: 0,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + 90_061);
        let print = |arguments| {
            let format = Format::parse(arguments).expect("known");
            format.print(std::slice::from_ref(&process), &Accounts::default(), now).rows.concat()
        };
        assert_eq!(print("-o pid,comm"), ["3964", "ping"]);
        assert_eq!(print(""), ["0", "3964", "0", "4", "Jan12", "?", "01:02:03", "ping localhost"]);
        assert_eq!(print("-o pid,etime"), ["3964", "1-01:01:01"]);
    }
}
