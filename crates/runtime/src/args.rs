//! The command line, parsed: runc's commands and flags.

mod criu;
mod flag;
mod help;
mod table;

use std::ffi::OsString;
use std::path::PathBuf;

use spec::{ContainerId, Signal};

use crate::command::{events, update};

pub(crate) use criu::{Checkpoint, Criu, Restore};
pub(crate) use flag::{Command, Line};
pub(crate) use help::text as help;

/// Flags before the command.
#[derive(Debug)]
pub(crate) struct Global {
    /// Where the containers' state is; `None` for the default place.
    pub(crate) root: Option<PathBuf>,
    /// File to log to.
    pub(crate) log: Option<PathBuf>,
    /// How.
    pub(crate) log_format: LogFormat,
    /// Log more.
    pub(crate) debug: bool,
    /// Cgroups by way of systemd.
    pub(crate) systemd_cgroup: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// `--format` of `list` and `ps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

/// One command with its flags and arguments.
#[derive(Debug)]
pub(crate) enum Action {
    Checkpoint(Checkpoint),
    Create(Create),
    CreateScratch(CreateScratch),
    Run { create: Create, keep: bool, detach: bool, subreaper: bool },
    Start { id: ContainerId },
    State { id: ContainerId },
    Kill { id: ContainerId, signal: Option<Signal>, all: bool },
    Delete { id: ContainerId, force: bool },
    Exec(Box<Exec>),
    List { format: Format, quiet: bool },
    Ps { id: ContainerId, format: Format, arguments: Vec<OsString> },
    Pause { id: ContainerId },
    Restore(Box<Restore>),
    Resume { id: ContainerId },
    ResizeTty { id: ContainerId, columns: u16, rows: u16 },
    Update(Box<update::Flags>),
    Events(events::Flags),
    Spec { bundle: PathBuf, rootless: bool },
    Features,
    Version,
    Help(Option<&'static Command>),
}

/// Flags of `create`, and of `run` too.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    pub(crate) vm: OfVm,
}

/// Those that are about its VM.
#[derive(Debug, Default)]
pub(crate) struct OfVm {
    /// The container in whose VM it is made.
    pub(crate) host: Option<ContainerId>,
    /// Where the VM's log goes.
    pub(crate) log: Option<PathBuf>,
    /// Where its console can be read.
    pub(crate) console: Option<PathBuf>,
}

impl OfVm {
    /// One that is given, as it is written.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--host", self.host.is_some()),
            ("--vm-log", self.log.is_some()),
            ("--vm-console", self.console.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

/// Flags of `create-scratch`.
#[derive(Debug)]
pub(crate) struct CreateScratch {
    /// Where; nothing is there yet.
    pub(crate) path: PathBuf,
    /// The most that is written there, in GiB.
    pub(crate) gib: Option<u32>,
}

/// Flags of `exec`.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: ContainerId,
    pub(crate) process: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) detach: bool,
    pub(crate) tty: bool,
    pub(crate) user: Option<String>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) caps: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) apparmor: Option<String>,
    pub(crate) process_label: Option<String>,
    pub(crate) no_new_privs: Option<bool>,
    pub(crate) cgroups: Vec<String>,
    pub(crate) ignore_paused: bool,
    pub(crate) args: Vec<String>,
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No such flag.
    #[error("flag provided but not defined: -{0}")]
    Undefined(String),
    /// A flag at the end that needs a value.
    #[error("flag needs an argument: -{0}")]
    NoValue(&'static str),
    /// A value that the flag does not take.
    #[error("invalid value {value:?} for flag --{flag}: want {want}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        want: &'static str,
    },
    /// Too few or too many arguments.
    #[error("{command:?} requires {}", count(*.least, *.most))]
    Count {
        /// The command.
        command: &'static str,
        /// How many it takes at least.
        least: usize,
        /// And at most.
        most: usize,
    },
    /// An argument that is not UTF-8.
    #[error("argument {0:?} is not UTF-8")]
    Text(String),
    /// No such command; the words are those of runc.
    #[error("unknown command: No help topic for '{0}'")]
    Unknown(String),
    /// The id is missing.
    #[error("container id cannot be empty")]
    NoId,
    /// The id cannot name a container.
    #[error("invalid container ID format")]
    Id(#[from] spec::id::InvalidId),
    /// No signal of Linux.
    #[error("unknown signal")]
    Signal(#[from] spec::signal::InvalidSignal),
    /// `exec` without a program.
    #[error("exec args cannot be empty")]
    NoProgram,
    /// The root directory of the machine cannot hold the state.
    #[error("--root: should not be set to /")]
    Root,
}

impl Error {
    pub(crate) fn value(flag: &'static str, value: &str, want: &'static str) -> Self {
        Self::Value { flag, value: value.to_owned(), want }
    }
}

fn count(least: usize, most: usize) -> String {
    match (least, most) {
        (least, most) if least == most => format!("exactly {least} argument(s)"),
        (least, usize::MAX) => format!("a minimum of {least} argument(s)"),
        (_, most) => format!("a maximum of {most} argument(s)"),
    }
}

/// Parses the program's arguments.
pub(crate) fn parse() -> Result<(Global, Action), Error> {
    parse_from(std::env::args_os().skip(1).collect())
}

fn parse_from(arguments: Vec<OsString>) -> Result<(Global, Action), Error> {
    let line = Line::read(table::GLOBAL, arguments, true)?;
    let global = global(&line)?;
    if line.switch("help") {
        return Ok((global, Action::Help(None)));
    }
    if line.switch("version") {
        return Ok((global, Action::Version));
    }
    let mut arguments = line.arguments.into_iter();
    let Some(name) = arguments.next() else { return Ok((global, Action::Help(None))) };
    let name = flag::text(name)?;
    if name == "help" || name == "h" {
        let topic = arguments.next().map(flag::text).transpose()?;
        let command = topic.map(|topic| table::find(&topic).ok_or(Error::Unknown(topic)));
        return Ok((global, Action::Help(command.transpose()?)));
    }
    let command = table::find(&name).ok_or(Error::Unknown(name))?;
    let line = command.parse(arguments.collect())?;
    if line.help {
        return Ok((global, Action::Help(Some(command))));
    }
    Ok((global, action(command.name, line)?))
}

fn global(line: &Line) -> Result<Global, Error> {
    let log_format = match line.text("log-format")?.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => return Err(Error::value("log-format", other, "text or json")),
    };
    // What a user may do with cgroups is found out where it is tried; the flag need only make sense.
    match line.text("rootless")?.unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "auto" | "true" | "t" | "1" | "false" | "f" | "0" => {}
        other => return Err(Error::value("rootless", other, "true, false or auto")),
    }
    Ok(Global {
        root: if line.given("root") { Some(root(line)?) } else { None },
        log: line.path("log"),
        log_format,
        debug: line.switch("debug"),
        systemd_cgroup: line.switch("systemd-cgroup"),
    })
}

