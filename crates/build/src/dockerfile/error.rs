//! Why a Dockerfile cannot be built, and where.

use std::fmt;

use super::lines::Logical;

/// What is wrong with a Dockerfile, with the place.
///
/// Printed as `dockerfile parse error on line 3: unknown instruction: FRO (did you mean FROM?)`; with
/// [`shown`](Self::shown), the line itself too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// The column of the word in question, in characters from 1; 0 if the whole file is meant.
    pub column: usize,
    /// The text of that line.
    pub source_line: String,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing at all.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// Nothing but blanks and comments.
    #[error("file with no instructions")]
    NoInstructions,
    /// No `FROM`.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// An instruction before the first `FROM`.
    #[error("no build stage in current context")]
    OutsideStage,
    /// Bytes that are no text.
    #[error("the line is not valid UTF-8")]
    NotText,
    /// A parser directive given twice, or with a value that it cannot have.
    #[error("{0}")]
    Directive(String),
    /// A here-document without its last line.
    #[error("unterminated heredoc: no line is just {name:?}")]
    UnterminatedHeredoc {
        /// What should end it.
        name: String,
    },
    /// A here-document where none can be.
    #[error("{name} cannot take a heredoc as {place}")]
    MisplacedHeredoc {
        /// The instruction.
        name: String,
        /// Where it was written.
        place: &'static str,
    },
    /// No instruction has this name.
    #[error("unknown instruction: {name}{}", did_you_mean(near.as_ref()))]
    UnknownInstruction {
        /// As written.
        name: String,
        /// The instruction that may have been meant.
        near: Option<String>,
    },
    /// The instruction has no such flag.
    #[error("unknown flag: --{flag}{}", did_you_mean(near.as_ref()))]
    UnknownFlag {
        /// Without dashes and value.
        flag: String,
        /// The flag that may have been meant.
        near: Option<String>,
    },
    /// A flag twice, without value or with a wrong one.
    #[error("{message}")]
    Flag {
        /// Without dashes and value.
        flag: String,
        /// What is wrong with it.
        message: String,
    },
    /// Understood, but this build cannot do it.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// The flag or instruction.
        what: String,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// Too few or too many arguments: `FROM requires either one or three arguments`.
    #[error("{name} {rule}")]
    Arguments {
        /// The instruction.
        name: String,
        /// What it wants.
        rule: &'static str,
    },
    /// A word without `=` where all must have one.
    #[error("Syntax error - can't find = in {word:?}. Must be of the form: name=value")]
    NoEquals {
        /// The word.
        word: String,
    },
    /// A JSON array of other things than strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    /// A stage's name that cannot be one.
    #[error(
        "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
    )]
    StageName {
        /// The name.
        name: String,
    },
    /// A value outside of what the instruction takes.
    #[error("{message}")]
    Value {
        /// The value.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// `ONBUILD` of what cannot be a trigger.
    #[error("{name} isn't allowed as an ONBUILD trigger")]
    Trigger {
        /// The instruction.
        name: String,
    },
    /// `ONBUILD ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    ChainedTrigger,
    /// A word that means nothing in its environment.
    #[error(transparent)]
    Expansion(#[from] crate::expand::Error),
    /// A trigger of an image's configuration that is no or several instructions.
    #[error("an ONBUILD trigger must be one instruction")]
    NotOneTrigger,
}

fn did_you_mean(near: Option<&String>) -> String {
    near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"))
}

impl Reason {
    /// The word in question, as it is in the text.
    fn token(&self) -> Option<&str> {
        match self {
            Self::UnknownInstruction { name, .. } | Self::StageName { name } => Some(name),
            Self::UnknownFlag { flag, .. } | Self::Flag { flag, .. } => Some(flag),
            Self::NoEquals { word } => Some(word),
            Self::Value { value, .. } => Some(value),
            _ => None,
        }
    }
}

impl Error {
    /// An error of the file as a whole.
    pub(crate) fn of_file(reason: Reason) -> Self {
        Self { line: 0, column: 0, source_line: String::new(), reason }
    }

    /// An error in an instruction: at the word that it is about, else where the instruction begins.
    pub(crate) fn at(reason: Reason, logical: &Logical, physical: &[String]) -> Self {
        let last = logical.last.min(physical.len());
        let lines = (logical.line..=last).filter_map(|line| Some((line, physical.get(line - 1)?)));
        let found = reason.token().filter(|token| !token.is_empty()).and_then(|token| {
            lines.clone().find_map(|(line, text)| Some((line, text.find(token)?)))
        });
        let (line, offset) = found.unwrap_or_else(|| {
            let text = physical.get(logical.line - 1).map_or("", String::as_str);
            (logical.line, text.len() - text.trim_start().len())
        });
        Self::at_offset(reason, line, offset, physical)
    }

    /// An error at a byte of a line.
    pub(crate) fn at_offset(
        reason: Reason,
        line: usize,
        offset: usize,
        physical: &[String],
    ) -> Self {
        let source_line = physical.get(line - 1).cloned().unwrap_or_default();
        let before = source_line.get(..offset).map_or(0, |before| before.chars().count());
        Self { line, column: before + 1, source_line, reason }
    }

    /// The message with the place and the line, for a file called `name`.
    ///
    /// ```text
    /// Dockerfile:3:1
    ///    3 | >>> FRO busybox
    /// dockerfile parse error on line 3: unknown instruction: FRO (did you mean FROM?)
    /// ```
    pub fn shown(&self, name: &str) -> String {
        match self.line {
            0 => format!("{name}: {self}"),
            line => format!(
                "{name}:{line}:{}\n{line:4} | >>> {}\n{self}",
                self.column,
                self.source_line.trim_end()
            ),
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> spec::Kind {
        match self.reason {
            Reason::Unsupported { .. } => spec::Kind::Unsupported,
            _ => spec::Kind::Invalid,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => self.reason.fmt(f),
            line => write!(f, "dockerfile parse error on line {line}: {}", self.reason),
        }
    }
}

impl std::error::Error for Error {}
