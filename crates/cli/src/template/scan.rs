//! A template's text, cut into pieces and words.

use serde_json::Value;

/// Text, or what stands between `{{` and `}}`.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Dot,
    /// `.Name` on its own.
    Field(String),
    /// `.Name` right behind something.
    Of(String),
    Variable(String),
    Word(String),
    Literal(Value),
    Pipe,
    Open,
    Close,
    Comma,
    Assign,
}

/// Cuts a template. `{{-` takes the white space before it away, `-}}` that behind it.
pub(super) fn pieces(mut text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut trim = false;
    loop {
        let (mut before, rest) = match text.split_once("{{") {
            Some((before, rest)) => (before, Some(rest)),
            None => (text, None),
        };
        if trim {
            before = before.trim_start();
        }
        if rest.is_some_and(|rest| rest.starts_with("- ")) {
            before = before.trim_end();
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(rest) = rest else { return Ok(pieces) };
        let end = end_of(rest).ok_or("a }} is missing")?;
        let mut action = &rest[..end];
        text = &rest[end + 2..];
        action = action.strip_prefix("- ").unwrap_or(action);
        trim = action.ends_with(" -");
        action = action.strip_suffix(" -").unwrap_or(action).trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(action)?));
        }
    }
}

/// Where the `}}` of an action is: not within a string.
fn end_of(action: &str) -> Option<usize> {
    let bytes = action.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, b'"' | b'`') => quote = Some(bytes[at]),
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        at += 1;
    }
    None
}

fn tokens(action: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = action;
    loop {
        let spaced = rest.trim_start();
        let begins = matches!(
            tokens.last(),
            None | Some(Token::Open | Token::Pipe | Token::Comma | Token::Word(_))
        );
        let joined = spaced.len() == rest.len() && !begins;
        rest = spaced;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, length) = match first {
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            ':' | '=' if rest.starts_with(":=") || !rest.starts_with(':') => {
                (Token::Assign, if first == ':' { 2 } else { 1 })
            }
            '.' => match name(&rest[1..]) {
                "" => (Token::Dot, 1),
                name if joined => (Token::Of(name.to_owned()), name.len() + 1),
                name => (Token::Field(name.to_owned()), name.len() + 1),
            },
            '$' => (Token::Variable(name(&rest[1..]).to_owned()), name(&rest[1..]).len() + 1),
            '"' | '`' => string(rest, first)?,
            first if first.is_ascii_digit() || first == '-' => number(rest)?,
            first if first.is_alphabetic() || first == '_' => {
                let word = name(rest);
                let token = match word {
                    "true" | "false" => Token::Literal(Value::Bool(word == "true")),
                    "nil" => Token::Literal(Value::Null),
                    word => Token::Word(word.to_owned()),
                };
                (token, word.len())
            }
            other => return Err(format!("unexpected {other:?}")),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
}

/// The identifier that a text begins with.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

fn string(text: &str, quote: char) -> Result<(Token, usize), String> {
    let missing = || format!("a {quote} is missing");
    if quote == '`' {
        let end = text[1..].find('`').ok_or_else(missing)?;
        return Ok((Token::Literal(text[1..=end].into()), end + 2));
    }
    let mut end = 1;
    while text.as_bytes().get(end).ok_or_else(missing)? != &b'"' {
        end += if text.as_bytes()[end] == b'\\' { 2 } else { 1 };
    }
    let quoted = &text[..=end];
    // What was unescaped before it came here is escaped again: JSON wants it so.
    let json = quoted.replace('\t', "\\t").replace('\n', "\\n");
    let value = serde_json::from_str(&json).map_err(|error| format!("{quoted}: {error}"))?;
    Ok((Token::Literal(value), end + 1))
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let end = text[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map(|end| end + 1);
    let digits = &text[..end.unwrap_or(text.len())];
    let value = serde_json::from_str(digits).map_err(|_| format!("{digits:?} is no number"))?;
    Ok((Token::Literal(value), digits.len()))
}