/// `--root`, made absolute.
fn root(line: &Line) -> Result<PathBuf, Error> {
    let path = line.path("root").unwrap_or_default();
    let absolute = std::path::absolute(&path).map_err(|_| Error::Root)?;
    if absolute.components().count() < 2 { Err(Error::Root) } else { Ok(absolute) }
}

fn action(command: &str, mut line: Line) -> Result<Action, Error> {
    match command {
        "checkpoint" => Ok(Action::Checkpoint(criu::checkpoint(&mut line)?)),
        "restore" => Ok(Action::Restore(Box::new(criu::restore(&mut line)?))),
        "create" => Ok(Action::Create(create(&mut line)?)),
        "create-scratch" => Ok(Action::CreateScratch(scratch(&line)?)),
        "run" => Ok(Action::Run {
            create: create(&mut line)?,
            keep: line.switch("keep"),
            detach: line.switch("detach"),
            subreaper: !line.switch("no-subreaper"),
        }),
        "exec" => exec(line),
        "kill" => kill(line),
        "list" => Ok(Action::List { format: format(&line)?, quiet: line.switch("quiet") }),
        "ps" => {
            let format = format(&line)?;
            Ok(Action::Ps { id: id(&mut line)?, format, arguments: line.arguments })
        }
        "start" => Ok(Action::Start { id: id(&mut line)? }),
        "state" => Ok(Action::State { id: id(&mut line)? }),
        "pause" => Ok(Action::Pause { id: id(&mut line)? }),
        "resize-tty" => resize(line),
        "resume" => Ok(Action::Resume { id: id(&mut line)? }),
        "update" => Ok(Action::Update(Box::new(update::flags(id(&mut line)?, &line)?))),
        "events" => Ok(Action::Events(events::flags(id(&mut line)?, &line)?)),
        "delete" => Ok(Action::Delete { force: line.switch("force"), id: id(&mut line)? }),
        "features" => Ok(Action::Features),
        "spec" => Ok(Action::Spec { bundle: bundle(&line), rootless: line.switch("rootless") }),
        other => Err(Error::Unknown(other.to_owned())),
    }
}

