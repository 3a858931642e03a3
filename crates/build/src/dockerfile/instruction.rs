//! From an instruction's shape to its meaning.

use std::time::Duration;

use super::error::Reason;
use super::flags::{Flags, Takes};
use super::node::{Args, Node};
use super::words::Pair;
use super::{Command, Healthcheck, Instruction, Kind, Run, Transfer, Warning};

impl Instruction {
    /// What a node means.
    pub(crate) fn from_node(node: Node) -> Result<Self, Reason> {
        let kind = kind(&node)?;
        Ok(Self {
            line: node.line.line,
            last: node.line.last,
            text: node.line.text.trim().to_owned(),
            heredocs: node.heredocs().to_vec(),
            kind,
            node,
        })
    }

    /// What was understood, but perhaps not as meant.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let warning =
            |rule, message: &str| Warning { rule, line: self.line, message: message.to_owned() };
        let mut warnings = Vec::new();
        if self.node.line.blank_continuation {
            let message = format!("Empty continuation line found in: {}", self.text);
            warnings.push(warning("NoEmptyContinuation", &message));
        }
        if self.node.is_failed_json() {
            let name = &self.node.name;
            let message =
                format!("{name} is taken as text: what looks like a JSON array of strings is none");
            warnings.push(warning("InvalidJSONForm", &message));
        }
        warnings
    }
}

/// Refuses what an `ONBUILD` trigger cannot be.
pub(super) fn allowed_as_trigger(name: &str) -> Result<(), Reason> {
    match name {
        "ONBUILD" => Err(Reason::ChainedTrigger),
        "FROM" | "MAINTAINER" => Err(Reason::Trigger { name: name.to_owned() }),
        _ => Ok(()),
    }
}

fn kind(node: &Node) -> Result<Kind, Reason> {
    match node.name.as_str() {
        "FROM" => from(node),
        "RUN" => Run::from_node(node).map(Kind::Run),
        "COPY" => Transfer::from_node(node).map(Kind::Copy),
        "ADD" => Transfer::from_node(node).map(Kind::Add),
        "HEALTHCHECK" => healthcheck(node).map(Kind::Healthcheck),
        _ => {
            Flags::parse(&node.flags, &[])?;
            without_flags(node)
        }
    }
}

fn without_flags(node: &Node) -> Result<Kind, Reason> {
    match (node.name.as_str(), &node.args) {
        ("ARG", Args::Words(words)) => arg(words),
        ("ENV", Args::Pairs(pairs)) => named(pairs, "ENV").map(Kind::Env),
        ("LABEL", Args::Pairs(pairs)) => named(pairs, "LABEL").map(Kind::Label),
        ("CMD", args) => Ok(Kind::Cmd(command(args))),
        ("ENTRYPOINT", args) => Ok(Kind::Entrypoint(command(args))),
        ("SHELL", Args::Json(words)) if words.is_empty() => {
            Err(wants("SHELL", "requires at least one argument"))
        }
        ("SHELL", Args::Json(words)) => Ok(Kind::Shell(words.clone())),
        ("SHELL", _) if node.rest.is_empty() => {
            Err(wants("SHELL", "requires at least one argument"))
        }
        ("SHELL", _) => Err(wants("SHELL", "requires the arguments to be in JSON form")),
        ("EXPOSE", Args::Words(words)) if words.is_empty() => {
            Err(wants("EXPOSE", "requires at least one argument"))
        }
        ("EXPOSE", Args::Words(words)) => Ok(Kind::Expose(words.clone())),
        ("VOLUME", Args::Words(words) | Args::Json(words)) => volume(words),
        ("USER", Args::Text(text)) => one(text, "USER").map(Kind::User),
        ("WORKDIR", Args::Text(text)) => one(text, "WORKDIR").map(Kind::Workdir),
        ("STOPSIGNAL", Args::Text(text)) => one(text, "STOPSIGNAL").map(Kind::StopSignal),
        ("MAINTAINER", Args::Text(text)) => one(text, "MAINTAINER").map(Kind::Maintainer),
        ("ONBUILD", Args::Trigger(None)) => Err(wants("ONBUILD", "requires at least one argument")),
        ("ONBUILD", Args::Trigger(Some(trigger))) => onbuild(trigger),
        (name, _) => unreachable!("{name} has another shape"),
    }
}

/// An instruction with the wrong arguments.
pub(super) fn wants(name: &str, rule: &'static str) -> Reason {
    Reason::Arguments { name: name.to_owned(), rule }
}

fn one(text: &str, name: &str) -> Result<String, Reason> {
    match text {
        "" => Err(wants(name, "requires exactly one argument")),
        text => Ok(text.to_owned()),
    }
}

/// A command in whichever form it was written.
pub(super) fn command(args: &Args) -> Command {
    match args {
        Args::Json(words) => Command::Exec(words.clone()),
        Args::Text(text) => Command::Shell(text.clone()),
        _ => unreachable!("a command is text or JSON"),
    }
}

