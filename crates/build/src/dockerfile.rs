//! What a Dockerfile says.
//!
//! ```text
//!   lines        physical lines -> logical ones: comments, continuation, here-documents
//!   node         logical line -> keyword, flags, words
//!   instruction  node -> typed instruction
//! ```
//!
//! Words stay as written, with their quotes, escapes and variables: what they mean depends on the
//! environment of the stage at the moment of execution, see [`expand`](crate::expand).
//!
//! Spec: Dockerfile reference, "Format", "Parser directives" and a section for each instruction.

mod duration;
mod error;
mod flags;
mod heredoc;
mod instruction;
mod lines;
mod mount;
mod node;
mod run;
mod suggest;
mod transfer;
mod words;

use std::time::Duration;

pub use error::{Error, Reason};
pub use heredoc::Heredoc;
pub use lines::Directives;
pub use mount::{Mount, MountKind, Sharing};
pub(crate) use node::Node;
pub use run::{Run, Script};
pub(crate) use suggest::nearest;
pub use transfer::{Source, Transfer};

/// A Dockerfile, parsed but not yet expanded.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// What the comments at its top told the parser.
    pub directives: Directives,
    /// In the order of the file; the first that is not an `ARG` is a `FROM`.
    pub instructions: Vec<Instruction>,
    /// What was understood, but not as its writer may think.
    pub warnings: Vec<Warning>,
}

/// One instruction, with all of its lines.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// Its first line, counted from 1.
    pub line: usize,
    /// Its last line, that of a here-document's end included.
    pub last: usize,
    /// As `Step 1/5 : ` shows it: as written, continuation lines joined, without blanks around it and
    /// without the bodies of here-documents.
    pub text: String,
    /// Here-documents in the order of their bodies.
    pub heredocs: Vec<Heredoc>,
    /// What it says.
    pub kind: Kind,
    /// What it was made of; lint rules judge how something is written.
    pub(crate) node: Node,
}

/// What an instruction says. Words are not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Begins a stage.
    From {
        /// Image, earlier stage or `scratch`; may use global arguments.
        image: String,
        /// `--platform`.
        platform: Option<String>,
        /// The stage's name, in lower case.
        name: Option<String>,
    },
    /// Build arguments and their defaults.
    Arg(Vec<(String, Option<String>)>),
    /// Variables of the stage and of containers of the image.
    Env(Vec<(String, String)>),
    /// Labels of the image.
    Label(Vec<(String, String)>),
    /// The author, deprecated.
    Maintainer(String),
    /// A command to run now.
    Run(Run),
    /// The default command.
    Cmd(Command),
    /// The default program.
    Entrypoint(Command),
    /// What runs commands in shell form from here on.
    Shell(Vec<String>),
    /// Files from the context or another stage.
    Copy(Transfer),
    /// As `Copy`, with archives unpacked, and from URLs and git too.
    Add(Transfer),
    /// Ports: `80`, `80/udp`, `8000-8010/tcp`.
    Expose(Vec<String>),
    /// Paths of volumes.
    Volume(Vec<String>),
    /// `user[:group]`, names or numbers.
    User(String),
    /// The working directory, relative to the one before.
    Workdir(String),
    /// The signal that asks containers to end.
    StopSignal(String),
    /// How to ask a container whether it is well.
    Healthcheck(Healthcheck),
    /// An instruction for builds that begin from this image, as [`Instruction::parse_one`] takes it.
    Onbuild(String),
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For the stage's shell. Empty if nothing was written.
    Shell(String),
    /// Program and arguments.
    Exec(Vec<String>),
}

/// `HEALTHCHECK`. What is `None` inherits or has the engine's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// No check, also none of the base image.
    None,
    /// A command whose exit status tells.
    Check {
        /// What to run in the container.
        command: Command,
        /// Between two checks.
        interval: Option<Duration>,
        /// After which a check has failed.
        timeout: Option<Duration>,
        /// After the start, while failures do not count.
        start_period: Option<Duration>,
        /// Between two checks of the start period.
        start_interval: Option<Duration>,
        /// Failures in a row that make a container unhealthy.
        retries: Option<u32>,
    },
}

/// What a build goes on with, but tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Name of the rule, as `# check=skip=` takes it.
    pub rule: &'static str,
    /// The line of the instruction, from 1.
    pub line: usize,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Dockerfile {
    /// The instructions of `text`, UTF-8 with or without a byte order mark, lines ending in LF or CRLF.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first instruction that is not one, and for a file without any or with one
    /// before its first `FROM`.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let lines = lines::read(text)?;
        let mut instructions: Vec<Instruction> = Vec::new();
        let mut warnings = Vec::new();
        let mut in_stage = false;
        for logical in &lines.logical {
            let failed = |reason| Error::at(reason, logical, &lines.physical);
            let node = Node::parse(logical, lines.directives.escape).map_err(failed)?;
            let instruction = Instruction::from_node(node).map_err(failed)?;
            in_stage |= matches!(instruction.kind, Kind::From { .. });
            if !in_stage && !matches!(instruction.kind, Kind::Arg(_)) {
                return Err(failed(Reason::OutsideStage));
            }
            warnings.extend(instruction.warnings());
            instructions.push(instruction);
        }
        if !in_stage {
            return Err(Error::of_file(Reason::NoStages));
        }
        Ok(Self { directives: lines.directives, instructions, warnings })
    }
}

impl Instruction {
    /// The one instruction of `text`: an `ONBUILD` trigger from an image's configuration.
    ///
    /// # Errors
    ///
    /// [`Error`] if `text` is not one instruction, or is one that a trigger cannot be.
    pub fn parse_one(text: &str, escape: char) -> Result<Self, Error> {
        let lines = lines::read_trigger(text, escape)?;
        let [logical] = lines.logical.as_slice() else {
            return Err(Error::of_file(Reason::NotOneTrigger));
        };
        let failed = |reason| Error::at(reason, logical, &lines.physical);
        let node = Node::parse(logical, escape).map_err(failed)?;
        instruction::allowed_as_trigger(&node.name).map_err(failed)?;
        Self::from_node(node).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
