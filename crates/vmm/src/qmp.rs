//! Speaking to QEMU's monitor.
//!
//! One command at a time; events that arrive meanwhile are kept for who waits for them. The other side
//! holds a hostile guest: lines and kept events are bounded, and every wait has a deadline.
//!
//! Spec: QEMU docs/interop/qmp-spec.txt.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest line taken.
const LINE: usize = 1 << 20;
/// How many events are kept.
const EVENTS: usize = 64;

/// A connection past its greeting.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: UnixStream,
    received: Vec<u8>,
    events: VecDeque<Event>,
    /// The hypervisor's version, `7.2.22`.
    pub(crate) version: String,
}

/// Something that happened in the hypervisor.
#[derive(Debug)]
struct Event {
    name: String,
    data: Value,
}

/// One line from the monitor.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return")]
    result: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Takes the greeting and ends the negotiation.
    pub(crate) fn connect(stream: UnixStream, deadline: Instant) -> Result<Self, Error> {
        let received = Vec::new();
        let mut qmp = Self { stream, received, events: VecDeque::new(), version: String::new() };
        let greeting = loop {
            if let Some(greeting) = qmp.line("the greeting", deadline)?.greeting {
                break greeting;
            }
        };
        let number = |part| greeting["version"]["qemu"][part].as_u64().unwrap_or(0);
        qmp.version = format!("{}.{}.{}", number("major"), number("minor"), number("micro"));
        qmp.execute("qmp_capabilities", &json!({}), deadline)?;
        Ok(qmp)
    }

    /// Executes `command` and gives what it returns.
    pub(crate) fn execute(
        &mut self,
        command: &'static str,
        arguments: &Value,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let text = request(command, arguments);
        self.stream.write_all(&text).map_err(|source| Error::Io { waiting: command, source })?;
        self.answer(command, deadline)
    }

    /// Gives QEMU a copy of `file` by `command`, whose `arguments` say what later commands call it.
    pub(crate) fn give(
        &mut self,
        command: &'static str,
        arguments: &Value,
        file: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let files = [file];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&files));
        debug_assert!(fits, "the space is made for one descriptor");
        let text = request(command, arguments);
        let io = |source| Error::Io { waiting: command, source };
        let flags = SendFlags::NOSIGNAL;
        let sent =
            rustix::net::sendmsg(&self.stream, &[IoSlice::new(&text)], &mut ancillary, flags)
                .map_err(|errno| io(errno.into()))?;
        self.stream.write_all(&text[sent..]).map_err(io)?;
        self.answer(command, deadline).map(drop)
    }

    /// Waits for an event `name` whose data satisfies `wanted`; others of that name are dropped.
    pub(crate) fn wait(
        &mut self,
        name: &'static str,
        wanted: impl Fn(&Value) -> bool,
        deadline: Instant,
    ) -> Result<Value, Error> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event.name == name && wanted(&event.data) {
                    return Ok(event.data);
                }
            }
            let line = self.line(name, deadline)?;
            self.keep(line);
        }
    }

    fn answer(&mut self, command: &'static str, deadline: Instant) -> Result<Value, Error> {
        loop {
            let line = self.line(command, deadline)?;
            match line {
                Line { error: Some(refusal), .. } => {
                    return Err(Error::Refused { command, reason: refusal.desc });
                }
                Line { result: Some(result), .. } => return Ok(result),
                event => self.keep(event),
            }
        }
    }

    fn keep(&mut self, line: Line) {
        if let Some(name) = line.event {
            if self.events.len() == EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(Event { name, data: line.data });
        }
    }

    fn line(&mut self, waiting: &'static str, deadline: Instant) -> Result<Line, Error> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .map_err(|source| Error::Nonsense { waiting, source });
            }
            if self.received.len() > LINE {
                let source = io::ErrorKind::InvalidData.into();
                return Err(Error::Io { waiting, source });
            }
            self.fill(waiting, deadline)?;
        }
    }

    fn fill(&mut self, waiting: &'static str, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Late { waiting });
        }
        let io = |source| Error::Io { waiting, source };
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).map_err(io)?;
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Error::Ended { waiting }),
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(()),
                io::ErrorKind::ConnectionReset => Err(Error::Ended { waiting }),
                _ => Err(io(error)),
            },
        }
    }
}

fn request(command: &str, arguments: &Value) -> Vec<u8> {
    let mut text = json!({ "execute": command, "arguments": arguments }).to_string().into_bytes();
    text.push(b'\n');
    text
}

/// Why the monitor did not do what it was asked. `waiting` is the command or event in question.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU says no.
    #[error("{command}: {reason}")]
    Refused {
        /// The command.
        command: &'static str,
        /// QEMU's words.
        reason: String,
    },
    /// QEMU closed the connection: it has ended.
    #[error("the hypervisor ended before {waiting}")]
    Ended {
        /// What was waited for.
        waiting: &'static str,
    },
    /// The deadline passed.
    #[error("no answer in time to {waiting}")]
    Late {
        /// What was waited for.
        waiting: &'static str,
    },
    /// What came is not QMP.
    #[error("unreadable answer to {waiting}")]
    Nonsense {
        /// What was waited for.
        waiting: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The socket failed.
    #[error("monitor socket at {waiting}")]
    Io {
        /// What was waited for.
        waiting: &'static str,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}"#;

    /// A monitor that answers each line it reads with the next of `script`.
    fn monitor(script: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut lines = io::BufReader::new(theirs.try_clone().unwrap()).lines();
            let mut theirs = theirs;
            writeln!(theirs, "{GREETING}\r").unwrap();
            for answer in script {
                lines.next().unwrap().unwrap();
                writeln!(theirs, "{answer}").unwrap();
            }
        });
        ours
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn events_between_command_and_answer_are_kept() {
        let stream = monitor(&[
            r#"{"return": {}}"#,
            "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\n{\"return\": {\"n\": 1}}",
            "{\"return\": {}}\n{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}",
        ]);
        let mut qmp = Qmp::connect(stream, soon()).unwrap();
        assert_eq!(qmp.version, "7.2.22");
        assert_eq!(qmp.execute("first", &json!({}), soon()).unwrap()["n"], 1);
        qmp.execute("second", &json!({}), soon()).unwrap();
        let active = qmp.wait("MIGRATION", |data| data["status"] != "none", soon()).unwrap();
        assert_eq!(active["status"], "active");
        let done = qmp.wait("MIGRATION", |data| data["status"] == "completed", soon()).unwrap();
        assert_eq!(done["status"], "completed");
    }

    #[test]
    fn refusals_silence_and_ends_are_told_apart() {
        const REFUSAL: &str = r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#;
        let mut qmp = Qmp::connect(monitor(&[r#"{"return": {}}"#, REFUSAL]), soon()).unwrap();
        let refused = qmp.execute("cont", &json!({}), soon()).unwrap_err();
        assert_eq!(refused.to_string(), "cont: no such thing");
        let ended = qmp.execute("cont", &json!({}), soon()).unwrap_err();
        assert!(matches!(ended, Error::Ended { .. } | Error::Io { .. }), "{ended}");

        let (ours, _theirs) = UnixStream::pair().unwrap();
        let at_once = Instant::now() + Duration::from_millis(20);
        let late = Qmp::connect(ours, at_once).unwrap_err();
        assert_eq!(late.to_string(), "no answer in time to the greeting");
    }
}
