//! The YAML in which tools write device files: blocks of keys and lists, plain and quoted words, and `[]`, `{}`.
//!
//! What else YAML has (anchors, tags, several documents, texts of several lines) no tool writes there: it is
//! refused by its line. A plain word is a number, `true`, `false` or `null` where it looks like one, as in
//! YAML 1.2's core schema.
//!
//! Spec: YAML 1.2.2, chapters 7 and 8; the parts named above.

use serde_json::{Map, Number, Value};

/// How deep blocks and brackets may be.
const DEPTH: usize = 32;

/// Reads a document.
///
/// # Errors
///
/// The line, and what there is not understood.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = Line::read(number + 1, line)?;
        // A document may be marked as one at its beginning.
        if line.text.is_empty() || (lines.is_empty() && line.text == "---") {
            continue;
        }
        lines.push(line);
    }
    let mut blocks = Blocks { lines, at: 0 };
    let Some(first) = blocks.lines.first() else { return Ok(Value::Null) };
    let value = blocks.block(first.indent, 0)?;
    match blocks.lines.get(blocks.at) {
        None => Ok(value),
        Some(line) => Err(line.wrong("it belongs to nothing above")),
    }
}

/// A line without its comment.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    number: usize,
    indent: usize,
    text: String,
}

impl Line {
    fn read(number: usize, line: &str) -> Result<Self, String> {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let line = Self { number, indent, text: uncommented(text).trim_end().to_owned() };
        if line.text.starts_with('\t') {
            return Err(line.wrong("it is indented by a tab"));
        }
        Ok(line)
    }

    fn wrong(&self, problem: &str) -> String {
        format!("line {}: {problem}: {:?}", self.number, self.text)
    }

    /// What stands behind `- `, as a line of its own.
    fn item(&self) -> Option<Self> {
        let rest = self.text.strip_prefix('-')?;
        let text = rest.trim_start_matches(' ');
        (rest.is_empty() || rest.starts_with(' ')).then(|| Self {
            indent: self.indent + self.text.len() - text.len(),
            text: text.to_owned(),
            ..*self
        })
    }

    /// Key and value of `KEY: VALUE` or `KEY:`.
    fn pair(&self) -> Result<Option<(String, String)>, String> {
        let end = match self.text.chars().next() {
            Some(quote @ ('"' | '\'')) => match closing(&self.text, quote) {
                Some(end) => end,
                None => return Err(self.wrong("a quote is not closed")),
            },
            Some('[' | '{') | None => return Ok(None),
            Some(_) => {
                let ends = |at: &usize| {
                    let rest = &self.text[at + 1..];
                    rest.is_empty() || rest.starts_with(' ')
                };
                match self.text.match_indices(':').map(|(at, _)| at).find(ends) {
                    Some(end) => end,
                    None => return Ok(None),
                }
            }
        };
        let (key, rest) = self.text.split_at(end);
        let Some(value) = rest.strip_prefix(':') else { return Ok(None) };
        let key = match Words::of(self, key).whole()? {
            Value::String(key) => key,
            other => other.to_string(),
        };
        Ok(Some((key, value.trim().to_owned())))
    }
}

/// Where the quoted text ends that `text` begins with.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => {
                if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') {
                    escaped = true;
                } else {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// A text without its comment, which begins with a `#` behind a blank, outside of quotes.
fn uncommented(text: &str) -> &str {
    let (mut quote, mut before, mut escaped) = (None, ' ', false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' => return &text[..at],
            // A quote in the middle of a plain word is one of its letters.
            (None, '"' | '\'') if " [{,:".contains(before) => quote = Some(c),
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !escaped => quote = None,
            _ => {}
        }
        (escaped, before) = (false, c);
    }
    text
}

struct Blocks {
    lines: Vec<Line>,
    at: usize,
}

