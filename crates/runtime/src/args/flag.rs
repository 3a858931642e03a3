//! One command's flags: a table that is parsed by and that `--help` prints.
//!
//! The syntax is that of Go's `flag` package and of urfave/cli, which runc's callers rely on: one dash
//! or two, `--flag value` or `--flag=value`, a switch also as `--switch=false`, no clusters of short
//! flags. Flags may follow arguments, unless those belong to another program; `--` ends them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use super::Error;

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true`, `=false`.
    Switch,
    /// A value; of several the last counts.
    Value,
    /// A value each time.
    List,
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Its name without dashes.
    pub(crate) name: &'static str,
    /// Its second name, or none.
    pub(crate) short: &'static str,
    /// What follows it.
    pub(crate) kind: Kind,
    /// For the help; a flag without is not shown.
    pub(crate) usage: &'static str,
}

/// A command and what it takes.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name.
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    /// Its arguments, for the help.
    pub(crate) arguments: &'static str,
    /// How many it takes at least and at most.
    pub(crate) count: (usize, usize),
    /// Whether what follows the first argument belongs to another program.
    pub(crate) program: bool,
    /// Its flags.
    pub(crate) flags: &'static [Flag],
}

/// What a command line says.
#[derive(Debug, Default)]
pub(crate) struct Line {
    values: Vec<(&'static str, OsString)>,
    /// What is no flag, in order.
    pub(crate) arguments: Vec<OsString>,
    /// Whether help was asked for.
    pub(crate) help: bool,
}

/// A switch.
pub(super) const fn switch(name: &'static str, usage: &'static str) -> Flag {
    Flag { name, short: "", kind: Kind::Switch, usage }
}

/// A flag with a value.
pub(super) const fn value(name: &'static str, usage: &'static str) -> Flag {
    Flag { name, short: "", kind: Kind::Value, usage }
}

/// A flag that may be given several times.
pub(super) const fn list(name: &'static str, usage: &'static str) -> Flag {
    Flag { name, short: "", kind: Kind::List, usage }
}

impl Flag {
    /// The same flag with a second name.
    pub(super) const fn short(self, short: &'static str) -> Self {
        Self { short, ..self }
    }
}

impl Command {
    /// Reads the arguments that follow the command's name.
    pub(crate) fn parse(&self, arguments: Vec<OsString>) -> Result<Line, Error> {
        let line = Line::read(self.flags, arguments, self.program)?;
        let (least, most) = self.count;
        if !line.help && !(least..=most).contains(&line.arguments.len()) {
            return Err(Error::Count { command: self.name, least, most });
        }
        Ok(line)
    }
}

impl Line {
    /// Reads flags and arguments; with `stop` the first argument ends the flags.
    pub(super) fn read(
        flags: &[Flag],
        arguments: Vec<OsString>,
        stop: bool,
    ) -> Result<Self, Error> {
        let mut line = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let Some((name, value)) = split(&argument) else {
                if argument == "--" {
                    line.arguments.extend(rest.by_ref());
                } else {
                    line.arguments.push(argument);
                    if stop {
                        break;
                    }
                }
                continue;
            };
            line.add(flags, name, value, &mut rest)?;
        }
        line.arguments.extend(rest);
        Ok(line)
    }

    fn add(
        &mut self,
        flags: &[Flag],
        name: &OsStr,
        value: Option<&OsStr>,
        rest: &mut std::vec::IntoIter<OsString>,
    ) -> Result<(), Error> {
        let Some(flag) =
            flags.iter().find(|f| name == f.name || !f.short.is_empty() && name == f.short)
        else {
            if name == "h" || name == "help" {
                self.help = true;
                return Ok(());
            }
            return Err(Error::Undefined(name.to_string_lossy().into_owned()));
        };
        let value = match (flag.kind, value) {
            (Kind::Switch, value) => truth(flag.name, value)?.into(),
            (_, Some(value)) => value.to_owned(),
            (_, None) => rest.next().ok_or(Error::NoValue(flag.name))?,
        };
        self.values.push((flag.name, value));
        Ok(())
    }

    /// Whether the flag was given at all.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| *known == name)
    }

    /// Whether the switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| value == TRUE)
    }

    /// The flag's path; an empty one is none.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.last(name).map(PathBuf::from)
    }

    /// The flag's value as text; an empty one is none.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, Error> {
        self.last(name).map(|value| utf8(name, value)).transpose()
    }

    /// The flag's value as a number, decimal or with `0x`.
    pub(crate) fn number<T: TryFrom<i64> + FromStr>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Error> {
        self.text(name)?.map(|text| number(name, &text)).transpose()
    }

    /// Every value of the flag.
    pub(crate) fn list(&self, name: &'static str) -> Result<Vec<String>, Error> {
        let all = self.values.iter().filter(|(known, _)| *known == name);
        all.map(|(_, value)| utf8(name, value)).collect()
    }

    fn last(&self, name: &str) -> Option<&OsStr> {
        let mut all = self.values.iter().rev().filter(|(known, _)| *known == name);
        all.next().map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
    }
}

/// What a switch that is on holds.
const TRUE: &str = "true";

/// Go's `strconv.ParseBool`.
fn truth(flag: &'static str, value: Option<&OsStr>) -> Result<&'static str, Error> {
    let Some(value) = value else { return Ok(TRUE) };
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok(TRUE),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok("false"),
        _ => Err(Error::value(flag, &value.to_string_lossy(), "true or false")),
    }
}

/// A number as Go reads it: decimal, or hexadecimal with `0x`.
pub(super) fn number<T: TryFrom<i64> + FromStr>(
    flag: &'static str,
    text: &str,
) -> Result<T, Error> {
    let hexadecimal = || i64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let parsed = text.parse().ok().or_else(|| T::try_from(hexadecimal()?).ok());
    parsed.ok_or_else(|| Error::value(flag, text, "a number in range"))
}

fn utf8(flag: &'static str, value: &OsStr) -> Result<String, Error> {
    let text = value.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::value(flag, &value.to_string_lossy(), "UTF-8"))
}

/// The name of a flag and what follows its `=`; `None` for what is no flag: an argument, `-`, `--`.
fn split(argument: &OsStr) -> Option<(&OsStr, Option<&OsStr>)> {
    let bytes = argument.as_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    if name.is_empty() {
        return None;
    }
    let at = name.iter().position(|byte| *byte == b'=');
    let (name, value) = at.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])));
    Some((OsStr::from_bytes(name), value.map(OsStr::from_bytes)))
}

/// One argument as text.
pub(super) fn text(argument: OsString) -> Result<String, Error> {
    String::from_utf8(argument.into_vec())
        .map_err(|error| Error::Text(String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: Command = Command {
        name: "go",
        about: "",
        arguments: "",
        count: (0, 3),
        program: false,
        flags: &[
            switch("debug", "d"),
            value("bundle", "b").short("b"),
            list("env", "e").short("e"),
            switch("detach", "d").short("d"),
        ],
    };

    fn parse(line: &str) -> Result<Line, Error> {
        COMMAND.parse(line.split(' ').filter(|part| !part.is_empty()).map(Into::into).collect())
    }

    #[test]
    fn one_dash_or_two_with_a_space_or_an_equals_sign() {
        for line in ["-b /x", "--b /x", "-bundle /x", "--bundle /x", "-b=/x", "--bundle=/x"] {
            assert_eq!(parse(line).expect(line).path("bundle"), Some("/x".into()), "{line}");
        }
        assert_eq!(parse("-b /x --bundle /y").expect("valid").path("bundle"), Some("/y".into()));
        assert_eq!(parse("--bundle=").expect("valid").path("bundle"), None);
        assert_eq!(parse("-b=a=b").expect("valid").path("bundle"), Some("a=b".into()));
        assert_eq!(
            parse("-e a=b -e=c=d").expect("valid").list("env").expect("text"),
            ["a=b", "c=d"]
        );
    }

    #[test]
    fn a_switch_can_be_said_to_be_off() {
        for (line, want) in [
            ("--debug", true),
            ("-debug=1", true),
            ("-debug=T", true),
            ("--debug=false", false),
            ("--debug --debug=0", false),
            ("", false),
        ] {
            assert_eq!(parse(line).expect(line).switch("debug"), want, "{line}");
        }
    }

    #[test]
    fn flags_may_follow_arguments_until_two_dashes() {
        let line = parse("a -d b -- -x").expect("valid");
        assert_eq!(line.arguments, ["a", "b", "-x"]);
        assert!(line.switch("detach"));
        let program = Command { program: true, ..COMMAND };
        let line = program.parse(["-d", "a", "-b", "c"].map(Into::into).into()).expect("valid");
        assert_eq!(line.arguments, ["a", "-b", "c"]);
        assert_eq!(parse("-").expect("valid").arguments, ["-"]);
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let read = |text: &str| number::<u32>("n", text).ok();
        for (text, want) in [("7", Some(7)), ("0x1f", Some(31)), ("-1", None), ("x", None)] {
            assert_eq!(read(text), want, "{text}");
        }
        assert_eq!(number::<i32>("n", "-1").ok(), Some(-1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, want) in [
            ("--no-such", "flag provided but not defined: -no-such"),
            ("-db", "flag provided but not defined: -db"),
            ("--bundle", "flag needs an argument: -bundle"),
            ("--debug=x", "invalid value \"x\" for flag --debug: want true or false"),
            ("a b c d", "\"go\" requires a maximum of 3 argument(s)"),
        ] {
            assert_eq!(parse(line).expect_err(line).to_string(), want);
        }
        assert!(parse("--help a b c d e").expect("help").help);
    }
}