/// Takes the container's name, the first argument.
fn id(line: &mut Line) -> Result<ContainerId, Error> {
    if line.arguments.is_empty() {
        return Err(Error::NoId);
    }
    let text = flag::text(line.arguments.remove(0))?;
    if text.is_empty() { Err(Error::NoId) } else { Ok(text.parse()?) }
}

fn bundle(line: &Line) -> PathBuf {
    line.path("bundle").unwrap_or_else(|| PathBuf::from("."))
}

fn format(line: &Line) -> Result<Format, Error> {
    match line.text("format")?.as_deref() {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(Error::value("format", other, "table or json")),
    }
}

fn create(line: &mut Line) -> Result<Create, Error> {
    Ok(Create {
        id: id(line)?,
        bundle: bundle(line),
        console_socket: line.path("console-socket"),
        pidfd_socket: line.path("pidfd-socket"),
        pid_file: line.path("pid-file"),
        preserve_fds: line.number("preserve-fds")?.unwrap_or(0),
        no_pivot: line.switch("no-pivot"),
        no_new_keyring: line.switch("no-new-keyring"),
        vm: of_vm(line)?,
    })
}

fn of_vm(line: &Line) -> Result<OfVm, Error> {
    let host = line.text("host")?.map(|text| text.parse()).transpose()?;
    Ok(OfVm { host, log: line.path("vm-log"), console: line.path("vm-console") })
}

fn scratch(line: &Line) -> Result<CreateScratch, Error> {
    /// What an ext4 with blocks of 4096 bytes holds.
    const MOST: u32 = 16 << 10;
    let missing = || Error::value("destpath", "", "the path of the new scratch space");
    let path = line.path("destpath").filter(|path| !path.as_os_str().is_empty());
    // runhcs's 0 stands for no wish.
    let gib = line.number::<u32>("sizeGB")?.filter(|gib| *gib > 0);
    if let Some(gib) = gib.filter(|gib| *gib > MOST) {
        return Err(Error::value("sizeGB", &gib.to_string(), "1 to 16384"));
    }
    Ok(CreateScratch { path: path.ok_or_else(missing)?, gib })
}

fn exec(mut line: Line) -> Result<Action, Error> {
    let id = id(&mut line)?;
    let mut rest = std::mem::take(&mut line.arguments);
    // runc's users write `exec ID -- program` as well.
    if rest.first().is_some_and(|first| first == "--") {
        rest.remove(0);
    }
    let process = line.path("process");
    if rest.is_empty() && process.is_none() {
        return Err(Error::NoProgram);
    }
    let gids = line.list("additional-gids")?;
    Ok(Action::Exec(Box::new(Exec {
        id,
        process,
        console_socket: line.path("console-socket"),
        pidfd_socket: line.path("pidfd-socket"),
        pid_file: line.path("pid-file"),
        preserve_fds: line.number("preserve-fds")?.unwrap_or(0),
        detach: line.switch("detach"),
        tty: line.switch("tty"),
        user: line.text("user")?,
        additional_gids: gids
            .iter()
            .map(|gid| flag::number("additional-gids", gid))
            .collect::<Result<_, _>>()?,
        caps: line.list("cap")?,
        env: line.list("env")?,
        cwd: line.path("cwd"),
        apparmor: line.text("apparmor")?,
        process_label: line.text("process-label")?,
        no_new_privs: line.given("no-new-privs").then(|| line.switch("no-new-privs")),
        cgroups: line.list("cgroup")?,
        ignore_paused: line.switch("ignore-paused"),
        args: rest.into_iter().map(flag::text).collect::<Result<_, _>>()?,
    })))
}

fn resize(mut line: Line) -> Result<Action, Error> {
    let id = id(&mut line)?;
    let mut size = |name: &'static str| {
        let text = flag::text(line.arguments.remove(0))?;
        let number = text.parse::<u16>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| Error::value(name, &text, "a number of characters, 1 to 65535"))
    };
    Ok(Action::ResizeTty { id, columns: size("width")?, rows: size("height")? })
}