impl Blocks {
    /// The block that begins here, all of it at `indent`.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let Some(line) = self.lines.get(self.at).cloned() else { return Ok(Value::Null) };
        if depth > DEPTH {
            return Err(line.wrong("blocks are too deep"));
        }
        if line.item().is_some() {
            return self.list(indent, depth);
        }
        if line.pair()?.is_some() {
            return self.map(indent, depth);
        }
        self.at += 1;
        Words::of(&line, &line.text).whole()
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut list = Vec::new();
        while let Some(line) = self.lines.get(self.at).filter(|line| line.indent == indent) {
            let Some(item) = line.item() else { break };
            if item.text.is_empty() {
                self.at += 1;
                list.push(self.below(indent + 1, depth)?);
                continue;
            }
            // What follows it on its line is the first line of a block of its own.
            let inner = item.indent;
            self.lines[self.at] = item;
            list.push(self.block(inner, depth + 1)?);
        }
        Ok(Value::Array(list))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut map = Map::new();
        while let Some(line) = self.lines.get(self.at).filter(|line| line.indent == indent).cloned()
        {
            if line.item().is_some() {
                break;
            }
            let Some((key, value)) = line.pair()? else {
                return Err(line.wrong("want KEY: VALUE"));
            };
            self.at += 1;
            let value = if value.is_empty() {
                // A list may stand right beneath its key.
                let listed = self
                    .lines
                    .get(self.at)
                    .is_some_and(|next| next.indent == indent && next.item().is_some());
                self.below(if listed { indent } else { indent + 1 }, depth)?
            } else {
                Words::of(&line, &value).whole()?
            };
            if map.insert(key, value).is_some() {
                return Err(line.wrong("the key is there already"));
            }
        }
        Ok(Value::Object(map))
    }

    /// The block that is indented by at least `least`; null where there is none.
    fn below(&mut self, least: usize, depth: usize) -> Result<Value, String> {
        match self.lines.get(self.at).map(|line| line.indent).filter(|indent| *indent >= least) {
            Some(indent) => self.block(indent, depth + 1),
            None => Ok(Value::Null),
        }
    }
}

/// Words on one line, and brackets around them.
struct Words<'a> {
    line: &'a Line,
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn of(line: &'a Line, text: &'a str) -> Self {
        Self { line, rest: text.trim() }
    }

    /// The only value.
    fn whole(mut self) -> Result<Value, String> {
        let value = match self.rest.chars().next() {
            Some('"' | '\'' | '[' | '{') => self.word(0, false)?,
            _ => plain(self.line, std::mem::take(&mut self.rest))?,
        };
        if self.rest.trim().is_empty() { Ok(value) } else { Err(self.line.wrong("too many words")) }
    }

    fn word(&mut self, depth: usize, key: bool) -> Result<Value, String> {
        self.rest = self.rest.trim_start();
        if depth > DEPTH {
            return Err(self.line.wrong("brackets are too deep"));
        }
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let unclosed = || self.line.wrong("a quote is not closed");
                let end = closing(self.rest, quote).ok_or_else(unclosed)?;
                let (quoted, rest) = self.rest.split_at(end);
                self.rest = rest;
                let inner = &quoted[1..quoted.len() - 1];
                match quote {
                    '\'' => Ok(inner.replace("''", "'").into()),
                    // What tools escape, JSON does the same way.
                    _ => serde_json::from_str(quoted)
                        .map_err(|error| self.line.wrong(&error.to_string())),
                }
            }
            Some('[') => self
                .bracket(']', depth)
                .map(|all| Value::Array(all.into_iter().map(|(_, value)| value).collect())),
            Some('{') => Ok(Value::Object(self.bracket('}', depth)?.into_iter().collect())),
            _ => {
                let ends = |c: char| matches!(c, ',' | ']' | '}') || (key && c == ':');
                let end = self.rest.find(ends).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                plain(self.line, word.trim())
            }
        }
    }

    /// What is in brackets; keys are empty in a list.
    fn bracket(&mut self, close: char, depth: usize) -> Result<Vec<(String, Value)>, String> {
        let mut all = Vec::new();
        self.rest = self.rest[1..].trim_start();
        loop {
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                return Ok(all);
            }
            let mut key = String::new();
            if close == '}' {
                key = match self.word(depth + 1, true)? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                self.rest = self.rest.trim_start();
                let pairs = || self.line.wrong("want KEY: VALUE in braces");
                self.rest = self.rest.strip_prefix(':').ok_or_else(pairs)?;
            }
            all.push((key, self.word(depth + 1, false)?));
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest.trim_start(),
                None if self.rest.starts_with(close) => {}
                None => return Err(self.line.wrong("a bracket is not closed")),
            }
        }
    }
}

