//! Reading a word character by character.

use std::iter::Peekable;
use std::str::Chars;

use super::pattern::Pattern;
use super::{Lookup, Reason};

/// How deep substitutions may be nested.
pub(super) const MAX_DEPTH: usize = 64;

/// How long a result may be, in bytes. A Dockerfile doubles a variable in a line: without an end, 40 lines
/// would fill the memory of any machine.
pub(super) const MAX_LENGTH: usize = 16 << 20;

/// What quotes and escapes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A word of an instruction.
    Word,
    /// Content of a here-document: quotes are text.
    Heredoc,
    /// A pattern: escapes stay, for its own reader.
    Pattern,
}

/// A result, as a whole and in words.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub whole: String,
    words: Vec<String>,
    /// The word being written; some, but empty, for `""`.
    word: Option<String>,
}

impl Out {
    /// Adds what splits no words.
    fn quoted(&mut self, text: &str) {
        self.whole.push_str(text);
        self.word.get_or_insert_default().push_str(text);
    }

    /// Adds what ends words by its blanks.
    fn plain(&mut self, text: &str) {
        self.whole.push_str(text);
        for c in text.chars() {
            if c.is_whitespace() {
                self.words.extend(self.word.take());
            } else {
                self.word.get_or_insert_default().push(c);
            }
        }
    }

    pub(super) fn into_words(mut self) -> Vec<String> {
        self.words.extend(self.word.take());
        self.words
    }
}

