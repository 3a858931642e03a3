//! Here-documents.
//!
//! Spec: Dockerfile reference, "Here-Documents"; POSIX shell, "Here-Document".

use super::words;

/// Lines of the Dockerfile given to a command, or made a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// What ended it; for `COPY`, the name of the file if the destination is a directory.
    pub name: String,
    /// The lines, each with its line end, leading tabs removed if it was `<<-`.
    pub content: String,
    /// Whether variables in it are expanded: the name was written without quotes.
    pub expand: bool,
    /// Where a command reads it: `3` of `3<<EOF`, 0 if not said.
    pub descriptor: u32,
    /// Whether it was `<<-`.
    pub(crate) strip: bool,
}

impl Heredoc {
    /// The here-document that a word begins, still without content: `3<<-"EOF"`.
    pub(super) fn from_word(word: &str, escape: char) -> Option<Self> {
        let (descriptor, rest) = word.split_once("<<")?;
        if !descriptor.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let descriptor = if descriptor.is_empty() { 0 } else { descriptor.parse().ok()? };
        let (strip, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        if rest.contains('<') {
            return None;
        }
        let name = words::unquoted(rest, escape);
        let expand = name == rest;
        (!name.is_empty()).then_some(Self {
            name,
            content: String::new(),
            expand,
            descriptor,
            strip,
        })
    }

    /// Whether a word is the one that began it.
    pub(super) fn is_named_in(&self, word: &str) -> bool {
        ['\\', '`'].iter().any(|escape| {
            Self::from_word(word, *escape).is_some_and(|begun| begun.name == self.name)
        })
    }

    /// Whether `line` is the one behind its last.
    pub(super) fn ends_with(&self, line: &str) -> bool {
        self.stripped(line) == self.name
    }

    /// Takes one more line.
    pub(super) fn push(&mut self, line: &str) {
        let line = self.stripped(line);
        self.content.push_str(line);
    }

    fn stripped<'a>(&self, line: &'a str) -> &'a str {
        if self.strip { line.trim_start_matches('\t') } else { line }
    }
}

/// The here-documents that an instruction's line announces, without content. Only `RUN`, `COPY` and `ADD`
/// have some, and only without JSON.
pub(super) fn declared(line: &str, escape: char) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let (mut name, mut rest) = words::keyword(line);
    if name.eq_ignore_ascii_case("ONBUILD") {
        (name, rest) = words::keyword(words::flags(rest).1);
    }
    let takes = ["RUN", "COPY", "ADD"].iter().any(|taker| name.eq_ignore_ascii_case(taker));
    let (_, rest) = words::flags(rest);
    if !takes || !matches!(words::json(rest), Ok(None)) {
        return Vec::new();
    }
    let words = words::split(rest, escape);
    words.iter().filter_map(|word| Heredoc::from_word(word, escape)).collect()
}
