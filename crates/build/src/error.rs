//! Why a build failed.

use std::io;

use spec::Kind;

use crate::dockerfile::Instruction;
use crate::{context, copy, git, ignore, plan, run};

/// Characters of an instruction that are shown, whose lines may be many.
const SHOWN: usize = 120;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// There is no Dockerfile. The text is Docker's.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NoDockerfile(String),
    /// The Dockerfile is not one.
    #[error("{shown}")]
    Language {
        /// File, line, column, the line itself.
        shown: String,
        /// What can be done.
        kind: Kind,
    },
    /// `.dockerignore` is not one.
    #[error(".dockerignore")]
    Ignore(#[from] ignore::Error),
    /// Stages that do not fit together.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// A variable in an instruction.
    #[error("failed to process {text:?} (line {line}): {problem}")]
    Expand {
        /// The instruction.
        text: String,
        /// Its line.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// An instruction that cannot be carried out as it is written.
    #[error("line {line}: {problem}")]
    Instruction {
        /// Its line.
        line: usize,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// What Hull cannot do.
    #[error("line {line}: {what} is not supported: {why}")]
    Unsupported {
        /// The instruction's line.
        line: usize,
        /// What.
        what: String,
        /// And what to do in its place.
        why: &'static str,
    },
    /// What a build may do only if that was allowed.
    #[error(
        "line {line}: RUN --security=insecure is not allowed: its command may do all that root may; if \
         the Dockerfile is trusted, hull build --allow security.insecure (docker's classic client has \
         no such flag)"
    )]
    Insecure {
        /// The instruction's line.
        line: usize,
    },
    /// A time that is none.
    #[error("SOURCE_DATE_EPOCH={0}: want seconds since 1970")]
    Epoch(String),
    /// Files that cannot be copied.
    #[error(transparent)]
    Copy(#[from] copy::Error),
    /// A file from elsewhere.
    #[error("fetch {url}: {problem}")]
    Fetch {
        /// Where from.
        url: String,
        /// Why not.
        problem: String,
    },
    /// A repository.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// A command, or something else that the engine was asked for.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A layer or image that cannot be made.
    #[error(transparent)]
    Step(#[from] image::commit::Error),
    /// An image that is not here any more.
    #[error(transparent)]
    Find(#[from] image::find::Error),
    /// The image cannot be named.
    #[error(transparent)]
    Keep(image::remove::Error),
    /// Files cannot be kept meanwhile.
    #[error("keep {what}")]
    Scratch {
        /// What of.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A stage without anything in it.
    #[error("No image was generated. Is your Dockerfile empty?")]
    Nothing,
    /// The engine is ending.
    #[error("the build was given up")]
    GivenUp,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Context(error) => error.kind(),
            Self::Language { kind, .. } => *kind,
            Self::Copy(error) => error.kind(),
            Self::Git(error) => error.kind(),
            Self::Run(error) => error.kind(),
            Self::Step(error) => error.kind(),
            Self::Find(error) => error.kind(),
            Self::Keep(error) => error.kind(),
            Self::Scratch { source, .. } => image::disk::kind_of(source),
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Insecure { .. } => Kind::Denied,
            Self::GivenUp => Kind::Unavailable,
            Self::NoDockerfile(_)
            | Self::Ignore(_)
            | Self::Plan(_)
            | Self::Expand { .. }
            | Self::Instruction { .. }
            | Self::Epoch(_)
            | Self::Fetch { .. }
            | Self::Nothing => Kind::Invalid,
        }
    }

    /// The same with the file, the place and the text of the instruction, if that is what is wrong.
    pub(crate) fn shown(self, file: &str, instruction: &Instruction) -> Self {
        match self {
            Self::Expand { .. }
            | Self::Instruction { .. }
            | Self::Unsupported { .. }
            | Self::Insecure { .. }
            | Self::Copy(copy::Error::Absent { .. } | copy::Error::Several(_)) => {
                let (line, column) = (instruction.line, instruction.node.line.column);
                let text: String = instruction.text.chars().take(SHOWN).collect();
                let cut = if text.len() < instruction.text.len() { "…" } else { "" };
                let shown = format!("{file}:{line}:{column}\n{line:4} | >>> {text}{cut}\n{self}");
                Self::Language { shown, kind: self.kind() }
            }
            other => other,
        }
    }

    pub(crate) fn expand(instruction: &Instruction, problem: &impl ToString) -> Self {
        let (text, line) = (instruction.text.clone(), instruction.line);
        Self::Expand { text, line, problem: problem.to_string() }
    }

    pub(crate) fn at(instruction: &Instruction, problem: impl Into<String>) -> Self {
        Self::Instruction { line: instruction.line, problem: problem.into() }
    }
}
