//! Logical lines: an instruction with its continuation lines and here-documents.

use super::error::{Error, Reason};
use super::heredoc::{self, Heredoc};

/// What comments at the top of the file tell the parser. Spec: "Parser directives".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: the image of a frontend. Here it has no effect but on what the text may say.
    pub syntax: Option<String>,
    /// `# escape=`: a backslash or a backquote.
    pub escape: char,
    /// `# check=`: which lint rules to skip, and whether a warning is an error.
    pub check: Option<String>,
}

/// An instruction in one line.
#[derive(Debug, Clone)]
pub(crate) struct Logical {
    /// The first and the last physical line, from 1.
    pub line: usize,
    pub last: usize,
    /// Where it begins in its first line, in characters from 1.
    pub column: usize,
    /// Continuation lines joined, comments in between left out.
    pub text: String,
    /// Comment lines directly above, without `#` and blanks.
    pub comments: Vec<String>,
    pub heredocs: Vec<Heredoc>,
    /// Whether it goes on over a blank line.
    pub blank_continuation: bool,
}

/// A file in lines.
#[derive(Debug)]
pub(crate) struct Lines {
    pub directives: Directives,
    pub logical: Vec<Logical>,
    /// As written, without line ends.
    pub physical: Vec<String>,
}

/// The lines of a Dockerfile.
pub(crate) fn read(text: &[u8]) -> Result<Lines, Error> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let physical = decode(text)?;
    let shown: Vec<String> = physical.iter().map(|line| bare(line).to_owned()).collect();
    let (directives, above) = directives(&shown)?;
    let mut reader =
        Reader { physical: &physical, shown: &shown, at: above, escape: directives.escape };
    let logical = reader.all()?;
    if logical.is_empty() {
        let is_empty = physical.is_empty();
        return Err(Error::of_file(if is_empty { Reason::Empty } else { Reason::NoInstructions }));
    }
    Ok(Lines { directives, logical, physical: shown })
}

/// The lines of a trigger: no directives.
pub(crate) fn read_trigger(text: &str, escape: char) -> Result<Lines, Error> {
    let physical: Vec<&str> = text.split_inclusive('\n').collect();
    let shown: Vec<String> = physical.iter().map(|line| bare(line).to_owned()).collect();
    let logical = Reader { physical: &physical, shown: &shown, at: 0, escape }.all()?;
    let directives = Directives { syntax: None, escape, check: None };
    Ok(Lines { directives, logical, physical: shown })
}

fn decode(text: &[u8]) -> Result<Vec<&str>, Error> {
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match str::from_utf8(line) {
            Ok(line) => lines.push(line),
            Err(error) => {
                let shown = String::from_utf8_lossy(line).trim_end().to_owned();
                let before = line.get(..error.valid_up_to()).unwrap_or_default();
                return Err(Error {
                    line: index + 1,
                    column: String::from_utf8_lossy(before).chars().count() + 1,
                    source_line: shown,
                    reason: Reason::NotText,
                });
            }
        }
    }
    Ok(lines)
}

/// Without its line end.
fn bare(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The directives, and how many lines they take.
fn directives(lines: &[String]) -> Result<(Directives, usize), Error> {
    let mut found = Directives { syntax: None, escape: '\\', check: None };
    let mut escape = None;
    for (index, line) in lines.iter().enumerate() {
        let slot = match directive(line) {
            Some((key, value)) => (key.to_lowercase(), value),
            None => return Ok((found, index)),
        };
        let (key, value) = slot;
        let place = match key.as_str() {
            "syntax" => &mut found.syntax,
            "escape" => &mut escape,
            "check" => &mut found.check,
            _ => return Ok((found, index)),
        };
        let failed = |message| {
            let offset = line.len() - line.trim_start().len();
            Error::at_offset(Reason::Directive(message), index + 1, offset, lines)
        };
        if place.replace(value.to_owned()).is_some() {
            return Err(failed(format!("only one {key} parser directive can be used")));
        }
        if key == "escape" {
            found.escape = match value {
                "\\" => '\\',
                "`" => '`',
                other => {
                    return Err(failed(format!(
                        "invalid escape token '{other}' does not match ` or \\"
                    )));
                }
            };
        }
    }
    Ok((found, lines.len()))
}

/// Key and value of `# key = value`.
fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    (is_key && !value.is_empty()).then_some((key, value))
}

/// The text of a comment line.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('#').map(str::trim)
}

/// Walks the physical lines.
struct Reader<'a> {
    /// With line ends, as the bodies of here-documents keep them.
    physical: &'a [&'a str],
    shown: &'a [String],
    /// The index of the next line.
    at: usize,
    escape: char,
}

impl<'a> Reader<'a> {
    fn all(&mut self) -> Result<Vec<Logical>, Error> {
        let mut all = Vec::new();
        let mut comments = Vec::new();
        while let Some(line) = self.next() {
            if let Some(text) = comment(line) {
                comments.push(text.to_owned());
                continue;
            }
            let comments = std::mem::take(&mut comments);
            if line.trim().is_empty() {
                continue;
            }
            let mut logical = self.join(line, comments);
            if logical.text.trim().is_empty() {
                continue;
            }
            self.bodies(&mut logical)?;
            all.push(logical);
        }
        Ok(all)
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.shown.get(self.at)?;
        self.at += 1;
        Some(line)
    }

    /// The line that begins with `first`, which was just read.
    fn join(&mut self, first: &str, comments: Vec<String>) -> Logical {
        let line = self.at;
        let column = first.chars().take_while(|char| char.is_whitespace()).count() + 1;
        let (text, mut goes_on) = self.continued(first.trim_start());
        let mut text = text.to_owned();
        let mut blank_continuation = false;
        while goes_on {
            let Some(next) = self.next() else { break };
            if comment(next).is_some() {
                continue;
            }
            if next.trim().is_empty() {
                blank_continuation = true;
                continue;
            }
            let (part, again) = self.continued(next);
            text.push_str(part);
            goes_on = again;
        }
        let (last, heredocs) = (self.at, Vec::new());
        Logical { line, last, column, text, comments, heredocs, blank_continuation }
    }

    /// The line without the escape at its end, and whether there was one. Two of them are a literal one.
    fn continued<'b>(&self, line: &'b str) -> (&'b str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }

    /// Reads the bodies of the line's here-documents.
    fn bodies(&mut self, logical: &mut Logical) -> Result<(), Error> {
        for mut heredoc in heredoc::declared(&logical.text, self.escape) {
            let begin = self.at;
            loop {
                let Some(line) = self.next() else {
                    let offset =
                        self.shown.get(begin - 1).and_then(|line| line.find("<<")).unwrap_or(0);
                    let reason = Reason::UnterminatedHeredoc { name: heredoc.name };
                    return Err(Error::at_offset(reason, begin, offset, self.shown));
                };
                if heredoc.ends_with(line) {
                    break;
                }
                let raw = self.physical.get(self.at - 1).copied().unwrap_or_default();
                heredoc.push(raw);
            }
            logical.last = self.at;
            logical.heredocs.push(heredoc);
        }
        Ok(())
    }
}
