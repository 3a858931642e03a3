//! What a word means in an environment.
//!
//! For a Dockerfile's instructions, with their stage's environment and build arguments, and for changes of
//! `commit` and `import`. Quotes and escapes go, variables
//! become their values; a value is never looked at again, so nothing can loop.
//!
//! ```text
//!   a"b c"$x     ->  ab cX            ${x:-w} ${x-w}   default
//!   '$x'         ->  $x               ${x:+w} ${x+w}   alternative
//!   \$x          ->  $x               ${x:?w} ${x?w}   error
//!   "\$x \n"     ->  $x \n            ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}
//! ```
//!
//! Invariant: depth and length of what a word becomes are bounded, whatever it says.
//!
//! Spec: Dockerfile reference, "Environment replacement"; POSIX shell, "Parameter Expansion".

mod pattern;
mod reader;

use reader::{Mode, Reader};

/// Why a word means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {reason}")]
pub struct Error {
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A quote without its end.
    #[error("unexpected end of statement while looking for matching {0}-quote")]
    OpenQuote(&'static str),
    /// `${` without its end.
    #[error("syntax error: missing '}}'")]
    OpenBrace,
    /// `${` with something else than a name.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// Something else behind the name.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// `${x?...}` of an unset variable, or `${x:?...}` of an empty one.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// As written behind `?`, or what is wrong with it.
        message: String,
    },
    /// Substitutions within substitutions.
    #[error("substitutions are nested more than {} deep", reader::MAX_DEPTH)]
    TooDeep,
    /// Values of values.
    #[error("the result is longer than {} bytes", reader::MAX_LENGTH)]
    TooLong,
    /// A pattern and a value that take too long to compare.
    #[error("the value is too long for this pattern")]
    TooSlow,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> spec::Kind {
        spec::Kind::Invalid
    }
}

/// The value of a variable; `None` if it is unset.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The meaning of `text` as one word: blanks in it stay.
pub fn word(text: &str, escape: char, lookup: &Lookup<'_>) -> Result<String, Error> {
    read(text, escape, lookup, Mode::Word).map(|reader| reader.out.whole)
}

/// The meaning of `text` as words: split at blanks that are neither quoted nor escaped, also those of
/// values.
pub fn words(text: &str, escape: char, lookup: &Lookup<'_>) -> Result<Vec<String>, Error> {
    read(text, escape, lookup, Mode::Word).map(|reader| reader.out.into_words())
}

/// The content of a here-document whose name was not quoted. Quotes in it are themselves; an escape has a
/// meaning only before `$` and another escape.
pub fn heredoc(content: &str, escape: char, lookup: &Lookup<'_>) -> Result<String, Error> {
    read(content, escape, lookup, Mode::Heredoc).map(|reader| reader.out.whole)
}

/// Names that `text` uses without saying what holds if they are unset, and that are.
pub fn unset(text: &str, escape: char, lookup: &Lookup<'_>) -> Result<Vec<String>, Error> {
    read(text, escape, lookup, Mode::Word).map(|reader| reader.unset)
}

/// All names that `text` mentions, in the order of their first mention; up to where it makes no sense.
pub fn names(text: &str, escape: char) -> Vec<String> {
    let set = |_: &str| Some(String::from("x"));
    let mut reader = Reader::new(text, escape, &set, Mode::Word);
    // What was read before the error is wanted all the same.
    let _ = reader.read();
    reader.names
}

fn read<'a>(
    text: &'a str,
    escape: char,
    lookup: &'a Lookup<'a>,
    mode: Mode,
) -> Result<Reader<'a>, Error> {
    let mut reader = Reader::new(text, escape, lookup, mode);
    match reader.read() {
        Ok(()) => Ok(reader),
        Err(reason) => Err(Error { word: text.to_owned(), reason }),
    }
}

#[cfg(test)]
mod tests;
