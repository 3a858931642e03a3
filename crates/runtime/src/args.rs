//! The command line, parsed: runc's flags.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use spec::{ContainerId, Signal};

/// Flags before the command.
#[derive(Debug)]
pub(crate) struct Global {
    /// Where the containers' state is.
    pub(crate) root: PathBuf,
    /// File to log to.
    pub(crate) log: Option<PathBuf>,
    /// How.
    pub(crate) log_format: LogFormat,
    /// Log more.
    pub(crate) debug: bool,
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
    Create(Create),
    Run { create: Create, keep: bool, detach: bool },
    Start { id: ContainerId },
    State { id: ContainerId },
    Kill { id: ContainerId, signal: Signal, all: bool },
    Delete { id: ContainerId, force: bool },
    Exec(Box<Exec>),
    List { format: Format, quiet: bool },
    Ps { id: ContainerId, format: Format },
    Pause { id: ContainerId },
    Resume { id: ContainerId },
    Spec { bundle: PathBuf },
    Version,
    Help,
}

/// Flags of `create`, and of `run` too.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
}

/// Flags of `exec`.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: ContainerId,
    pub(crate) process: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) detach: bool,
    pub(crate) tty: bool,
    pub(crate) user: Option<String>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) caps: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) no_new_privs: bool,
    pub(crate) args: Vec<String>,
}

/// What is wrong with a command line.
pub(crate) type Error = lexopt::Error;

/// Parses the program's arguments.
pub(crate) fn parse() -> Result<(Global, Action), Error> {
    parse_from(lexopt::Parser::from_env())
}

fn parse_from(mut parser: lexopt::Parser) -> Result<(Global, Action), Error> {
    let mut global = Global {
        root: PathBuf::from("/run/hull/runtime"),
        log: None,
        log_format: LogFormat::Text,
        debug: false,
    };
    loop {
        let argument = parser.next()?;
        match argument {
            None | Some(Short('h') | Long("help")) => return Ok((global, Action::Help)),
            Some(Short('v') | Long("version")) => return Ok((global, Action::Version)),
            Some(Value(name)) => {
                let action = command(&mut parser, &name.string()?)?;
                return Ok((global, action));
            }
            Some(Long("root")) => global.root = parser.value()?.into(),
            Some(Long("log")) => global.log = Some(parser.value()?.into()),
            Some(Long("log-format")) => global.log_format = log_format(parser.value()?)?,
            Some(Long("debug")) => global.debug = flag(&mut parser)?,
            Some(Long("systemd-cgroup")) => {
                if flag(&mut parser)? {
                    return Err("--systemd-cgroup: not supported".into());
                }
            }
            Some(Long("rootless")) => {
                // Hull finds out by itself what it may do.
                parser.value()?;
            }
            // Kept for callers that pass it: runc ignores it too.
            Some(Long("criu")) => drop(parser.value()?),
            Some(other) => return Err(other.unexpected()),
        }
    }
}

fn log_format(value: OsString) -> Result<LogFormat, Error> {
    match value.string()?.as_str() {
        "text" | "" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("--log-format: {other:?} is not text or json").into()),
    }
}

fn format(value: OsString) -> Result<Format, Error> {
    match value.string()?.as_str() {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        other => Err(format!("--format: {other:?} is not table or json").into()),
    }
}

/// A switch, also written `--flag=true` and `--flag=false`.
fn flag(parser: &mut lexopt::Parser) -> Result<bool, Error> {
    match parser.optional_value() {
        None => Ok(true),
        Some(value) => match value.string()?.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(format!("{other:?} is not true or false").into()),
        },
    }
}