/// Reads a text.
pub(super) struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    lookup: &'a Lookup<'a>,
    mode: Mode,
    depth: usize,
    pub out: Out,
    /// All names met.
    pub names: Vec<String>,
    /// Names met that are unset, without a word for that.
    pub unset: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, escape: char, lookup: &'a Lookup<'a>, mode: Mode) -> Self {
        let (names, unset) = (Vec::new(), Vec::new());
        let chars = text.chars().peekable();
        Self { chars, escape, lookup, mode, depth: 0, out: Out::default(), names, unset }
    }

    /// Reads all of it.
    pub(super) fn read(&mut self) -> Result<(), Reason> {
        self.until(&[], self.mode).map(drop)
    }

    /// Reads into `out` up to one of `stops` and takes that, or to the end.
    fn until(&mut self, stops: &[char], mode: Mode) -> Result<Option<char>, Reason> {
        while let Some(c) = self.chars.next() {
            if stops.contains(&c) {
                return Ok(Some(c));
            }
            match c {
                '\'' if mode != Mode::Heredoc => self.single_quoted()?,
                '"' if mode != Mode::Heredoc => self.double_quoted()?,
                '$' => {
                    let value = self.dollar(mode)?;
                    self.out.plain(&value);
                }
                c if c == self.escape => self.escaped(mode),
                c => self.out.plain(c.encode_utf8(&mut [0; 4])),
            }
            self.check_length()?;
        }
        Ok(None)
    }

    fn check_length(&self) -> Result<(), Reason> {
        if self.out.whole.len() > MAX_LENGTH { Err(Reason::TooLong) } else { Ok(()) }
    }

    /// What is behind an escape.
    fn escaped(&mut self, mode: Mode) {
        let next = match mode {
            Mode::Word | Mode::Pattern => self.chars.next(),
            Mode::Heredoc => self.chars.next_if(|c| *c == '$' || *c == self.escape),
        };
        let keeps = match mode {
            Mode::Word => false,
            Mode::Pattern => true,
            Mode::Heredoc => next.is_none(),
        };
        if keeps {
            // A pattern knows the backslash only.
            let kept = if mode == Mode::Pattern { '\\' } else { self.escape };
            self.out.quoted(kept.encode_utf8(&mut [0; 4]));
        }
        if let Some(next) = next {
            self.out.quoted(next.encode_utf8(&mut [0; 4]));
        }
    }

    fn single_quoted(&mut self) -> Result<(), Reason> {
        let mut text = String::new();
        loop {
            match self.chars.next() {
                Some('\'') => break,
                Some(c) => text.push(c),
                None => return Err(Reason::OpenQuote("single")),
            }
        }
        self.out.quoted(&text);
        Ok(())
    }

    fn double_quoted(&mut self) -> Result<(), Reason> {
        self.out.quoted("");
        loop {
            match self.chars.next() {
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.dollar(Mode::Word)?;
                    self.out.quoted(&value);
                    self.check_length()?;
                }
                Some(c) if c == self.escape => {
                    let escapable = |next: &char| matches!(next, '"' | '$') || *next == self.escape;
                    match self.chars.next_if(escapable) {
                        Some(next) => self.out.quoted(next.encode_utf8(&mut [0; 4])),
                        None => self.out.quoted(c.encode_utf8(&mut [0; 4])),
                    }
                }
                Some(c) => self.out.quoted(c.encode_utf8(&mut [0; 4])),
                None => return Err(Reason::OpenQuote("double")),
            }
        }
    }

    /// What is behind `$`.
    fn dollar(&mut self, mode: Mode) -> Result<String, Reason> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braces(mode);
        }
        let name = self.name();
        Ok(if name.is_empty() { String::from("$") } else { self.value(&name) })
    }

    /// A name, a number or a single special character; empty if there is none.
    fn name(&mut self) -> String {
        let name = self.bare_name();
        if !name.is_empty() && !self.names.contains(&name) {
            self.names.push(name.clone());
        }
        name
    }

    fn bare_name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self.chars.next_if(|c| "@*#?-$!".contains(*c)) {
            name.push(special);
            return name;
        }
        let is_number = self.chars.peek().is_some_and(char::is_ascii_digit);
        let is_part =
            |c: &char| c.is_ascii_digit() || !is_number && (c.is_alphanumeric() || *c == '_');
        while let Some(c) = self.chars.next_if(is_part) {
            name.push(c);
        }
        name
    }

    /// The value of a name that has none without being told.
    fn value(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if !self.unset.iter().any(|known| known == name) {
                self.unset.push(name.to_owned());
            }
            String::new()
        })
    }

    /// What is behind `${`.
    fn braces(&mut self, mode: Mode) -> Result<String, Reason> {
        match self.chars.peek() {
            None => return Err(Reason::OpenBrace),
            Some('{' | '}' | ':') => return Err(Reason::BadSubstitution),
            _ => {}
        }
        let name = self.name();
        if name.is_empty() {
            return Err(Reason::BadSubstitution);
        }
        match self.chars.next() {
            None => Err(Reason::OpenBrace),
            Some('}') => Ok(self.value(&name)),
            Some(':') => match self.chars.next() {
                None => Err(Reason::OpenBrace),
                Some(operator @ ('-' | '+' | '?')) => self.conditional(&name, operator, true, mode),
                Some(other) => Err(Reason::Modifier(format!(":{other}"))),
            },
            Some(operator @ ('-' | '+' | '?')) => self.conditional(&name, operator, false, mode),
            Some('#') => {
                let longest = self.chars.next_if_eq(&'#').is_some();
                let pattern = self.pattern()?;
                let value = self.value(&name);
                pattern.without_prefix(&value, longest)
            }
            Some('%') => {
                let longest = self.chars.next_if_eq(&'%').is_some();
                let pattern = self.pattern()?;
                let value = self.value(&name);
                pattern.without_suffix(&value, longest)
            }
            Some('/') => self.replaced(&name, mode),
            Some(other) => Err(Reason::Modifier(other.to_string())),
        }
    }

    /// `${x:-word}` and its kin; `colon` counts empty as unset.
    fn conditional(
        &mut self,
        name: &str,
        operator: char,
        colon: bool,
        mode: Mode,
    ) -> Result<String, Reason> {
        let (word, _) = self.nested(&['}'], mode)?;
        let value = (self.lookup)(name);
        let has = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        match operator {
            '-' if has => Ok(value.unwrap_or_default()),
            '-' => Ok(word),
            '+' if has => Ok(word),
            '+' => Ok(String::new()),
            _ if has => Ok(value.unwrap_or_default()),
            _ => {
                let why = if value.is_some() { "empty" } else { "unset" };
                let message =
                    if word.is_empty() { format!("is not allowed to be {why}") } else { word };
                Err(Reason::Required { name: name.to_owned(), message })
            }
        }
    }

    fn pattern(&mut self) -> Result<Pattern, Reason> {
        let (text, _) = self.nested(&['}'], Mode::Pattern)?;
        Ok(Pattern::new(&text))
    }

    /// `${x/pattern/replacement}`; a second slash at once means all of them.
    fn replaced(&mut self, name: &str, mode: Mode) -> Result<String, Reason> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let (pattern, stop) = self.nested(&['/', '}'], Mode::Pattern)?;
        let replacement = if stop == '/' { self.nested(&['}'], mode)?.0 } else { String::new() };
        let value = self.value(name);
        Pattern::new(&pattern).replace(&value, &replacement, all)
    }

    /// A word within braces, and which of `stops` ended it.
    fn nested(&mut self, stops: &[char], mode: Mode) -> Result<(String, char), Reason> {
        if self.depth == MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        self.depth += 1;
        let outer = std::mem::take(&mut self.out);
        let stop = self.until(stops, mode);
        let inner = std::mem::replace(&mut self.out, outer);
        self.depth -= 1;
        Ok((inner.whole, stop?.ok_or(Reason::OpenBrace)?))
    }
}
