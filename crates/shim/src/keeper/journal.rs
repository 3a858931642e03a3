//! A container's log in the form of Docker's `json-file` driver.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","time":"2026-11-22T14:06:51.123456789Z"}
//! ```
//!
//! One object a line of output; a line longer than [`PIECE`] becomes several, only the last of which
//! ends in a newline. Readers put them together by that.
//!
//! Invariant: no two objects of a run have the same time, and times grow, so that a reader knows by
//! the time of its last object what is new to it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use spec::journal::Plan;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::keeper::Output;
use crate::keeper::rotate::Rotating;

/// The longest piece of a line that becomes one object, in bytes, as in Docker.
const PIECE: usize = 16 << 10;

/// The log, and the unfinished line of each stream.
#[derive(Debug)]
pub(crate) struct Journal<W> {
    file: W,
    /// Written with each object.
    attributes: BTreeMap<String, String>,
    /// The time of the last object.
    last: OffsetDateTime,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// A failed write was reported; the next ones are not.
    broken: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    log: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: &'a BTreeMap<String, String>,
    time: &'a str,
}

impl<W: Write> Journal<W> {
    /// A log at the end of `file`.
    pub(crate) fn new(file: W, attributes: BTreeMap<String, String>) -> Self {
        let (stdout, stderr) = (Vec::new(), Vec::new());
        let last = OffsetDateTime::UNIX_EPOCH;
        Self { file, attributes, last, stdout, stderr, broken: false }
    }

    /// Records what a stream brought.
    pub(crate) fn record(&mut self, output: Output, bytes: &[u8]) {
        let mut line = std::mem::take(self.unfinished(output));
        line.extend_from_slice(bytes);
        let mut text = Vec::new();
        let now = OffsetDateTime::now_utc();
        let mut rest = line.as_slice();
        while let Some(length) = piece(rest) {
            let (head, tail) = rest.split_at(length);
            self.write_entry(&mut text, output, head, now);
            rest = tail;
        }
        *self.unfinished(output) = rest.to_vec();
        self.write(&text);
    }

    /// Records the last line of a stream that has ended, if it has no newline.
    pub(crate) fn end(&mut self, output: Output) {
        let line = std::mem::take(self.unfinished(output));
        if line.is_empty() {
            return;
        }
        let mut text = Vec::new();
        self.write_entry(&mut text, output, &line, OffsetDateTime::now_utc());
        self.write(&text);
    }

    fn write_entry(
        &mut self,
        text: &mut Vec<u8>,
        output: Output,
        bytes: &[u8],
        now: OffsetDateTime,
    ) {
        self.last = now.max(self.last + Duration::from_nanos(1));
        let time = self.last.format(&Rfc3339).expect("years have four digits for a while");
        let stream = match output {
            Output::Stdout => "stdout",
            Output::Stderr => "stderr",
        };
        let log = String::from_utf8_lossy(bytes);
        let entry = Entry { log: &log, stream, attrs: &self.attributes, time: &time };
        serde_json::to_writer(&mut *text, &entry).expect("strings always become JSON");
        text.push(b'\n');
    }

    fn unfinished(&mut self, output: Output) -> &mut Vec<u8> {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }

    /// A full disk must not stop the container, so a failure is told once and survived.
    fn write(&mut self, text: &[u8]) {
        match self.file.write_all(text) {
            Ok(()) => self.broken = false,
            Err(error) if !self.broken => {
                self.broken = true;
                tracing::error!(%error, "container log cannot be written, lines are lost");
            }
            Err(_) => {}
        }
    }
}

/// The length of the first finished piece of `bytes`: a line, or [`PIECE`] bytes less what would cut
/// a character in two.
fn piece(bytes: &[u8]) -> Option<usize> {
    let window = &bytes[..bytes.len().min(PIECE)];
    if let Some(at) = window.iter().position(|byte| *byte == b'\n') {
        return Some(at + 1);
    }
    if bytes.len() <= PIECE {
        return None;
    }
    let continues = |at: &usize| bytes[*at] & 0xC0 == 0x80;
    Some((PIECE - 3..=PIECE).rev().find(|at| !continues(at)).unwrap_or(PIECE))
}

/// Opens the log of `plan` at `path` for appending.
pub(crate) fn open(path: &Path, plan: &Plan) -> io::Result<Journal<Rotating>> {
    Ok(Journal::new(Rotating::open(path, plan)?, plan.attributes.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(journal: Journal<Vec<u8>>) -> Vec<(String, String)> {
        let text = String::from_utf8(journal.file).expect("JSON is UTF-8");
        let entry = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).expect("one object a line");
            let field = |name: &str| value[name].as_str().expect("a string").to_owned();
            assert!(OffsetDateTime::parse(&field("time"), &Rfc3339).is_ok());
            (field("stream"), field("log"))
        };
        text.lines().map(entry).collect()
    }

    #[test]
    fn a_line_is_one_entry_however_it_arrives() {
        let mut journal = Journal::new(Vec::new(), BTreeMap::new());
        journal.record(Output::Stdout, b"he");
        journal.record(Output::Stderr, b"oops\n");
        journal.record(Output::Stdout, b"llo\nworld\nno newline");
        journal.end(Output::Stdout);
        journal.end(Output::Stderr);
        let want = [
            ("stderr", "oops\n"),
            ("stdout", "hello\n"),
            ("stdout", "world\n"),
            ("stdout", "no newline"),
        ];
        assert_eq!(entries(journal), want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn every_entry_has_a_time_of_its_own() {
        let mut journal = Journal::new(Vec::new(), BTreeMap::from([("a".into(), "b".into())]));
        journal.record(Output::Stdout, b"1\n2\n3\n");
        let text = String::from_utf8(journal.file).expect("JSON is UTF-8");
        let values: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        let time = |value: &serde_json::Value| {
            OffsetDateTime::parse(value["time"].as_str().expect("text"), &Rfc3339).expect("a time")
        };
        assert!(values.windows(2).all(|pair| time(&pair[0]) < time(&pair[1])), "{text}");
        assert!(values.iter().all(|value| value["attrs"]["a"] == "b"), "{text}");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut journal = Journal::new(Vec::new(), BTreeMap::new());
        let line = format!("x{}\n", "é".repeat(PIECE));
        for chunk in line.as_bytes().chunks(1000) {
            journal.record(Output::Stdout, chunk);
        }
        let pieces: Vec<String> = entries(journal).into_iter().map(|(_, log)| log).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE && !piece.contains('\u{fffd}')));
        assert_eq!(pieces.concat(), line);
        assert_eq!(pieces.len(), 3);
    }

    #[test]
    fn bytes_that_are_no_text_still_make_an_entry() {
        let mut journal = Journal::new(Vec::new(), BTreeMap::new());
        journal.record(Output::Stdout, b"a\xffb\n");
        assert_eq!(entries(journal), [("stdout".to_owned(), "a\u{fffd}b\n".to_owned())]);
    }
}