fn command(parser: &mut lexopt::Parser, name: &str) -> Result<Action, Error> {
    match name {
        "create" => {
            let (create, _, _) = create(parser, false)?;
            Ok(Action::Create(create))
        }
        "run" => {
            let (create, detach, keep) = create(parser, true)?;
            Ok(Action::Run { create, keep, detach })
        }
        "exec" => exec(parser),
        "kill" => kill(parser),
        "list" => list(parser),
        "ps" => ps(parser),
        "start" => Ok(Action::Start { id: only_id(parser)? }),
        "state" => Ok(Action::State { id: only_id(parser)? }),
        "pause" => Ok(Action::Pause { id: only_id(parser)? }),
        "resume" => Ok(Action::Resume { id: only_id(parser)? }),
        "delete" => delete(parser),
        "spec" => spec(parser),
        "help" => Ok(Action::Help),
        other => Err(format!("unknown command {other:?}; see hull-runtime --help").into()),
    }
}

fn id(value: OsString) -> Result<ContainerId, Error> {
    value.string()?.parse().map_err(|error: spec::id::InvalidId| error.to_string().into())
}

/// The container's name, which must have been given.
fn required(id: Option<ContainerId>) -> Result<ContainerId, Error> {
    id.ok_or_else(|| "the container's id is missing".into())
}

fn only_id(parser: &mut lexopt::Parser) -> Result<ContainerId, Error> {
    let mut name = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Value(value) if name.is_none() => name = Some(id(value)?),
            other => return Err(other.unexpected()),
        }
    }
    required(name)
}

fn create(parser: &mut lexopt::Parser, run: bool) -> Result<(Create, bool, bool), Error> {
    let (mut name, mut detach, mut keep) = (None, false, false);
    let mut bundle = PathBuf::from(".");
    let (mut console_socket, mut pid_file, mut preserve_fds) = (None, None, 0);
    let (mut no_pivot, mut no_new_keyring) = (false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('b') | Long("bundle") => bundle = parser.value()?.into(),
            Long("console-socket") => console_socket = Some(parser.value()?.into()),
            Long("pid-file") => pid_file = Some(parser.value()?.into()),
            Long("preserve-fds") => preserve_fds = parser.value()?.parse()?,
            Long("no-pivot") => no_pivot = flag(parser)?,
            Long("no-new-keyring") => no_new_keyring = flag(parser)?,
            // What `run` leaves to `create`'s caller: the shim is a subreaper in any case.
            Long("no-subreaper") if run => drop(flag(parser)?),
            Short('d') | Long("detach") if run => detach = flag(parser)?,
            Long("keep") if run => keep = flag(parser)?,
            Value(value) if name.is_none() => name = Some(id(value)?),
            other => return Err(other.unexpected()),
        }
    }
    let id = required(name)?;
    let create =
        Create { id, bundle, console_socket, pid_file, preserve_fds, no_pivot, no_new_keyring };
    Ok((create, detach, keep))
}

fn exec(parser: &mut lexopt::Parser) -> Result<Action, Error> {
    let mut name = None;
    let (mut process, mut console_socket, mut pid_file, mut preserve_fds) = (None, None, None, 0);
    let (mut detach, mut tty, mut no_new_privs) = (false, false, false);
    let (mut user, mut cwd) = (None, None);
    let (mut caps, mut env, mut additional_gids) = (Vec::new(), Vec::new(), Vec::new());
    let mut args = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('p') | Long("process") => process = Some(parser.value()?.into()),
            Long("console-socket") => console_socket = Some(parser.value()?.into()),
            Long("pid-file") => pid_file = Some(parser.value()?.into()),
            Long("preserve-fds") => preserve_fds = parser.value()?.parse()?,
            Short('d') | Long("detach") => detach = flag(parser)?,
            Short('t') | Long("tty") => tty = flag(parser)?,
            Long("no-new-privs") => no_new_privs = flag(parser)?,
            Short('u') | Long("user") => user = Some(parser.value()?.string()?),
            Short('g') | Long("additional-gids") => additional_gids.push(parser.value()?.parse()?),
            Short('c') | Long("cap") => caps.push(parser.value()?.string()?),
            Short('e') | Long("env") => env.push(parser.value()?.string()?),
            Long("cwd") => cwd = Some(parser.value()?.into()),
            Value(value) => {
                name = Some(id(value)?);
                args = parser.raw_args()?.map(ValueExt::string).collect::<Result<_, _>>()?;
                break;
            }
            other => return Err(other.unexpected()),
        }
    }
    let id = required(name)?;
    // runc's users write `exec ID -- program` as well.
    if args.first().is_some_and(|first| first == "--") {
        args.remove(0);
    }
    if args.is_empty() && process.is_none() {
        return Err("the program to execute is missing".into());
    }
    Ok(Action::Exec(Box::new(Exec {
        id,
        process,
        console_socket,
        pid_file,
        preserve_fds,
        detach,
        tty,
        user,
        additional_gids,
        caps,
        env,
        cwd,
        no_new_privs,
        args,
    })))
}