fn from(node: &Node) -> Result<Kind, Reason> {
    let platform = Flags::parse(&node.flags, &[("platform", Takes::Value)])?.value("platform");
    let Args::Words(words) = &node.args else { unreachable!("FROM has words") };
    match words.as_slice() {
        [image] => Ok(Kind::From { image: image.clone(), platform, name: None }),
        [image, word, name] if word.eq_ignore_ascii_case("as") => {
            let name = name.to_lowercase();
            if !is_stage_name(&name) {
                return Err(Reason::StageName { name });
            }
            Ok(Kind::From { image: image.clone(), platform, name: Some(name) })
        }
        _ => Err(wants("FROM", "requires either one or three arguments")),
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}

fn arg(words: &[String]) -> Result<Kind, Reason> {
    if words.is_empty() {
        return Err(wants("ARG", "requires at least one argument"));
    }
    let parts = words.iter().map(|word| match word.split_once('=') {
        Some(("", _)) => Err(wants("ARG", "names can not be blank")),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((word.clone(), None)),
    });
    parts.collect::<Result<_, _>>().map(Kind::Arg)
}

fn named(pairs: &[Pair], instruction: &str) -> Result<Vec<(String, String)>, Reason> {
    if pairs.is_empty() {
        return Err(wants(instruction, "requires at least one argument"));
    }
    let pairs = pairs.iter().map(|pair| match pair.name.as_str() {
        "" => Err(wants(instruction, "names can not be blank")),
        name => Ok((name.to_owned(), pair.value.clone())),
    });
    pairs.collect()
}

fn volume(words: &[String]) -> Result<Kind, Reason> {
    if words.is_empty() {
        return Err(wants("VOLUME", "requires at least one argument"));
    }
    if words.iter().any(|word| word.trim().is_empty()) {
        return Err(wants("VOLUME", "specified can not be an empty string"));
    }
    Ok(Kind::Volume(words.iter().map(|word| word.trim().to_owned()).collect()))
}

fn onbuild(trigger: &Node) -> Result<Kind, Reason> {
    allowed_as_trigger(&trigger.name)?;
    kind(trigger)?;
    let mut text = trigger.line.text.trim().to_owned();
    for heredoc in trigger.heredocs() {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(Kind::Onbuild(text))
}

const HEALTHCHECK_FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Value),
    ("timeout", Takes::Value),
    ("start-period", Takes::Value),
    ("start-interval", Takes::Value),
    ("retries", Takes::Value),
];

fn healthcheck(node: &Node) -> Result<Healthcheck, Reason> {
    let Args::Check(kind, args) = &node.args else { unreachable!("HEALTHCHECK has a kind") };
    let flags = Flags::parse(&node.flags, &HEALTHCHECK_FLAGS)?;
    let command = command(args);
    let is_empty = match &command {
        Command::Shell(text) => text.is_empty(),
        Command::Exec(words) => words.is_empty(),
    };
    match kind.to_uppercase().as_str() {
        "" => Err(wants("HEALTHCHECK", "requires at least one argument")),
        "NONE" if !is_empty => Err(wants("HEALTHCHECK", "NONE takes no arguments")),
        "NONE" => Ok(Healthcheck::None),
        "CMD" if is_empty => Err(Reason::Value {
            value: kind.clone(),
            message: "Missing command after HEALTHCHECK CMD".to_owned(),
        }),
        "CMD" => Ok(Healthcheck::Check {
            command,
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: retries(&flags)?,
        }),
        _ => Err(Reason::Value {
            value: kind.clone(),
            message: format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"),
        }),
    }
}

/// Docker's rule: none or at least a millisecond; 0 is as if it was not given.
fn interval(flags: &Flags, name: &str) -> Result<Option<Duration>, Reason> {
    let Some(value) = flags.value(name) else { return Ok(None) };
    if value.is_empty() {
        return Ok(None);
    }
    let flag = |message| Reason::Flag { flag: name.to_owned(), message };
    let Some(duration) = super::duration::parse(&value) else {
        return Err(flag(format!(
            "time: invalid duration {value:?} for --{name}: write 30s, 1m30s or 500ms"
        )));
    };
    match duration {
        duration if duration.is_zero() => Ok(None),
        duration if duration < Duration::from_millis(1) => {
            Err(flag(format!("Interval {name:?} cannot be less than 1ms")))
        }
        duration => Ok(Some(duration)),
    }
}

fn retries(flags: &Flags) -> Result<Option<u32>, Reason> {
    let Some(value) = flags.value("retries").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let flag = |message| Reason::Flag { flag: "retries".to_owned(), message };
    match value.parse::<i32>() {
        Ok(0) => Ok(None),
        Ok(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| flag(format!("--retries cannot be negative ({number})"))),
        Err(_) => Err(flag(format!("--retries must be a number, not {value:?}"))),
    }
}