/// A word without quotes.
fn plain(line: &Line, word: &str) -> Result<Value, String> {
    if word.starts_with(['&', '*', '!', '|', '>', '%', '@', '`', '?']) {
        return Err(line.wrong("this part of YAML is not read"));
    }
    Ok(match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        word => match number(word) {
            Some(number) => Value::Number(number),
            None => word.into(),
        },
    })
}

/// The number that a word is: decimal, `0o17` or `0x1f`.
fn number(word: &str) -> Option<Number> {
    let radix = |text: &str, radix| i64::from_str_radix(text, radix).ok().map(Number::from);
    if let Some(octal) = word.strip_prefix("0o") {
        return radix(octal, 8);
    }
    if let Some(hex) = word.strip_prefix("0x") {
        return radix(hex, 16);
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return word.parse::<i64>().ok().map(Number::from);
    }
    let float = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.matches('.').count() == 1
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    float.then(|| word.parse().ok().and_then(Number::from_f64)).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tools_write_is_read() {
        // As nvidia-ctk and sigs.k8s.io/yaml write it.
        let text = r#"---
cdiVersion: 0.5.0   # a version is no number
kind: nvidia.com/gpu
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    - --link
    - ../libnvidia-allocator.so.1::/usr/lib/gbm/nvidia-drm_gbm.so
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
    - hostPath: "/run/a\tb"
      containerPath: '/run/it''s'
      options: [ro, nosuid, "bind"]
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      major: 195
      fileMode: 0o666
    -
      path: /dev/null
- name: all
  annotations: {a: b, "c": 'd'}
  containerEdits: {}
"#;
        let want = json!({
            "cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",
            "containerEdits": {
                "env": ["NVIDIA_VISIBLE_DEVICES=void"],
                "hooks": [{
                    "args": ["nvidia-cdi-hook", "create-symlinks", "--link",
                        "../libnvidia-allocator.so.1::/usr/lib/gbm/nvidia-drm_gbm.so"],
                    "hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook",
                }],
                "mounts": [{ "hostPath": "/run/a\tb", "containerPath": "/run/it's",
                    "options": ["ro", "nosuid", "bind"] }],
            },
            "devices": [
                { "name": "0", "containerEdits": { "deviceNodes": [
                    { "path": "/dev/nvidia0", "major": 195, "fileMode": 0o666 },
                    { "path": "/dev/null" },
                ]}},
                { "name": "all", "annotations": { "a": "b", "c": "d" }, "containerEdits": {} },
            ],
        });
        assert_eq!(parse(text), Ok(want));
    }

    #[test]
    fn words_are_what_they_look_like() {
        for (word, want) in [
            ("1", json!(1)),
            ("-7", json!(-7)),
            ("1.5", json!(1.5)),
            ("0x1f", json!(31)),
            ("1.0.0", json!("1.0.0")),
            ("true", json!(true)),
            ("~", json!(null)),
            ("a: b: c", json!({ "a": "b: c" })),
            ("a#b", json!("a#b")),
            ("it's", json!("it's")),
            ("[]", json!([])),
            ("[[1, 2], {a: 3}]", json!([[1, 2], { "a": 3 }])),
            ("\"a # b\"", json!("a # b")),
            ("", json!(null)),
        ] {
            assert_eq!(parse(word).as_ref(), Ok(&want), "{word}");
        }
    }

    #[test]
    fn what_is_not_read_is_refused_by_its_line() {
        let deep = "- ".repeat(200) + "x";
        let brackets = "[".repeat(200);
        for text in [
            "a: 1\na: 2",
            "a: &x 1",
            "a: |\n  b",
            "a: 1\n---\nb: 2",
            "a: \"b",
            "a: [1",
            "a: {1}",
            "\ta: 1",
            "a:\n    b: 1\n  c: 2",
            "a: 'b' c",
            &deep,
            &brackets,
            "- a\nb: 1",
            "{a: [}",
        ] {
            let said = parse(text).expect_err(text);
            assert!(said.starts_with("line "), "{text}: {said}");
        }
    }
}