fn kill(parser: &mut lexopt::Parser) -> Result<Action, Error> {
    let (mut name, mut signal, mut all) = (None, None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('a') | Long("all") => all = flag(parser)?,
            Value(value) if name.is_none() => name = Some(id(value)?),
            Value(value) if signal.is_none() => {
                let parsed: Result<Signal, _> = value.string()?.parse();
                signal = Some(parsed.map_err(|error| error.to_string())?);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Kill { id: required(name)?, signal: signal.unwrap_or(Signal::TERM), all })
}

fn delete(parser: &mut lexopt::Parser) -> Result<Action, Error> {
    let (mut name, mut force) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("force") => force = flag(parser)?,
            Value(value) if name.is_none() => name = Some(id(value)?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Delete { id: required(name)?, force })
}

fn list(parser: &mut lexopt::Parser) -> Result<Action, Error> {
    let (mut shape, mut quiet) = (Format::Table, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("format") => shape = format(parser.value()?)?,
            Short('q') | Long("quiet") => quiet = flag(parser)?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::List { format: shape, quiet })
}

fn ps(parser: &mut lexopt::Parser) -> Result<Action, Error> {
    let (mut name, mut shape) = (None, Format::Table);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('f') | Long("format") => shape = format(parser.value()?)?,
            Value(value) if name.is_none() => name = Some(id(value)?),
            // Options for ps(1): `-ef` is the one table that there is.
            Value(value) if value == "-ef" => {}
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Ps { id: required(name)?, format: shape })
}

fn spec(parser: &mut lexopt::Parser) -> Result<Action, Error> {
    let mut bundle = PathBuf::from(".");
    while let Some(argument) = parser.next()? {
        match argument {
            Short('b') | Long("bundle") => bundle = parser.value()?.into(),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Action::Spec { bundle })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Global, Action), Error> {
        parse_from(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn flags_are_where_runc_has_them() {
        let (global, action) =
            parse("--root /r --log /l --log-format json create -b /b --pid-file /p web")
                .expect("valid");
        assert_eq!(global.root, PathBuf::from("/r"));
        assert_eq!(global.log_format, LogFormat::Json);
        let Action::Create(create) = action else { panic!("{action:?}") };
        assert_eq!((create.id.as_str(), create.bundle), ("web", PathBuf::from("/b")));
    }

    #[test]
    fn what_follows_the_id_belongs_to_the_program() {
        let (_, action) = parse("exec -t --user 1:2 web ls -l --color").expect("valid");
        let Action::Exec(exec) = action else { panic!("{action:?}") };
        assert!(exec.tty);
        assert_eq!(exec.args, ["ls", "-l", "--color"]);
    }

    #[test]
    fn kill_sends_sigterm_unless_told() {
        for (line, want) in [("kill web", 15), ("kill web KILL", 9), ("kill --all web 1", 1)] {
            let Action::Kill { signal, .. } = parse(line).expect("valid").1 else { panic!() };
            assert_eq!(signal.number(), want, "{line}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in [
            "fly web",
            "start",
            "start a b",
            "start ../a",
            "create --no-such-flag web",
            "kill web NOSUCH",
            "--systemd-cgroup create web",
            "list --format xml",
            "exec web",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
