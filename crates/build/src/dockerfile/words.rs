//! Words of an instruction's line.
//!
//! Quotes and escapes end no word, but stay in it.

use serde_json::Value;

use super::error::Reason;

/// A name with its value, and whether `=` was between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub name: String,
    pub value: String,
    pub equals: bool,
}

/// The first word of a line and the rest, without blanks around.
pub(super) fn keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    match line.split_once(char::is_whitespace) {
        Some((keyword, rest)) => (keyword, rest.trim()),
        None => (line, ""),
    }
}

/// The flags at the beginning of `rest`, without quotes and escapes, and what is behind them. A `--` alone
/// ends them.
pub(super) fn flags(rest: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let end = end_of_word(rest, '\\');
        let (word, behind) = rest.split_at(end);
        rest = behind.trim_start();
        if word == "--" {
            break;
        }
        flags.push(unquoted(word, '\\'));
    }
    (flags, rest)
}

/// The strings of a JSON array; `None` if `rest` is something else.
pub(super) fn json(rest: &str) -> Result<Option<Vec<String>>, Reason> {
    if !rest.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(rest) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        Value::String(string) => Ok(string),
        _ => Err(Reason::JsonNotStrings),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// Words between blanks, whatever is in them.
pub(super) fn blank_separated(rest: &str) -> Vec<String> {
    rest.split_whitespace().map(str::to_owned).collect()
}

/// Words between blanks that are neither quoted nor escaped. An escape at the end is dropped.
pub(super) fn split(rest: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(end_of_word(rest, escape));
        let escapes = word.chars().rev().take_while(|c| *c == escape).count();
        let dangling = behind.is_empty() && escapes % 2 == 1;
        let word = if dangling { word.strip_suffix(escape).unwrap_or(word) } else { word };
        if !word.is_empty() {
            words.push(word.to_owned());
        }
        rest = behind.trim_start();
    }
    words
}

/// Where the word that `rest` begins with ends, in bytes.
fn end_of_word(rest: &str, escape: char) -> usize {
    let mut quote = None;
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return at,
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            // Within single quotes, nothing is escaped.
            None | Some('"') if c == escape => drop(chars.next()),
            _ => {}
        }
    }
    rest.len()
}

/// A word without its quotes and escapes.
pub(super) fn unquoted(word: &str, escape: char) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            None | Some('"') if c == escape => plain.extend(chars.next()),
            _ => plain.push(c),
        }
    }
    plain
}

/// The names and values of `ENV` and `LABEL`: `name=value name=value` or the older `name value`.
pub(super) fn pairs(rest: &str, instruction: &str, escape: char) -> Result<Vec<Pair>, Reason> {
    let words = split(rest, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let (name, value) = keyword(rest);
        if value.is_empty() {
            let rule = "must have two arguments";
            return Err(Reason::Arguments { name: instruction.to_owned(), rule });
        }
        return Ok(vec![Pair { name: name.to_owned(), value: value.to_owned(), equals: false }]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => {
            Ok(Pair { name: name.to_owned(), value: value.to_owned(), equals: true })
        }
        None => Err(Reason::NoEquals { word }),
    };
    words.into_iter().map(pair).collect()
}