fn kill(mut line: Line) -> Result<Action, Error> {
    let id = id(&mut line)?;
    let signal = match line.arguments.pop().map(flag::text).transpose()?.as_deref() {
        None | Some("") => Some(Signal::TERM),
        // Only asks whether there is a process, as kill(2) does.
        Some("0") => None,
        Some(text) => Some(text.parse()?),
    };
    Ok(Action::Kill { id, signal, all: line.switch("all") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Global, Action), Error> {
        parse_from(line.split_whitespace().map(Into::into).collect())
    }

    #[test]
    fn flags_are_where_runc_has_them() {
        let (global, action) =
            parse("--root /r -log /l --log-format=json create -b /b --pid-file /p web")
                .expect("valid");
        assert_eq!(global.root, Some("/r".into()));
        assert_eq!(global.log_format, LogFormat::Json);
        let Action::Create(create) = action else { panic!("{action:?}") };
        assert_eq!((create.id.as_str(), create.bundle), ("web", PathBuf::from("/b")));
    }

    #[test]
    fn what_follows_the_id_belongs_to_the_program() {
        for line in ["exec -t --user 1:2 web ls -l -t", "exec -t -u=1:2 web -- ls -l -t"] {
            let (_, action) = parse(line).expect("valid");
            let Action::Exec(exec) = action else { panic!("{action:?}") };
            assert!(exec.tty);
            assert_eq!(exec.user.as_deref(), Some("1:2"));
            assert_eq!(exec.args, ["ls", "-l", "-t"]);
        }
        let Action::Ps { arguments, .. } = parse("ps web -e -x").expect("valid").1 else {
            panic!()
        };
        assert_eq!(arguments, ["-e", "-x"]);
    }

    #[test]
    fn a_switch_that_is_off_is_told_from_one_not_given() {
        for (line, want) in [
            ("exec web true", None),
            ("exec --no-new-privs web true", Some(true)),
            ("exec --no-new-privs=false web true", Some(false)),
        ] {
            let Action::Exec(exec) = parse(line).expect("valid").1 else { panic!("{line}") };
            assert_eq!(exec.no_new_privs, want, "{line}");
        }
    }

    #[test]
    fn kill_sends_sigterm_unless_told() {
        for (line, want) in [
            ("kill web", Some(15)),
            ("kill web KILL", Some(9)),
            ("kill web sigusr1", Some(10)),
            ("kill web RTMIN+1", Some(35)),
            ("kill --all web 1", Some(1)),
            ("kill web 0", None),
        ] {
            let Action::Kill { signal, .. } = parse(line).expect("valid").1 else { panic!() };
            assert_eq!(signal.map(Signal::number), want, "{line}");
        }
    }

    #[test]
    fn help_is_for_all_or_for_one() {
        for (line, want) in [
            ("", None),
            ("-h", None),
            ("help", None),
            ("--debug --help start", None),
            ("help run", Some("run")),
            ("run --help", Some("run")),
            ("run -h web", Some("run")),
        ] {
            let Action::Help(command) = parse(line).expect("valid").1 else { panic!("{line}") };
            assert_eq!(command.map(|command| command.name), want, "{line}");
        }
        assert!(matches!(parse("-v").expect("valid").1, Action::Version));
    }

    #[test]
    fn limits_are_checked_when_they_are_read() {
        let line = "update --memory 64M --memory-swap -1 --cpu-share=512 --pids-limit -1 web";
        let Action::Update(flags) = parse(line).expect("valid").1 else { panic!() };
        assert_eq!(flags.id.as_str(), "web");
        for line in ["update", "update --cpu-share x web", "update --memory 1z web"] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in ["events --interval 0s web", "events --interval x web"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in [
            "fly web",
            "help fly",
            "start",
            "start a b",
            "start ../a",
            "create --no-such-flag web",
            "kill web NOSUCH",
            "kill web TERM more",
            "list --format xml",
            "create-scratch",
            "create-scratch --destpath= ",
            "create-scratch --destpath /x more",
            "create-scratch --destpath /x --sizeGB 16385",
            "create-scratch --destpath /x --sizeGB -1",
            "exec web",
            "exec -g -1 web true",
            "--root / list",
            "--root= list",
            "--log-format xml list",
            "--rootless maybe list",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
