//! An instruction by its shape: keyword, flags, words. Knows which shape each instruction has, not what it
//! means.

use super::error::Reason;
use super::heredoc::Heredoc;
use super::lines::Logical;
use super::suggest;
use super::words::{self, Pair};

/// Every instruction.
pub(crate) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction, not yet understood.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The instruction's name in upper case.
    pub name: String,
    /// The same as written.
    pub keyword: String,
    /// With dashes and values, without quotes.
    pub flags: Vec<String>,
    /// Behind the flags.
    pub rest: String,
    pub args: Args,
    pub line: Logical,
}

/// What is behind the flags.
#[derive(Debug, Clone)]
pub(crate) enum Args {
    Words(Vec<String>),
    Json(Vec<String>),
    Text(String),
    Pairs(Vec<Pair>),
    /// `HEALTHCHECK`'s kind, and what is behind it.
    Check(String, Box<Args>),
    /// `ONBUILD`'s instruction.
    Trigger(Option<Box<Node>>),
}

impl Node {
    /// The parts of a line.
    pub(crate) fn parse(line: &Logical, escape: char) -> Result<Self, Reason> {
        let (keyword, behind) = words::keyword(&line.text);
        let name = keyword.to_uppercase();
        if !NAMES.contains(&name.as_str()) {
            let near = suggest::near(keyword, &NAMES);
            return Err(Reason::UnknownInstruction { name: keyword.to_owned(), near });
        }
        let (flags, rest) = words::flags(behind);
        let args = match name.as_str() {
            "ENV" | "LABEL" => Args::Pairs(words::pairs(rest, &name, escape)?),
            "ARG" => Args::Words(words::split(rest, escape)),
            "FROM" | "EXPOSE" => Args::Words(words::blank_separated(rest)),
            "ADD" | "COPY" | "VOLUME" => match words::json(rest)? {
                Some(strings) => Args::Json(strings),
                None => Args::Words(words::blank_separated(rest)),
            },
            "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" => text_or_json(rest)?,
            "HEALTHCHECK" => {
                let (kind, behind) = words::keyword(rest);
                Args::Check(kind.to_owned(), Box::new(text_or_json(behind)?))
            }
            "ONBUILD" => Args::Trigger(trigger(line, rest, escape)?),
            _ => Args::Text(rest.to_owned()),
        };
        Ok(Self {
            name,
            keyword: keyword.to_owned(),
            flags,
            rest: rest.to_owned(),
            args,
            line: line.clone(),
        })
    }

    /// Here-documents of the line.
    pub(crate) fn heredocs(&self) -> &[Heredoc] {
        &self.line.heredocs
    }

    /// Whether it is a name and a value without `=` between.
    pub(crate) fn is_legacy(&self) -> bool {
        matches!(&self.args, Args::Pairs(pairs) if pairs.iter().any(|pair| !pair.equals))
    }

    /// Whether it looks as if JSON was meant, but is none.
    pub(crate) fn is_failed_json(&self) -> bool {
        let (args, rest) = match &self.args {
            Args::Check(kind, args) => {
                (args.as_ref(), self.rest.strip_prefix(kind.as_str()).unwrap_or(&self.rest).trim())
            }
            args => (args, self.rest.trim()),
        };
        matches!(args, Args::Text(_) | Args::Words(_))
            && ["CMD", "ENTRYPOINT", "RUN", "SHELL", "HEALTHCHECK", "ADD", "COPY", "VOLUME"]
                .contains(&self.name.as_str())
            && rest.starts_with('[')
            && rest.ends_with(']')
            // `[ -f file ]` is a command of its own.
            && !rest.starts_with("[ -")
            && !rest.starts_with("[[")
    }
}

fn text_or_json(rest: &str) -> Result<Args, Reason> {
    Ok(match words::json(rest)? {
        Some(strings) => Args::Json(strings),
        None => Args::Text(rest.to_owned()),
    })
}

fn trigger(line: &Logical, rest: &str, escape: char) -> Result<Option<Box<Node>>, Reason> {
    if rest.is_empty() {
        return Ok(None);
    }
    // Without this, `ONBUILD ONBUILD ...` would go as deep as the line is long.
    if words::keyword(rest).0.eq_ignore_ascii_case("ONBUILD") {
        return Err(Reason::ChainedTrigger);
    }
    let line = Logical { text: rest.to_owned(), ..line.clone() };
    Node::parse(&line, escape).map(Box::new).map(Some)
}
