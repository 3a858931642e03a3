//! `RUN`.

use super::error::Reason;
use super::flags::{Flags, Takes};
use super::instruction::{command, wants};
use super::node::{Args, Node};
use super::{Command, Heredoc, Instruction, Kind, Mount};

/// A command to run while building.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command; here-documents are apart, see [`Instruction::script`].
    pub command: Command,
    /// `--mount`, in the order given.
    pub mounts: Vec<Mount>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<String>,
    /// `--security`: `sandbox` or `insecure`.
    pub security: Option<String>,
}

/// How a `RUN` with here-documents is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// The stage's shell is given this text.
    Shell(String),
    /// The text is a program of its own, beginning with `#!`: to be executed as a file.
    File {
        /// What the file is called.
        name: String,
        /// What is in it.
        content: String,
    },
}

const FLAGS: [(&str, Takes); 4] = [
    ("mount", Takes::Values),
    ("network", Takes::Value),
    ("security", Takes::Value),
    ("device", Takes::Values),
];

impl Run {
    /// Whether it asks for all that root may do.
    pub(crate) fn is_insecure(&self) -> bool {
        self.security.as_deref() == Some("insecure")
    }

    pub(super) fn from_node(node: &Node) -> Result<Self, Reason> {
        let flags = Flags::parse(&node.flags, &FLAGS)?;
        if !flags.values("device").is_empty() {
            return Err(Reason::Unsupported {
                what: "RUN --device".to_owned(),
                why: "builds are given no devices of the host; give one to the container with run --device",
            });
        }
        let is_empty = match &node.args {
            Args::Json(words) => words.is_empty(),
            _ => node.rest.is_empty(),
        };
        if is_empty {
            return Err(wants("RUN", "requires at least one argument"));
        }
        let mounts = flags.values("mount");
        Ok(Self {
            command: command(&node.args),
            mounts: mounts.iter().map(|text| Mount::parse(text)).collect::<Result<_, _>>()?,
            network: one_of(&flags, "network", &["default", "none", "host"])?,
            security: one_of(&flags, "security", &["sandbox", "insecure"])?,
        })
    }
}

fn one_of(flags: &Flags, name: &str, values: &[&str]) -> Result<Option<String>, Reason> {
    let Some(value) = flags.value(name) else { return Ok(None) };
    if !values.contains(&value.as_str()) {
        let message =
            format!("invalid value {value:?} for --{name}: it can be {}", values.join(", "));
        return Err(Reason::Flag { flag: value, message });
    }
    Ok(Some(value))
}

impl Instruction {
    /// What a `RUN` with here-documents runs; `None` if it has none.
    ///
    /// A here-document alone is the script itself. With other words on its line, the shell is given the
    /// line and the here-documents as they are written, and reads them itself.
    pub fn script(&self) -> Option<Script> {
        let Kind::Run(Run { command: Command::Shell(text), .. }) = &self.kind else { return None };
        let first = self.heredocs.first()?;
        let is_alone = !text.contains(char::is_whitespace) && self.heredocs.len() == 1;
        if !is_alone {
            let mut all = text.clone();
            for heredoc in &self.heredocs {
                all.extend(["\n", &heredoc.content, &heredoc.name]);
            }
            return Some(Script::Shell(all));
        }
        let Heredoc { name, content, .. } = first.clone();
        let is_program = content.starts_with("#!");
        Some(if is_program { Script::File { name, content } } else { Script::Shell(content) })
    }
}
