//! The shim's command line, as containerd writes it: Go's flags, then one word.
//!
//! Spec: containerd, core/runtime/v2/README.md "Commands".

use std::path::PathBuf;

use spec::ContainerId;
use spec::id::InvalidId;

/// What the program was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Leave a server behind and print its address.
    Start(Target),
    /// Be that server, on the listening socket that is standard input.
    Serve(Target),
    /// Remove what a killed server left.
    Delete(Target),
    /// Print the version.
    Version,
}

/// Which container it is about, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// containerd's namespace; `hull` from our own engine.
    pub(crate) namespace: String,
    /// The container.
    pub(crate) id: ContainerId,
    /// The caller's own socket; only tells callers apart.
    pub(crate) address: String,
    /// The bundle's directory; the working directory when absent.
    pub(crate) bundle: Option<PathBuf>,
    /// The server's address, `unix://PATH`; only for [`Command::Serve`].
    pub(crate) socket: Option<String>,
    /// Log more.
    pub(crate) debug: bool,
}

/// The command line is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// No such flag.
    #[error("unknown flag -{0}")]
    UnknownFlag(String),
    /// The flag wants a value.
    #[error("flag -{0} has no value")]
    NoValue(String),
    /// Not a boolean.
    #[error("flag -{flag}: {value:?} is neither true nor false")]
    NotBool { flag: String, value: String },
    /// The command is none.
    #[error("unknown command {0:?}: want start or delete")]
    UnknownCommand(String),
    /// No command.
    #[error("no command: want start or delete")]
    NoCommand,
    /// A flag is missing.
    #[error("flag -{0} is missing")]
    Missing(&'static str),
    /// The id names no container.
    #[error("flag -id")]
    Id(#[source] InvalidId),
}

/// The flags as they were found.
#[derive(Default)]
struct Flags {
    namespace: Option<String>,
    id: Option<String>,
    address: Option<String>,
    bundle: Option<String>,
    socket: Option<String>,
    debug: bool,
    version: bool,
}

impl Command {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut args = args.into_iter();
        let mut flags = Flags::default();
        let mut words = Vec::new();
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) {
                Some(flag) => flags.take(flag, &mut args)?,
                None => words.push(arg),
            }
        }
        if flags.version {
            return Ok(Self::Version);
        }
        let word = words.pop().ok_or(Error::NoCommand)?;
        match word.as_str() {
            "start" => flags.target().map(Self::Start),
            "serve" => flags.target().map(Self::Serve),
            "delete" => flags.target().map(Self::Delete),
            _ => Err(Error::UnknownCommand(word)),
        }
    }
}

impl Flags {
    fn take(&mut self, flag: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), Error> {
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let switch = match name {
            "debug" => Some(&mut self.debug),
            "v" => Some(&mut self.version),
            _ => None,
        };
        if let Some(switch) = switch {
            *switch = boolean(name, inline.as_deref())?;
            return Ok(());
        }
        let slot = match name {
            "namespace" => &mut self.namespace,
            "id" => &mut self.id,
            "address" => &mut self.address,
            "bundle" => &mut self.bundle,
            "socket" => &mut self.socket,
            // containerd's own program for events; we use its socket, TTRPC_ADDRESS.
            "publish-binary" => &mut None,
            _ => return Err(Error::UnknownFlag(name.to_owned())),
        };
        let value = inline.or_else(|| rest.next());
        *slot = Some(value.ok_or_else(|| Error::NoValue(name.to_owned()))?);
        Ok(())
    }

    fn target(self) -> Result<Target, Error> {
        let id = self.id.ok_or(Error::Missing("id"))?;
        Ok(Target {
            namespace: self.namespace.ok_or(Error::Missing("namespace"))?,
            id: id.parse().map_err(Error::Id)?,
            address: self.address.unwrap_or_default(),
            bundle: self.bundle.filter(|path| !path.is_empty()).map(PathBuf::from),
            socket: self.socket,
            debug: self.debug,
        })
    }
}

fn boolean(flag: &str, value: Option<&str>) -> Result<bool, Error> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(value) => Err(Error::NotBool { flag: flag.to_owned(), value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Error> {
        Command::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let want = Target {
            namespace: "k8s.io".into(),
            id: "web".parse().expect("an id"),
            address: "/run/c.sock".into(),
            bundle: None,
            socket: None,
            debug: true,
        };
        for line in [
            "-namespace k8s.io -id web -address /run/c.sock -debug start",
            "--namespace=k8s.io --id=web --address=/run/c.sock -debug=true start",
            "-namespace k8s.io -publish-binary /bin/c -id web -address /run/c.sock -debug=1 start",
        ] {
            assert_eq!(parse(line), Ok(Command::Start(want.clone())), "{line}");
        }
        assert_eq!(parse("-v"), Ok(Command::Version));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        let cases = [
            ("-id web start", Error::Missing("namespace")),
            ("-namespace n start", Error::Missing("id")),
            ("-namespace n -id", Error::NoValue("id".into())),
            ("-namespace n -id web", Error::NoCommand),
            ("-namespace n -id web stop", Error::UnknownCommand("stop".into())),
            ("-frobnicate x start", Error::UnknownFlag("frobnicate".into())),
            ("-namespace n -id ../x start", Error::Id(InvalidId("../x".into()))),
            ("-debug=maybe start", Error::NotBool { flag: "debug".into(), value: "maybe".into() }),
        ];
        for (line, want) in cases {
            assert_eq!(parse(line), Err(want), "{line}");
        }
    }
}
