//! What a hostile guest sends, given to the shim's end of a channel: for `fuzz/` and for the tests here.
//!
//! The input is a script, each byte of which means something: what the guest sends, and what those who use the
//! shim's end do meanwhile. All of it happens on one thread, so a script has one outcome. [`model`] says
//! what it must be.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as _;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::client::{Client, Error, Pending};
use crate::frame::{StreamId, Type};
use crate::link::Ended;
use crate::message::{MAX_CHAIN, MAX_MESSAGE};
use crate::{Receiver, Request, Sender};

mod model;

use model::{Answered, Model};

/// The streams that have users, each in both directions. The guest also names one that has none, and two that
/// there are not.
const STREAMS: std::ops::Range<StreamId> = 1..3;
const NUMBERED: StreamId = 3;
const NAMES: u8 = 5;

/// Answers of a guest that has read the protocol.
const ANSWERS: [&[u8]; 8] = [
    br#"{"Ok":"done"}"#,
    br#"{"Ok":{"exit":{"code":7}}}"#,
    br#"{"Ok":{"exit":{"code":256}}}"#,
    br#"{"Ok":{"came":{"visitor":{"socket":{"node":18446744073709551615}}}}}"#,
    br#"{"Err":{"kind":"internal","message":"\u001b[2J","cause":null}}"#,
    br#"{"Ok":"done"} "x""#,
    br#"{"Ok":{"processes":{"list":[{}]}}}"#,
    b"",
];

/// One script from its first byte to its last, or to the end of the channel. Gives how that ended.
///
/// # Panics
///
/// When a promise is broken: a rule that is not enforced, or one that was kept and is said not to be; bytes of a
/// stream that are not those that were sent; a frame of the shim's that an agent would not take; somebody
/// who is not told of the end.
pub fn guest(script: &[u8]) -> Arc<Ended> {
    let said = Said::default();
    let (client, reading) = Client::over(said.clone());
    for number in 1..=NUMBERED {
        assert_eq!(client.stream(), number);
    }
    let mut play = Play {
        script,
        under_way: VecDeque::new(),
        receivers: STREAMS.map(|id| (id, client.receiver(id))).collect(),
        senders: STREAMS.map(|id| (id, client.sender(id))).collect(),
        calls: Vec::new(),
        client,
        said,
        model: Model::new(STREAMS, NUMBERED),
    };
    let ended = reading.read(&mut play);
    play.end(&ended);
    ended
}

/// A script that is played.
struct Play<'a> {
    script: &'a [u8],
    /// What the guest has sent and nobody has read yet.
    under_way: VecDeque<u8>,
    client: Client,
    receivers: BTreeMap<StreamId, Receiver>,
    senders: BTreeMap<StreamId, Sender>,
    calls: Vec<Pending>,
    said: Said,
    model: Model,
}

/// What the shim writes.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Play<'_> {
    /// Goes on with the script until the guest sends something. Whoever reads has served all that came before.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.under_way.is_empty() {
            assert!(!self.model.broken, "it goes on though the guest broke the protocol");
            if self.step().is_none() || self.model.broken && self.under_way.is_empty() {
                return Ok(0);
            }
            self.model.hear_shim(&self.said.take());
        }
        self.under_way.read(buffer)
    }
}

impl Play<'_> {
    fn step(&mut self) -> Option<()> {
        match self.byte()? % 11 {
            0 => self.data()?,
            1 => self.frame(Type::End, |_| Some(Vec::new()))?,
            2 => self.frame(Type::Credit, |play| {
                let bytes = u32::from(play.word()?) << (play.byte()? % 17);
                Some(bytes.to_le_bytes().into())
            })?,
            3 => self.frame(Type::Stop, |_| Some(Vec::new()))?,
            4 => self.frame(Type::Answer, |play| {
                Some(ANSWERS[usize::from(play.byte()?) % ANSWERS.len()].into())
            })?,
            5 => self.frame(Type::Answer, Self::rest)?,
            6 => {
                let raw = self.rest()?;
                self.send(&raw);
            }
            7 => self.read_stream()?,
            8 => self.write_stream()?,
            9 => self.drop_ends()?,
            _ => self.call()?,
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        self.script.split_off_first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    fn name(&mut self) -> Option<StreamId> {
        Some(StreamId::from(self.byte()? % NAMES))
    }

    /// So many bytes of the script as they are.
    fn rest(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(self.byte()?).min(self.script.len());
        self.script.split_off(..length).map(Vec::from)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.under_way.extend(bytes);
        self.model.hear_guest(bytes);
    }

    /// A frame whose header says what follows.
    fn frame(&mut self, kind: Type, body: impl FnOnce(&mut Self) -> Option<Vec<u8>>) -> Option<()> {
        let (number, body) = (self.name()?, body(self)?);
        let frame = crate::frame::Frame::new(number, kind, body);
        self.send(&frame.encode().expect("scripts are short"));
        Some(())
    }

    /// Bytes none of which is its neighbour.
    fn data(&mut self) -> Option<()> {
        self.frame(Type::Data, |play| {
            let length = play.word()?;
            Some((0..length).map(|at| (at % 251).to_le_bytes()[0]).collect())
        })
    }

    /// A user reads what has come.
    fn read_stream(&mut self) -> Option<()> {
        let (id, room) = (self.name()?, self.word()?);
        let mut buffer = vec![0; room.into()];
        match self.receivers.get_mut(&id) {
            // Else it would wait.
            Some(receiver) if self.model.has_news(id) => {
                let got = receiver.read(&mut buffer).expect("the channel stands");
                self.model.was_given(id, &buffer, got);
            }
            _ => {}
        }
        Some(())
    }

    /// A user writes, as far as there is credit.
    fn write_stream(&mut self) -> Option<()> {
        let (id, length) = (self.name()?, self.word()?);
        let bytes = vec![1; length.into()];
        match self.senders.get_mut(&id) {
            Some(sender) if self.model.takes_more(id) => {
                let written = sender.write(&bytes).map_err(|error| error.kind());
                self.model.has_written(id, bytes.len(), written);
            }
            _ => {}
        }
        Some(())
    }

    /// A user leaves.
    fn drop_ends(&mut self) -> Option<()> {
        let (id, receiver) = (self.name()?, self.byte()?.is_multiple_of(2));
        if receiver {
            self.receivers.remove(&id);
            self.model.inbound.remove(&id);
        } else {
            self.senders.remove(&id);
            self.model.outbound.remove(&id);
        }
        Some(())
    }

    /// A user calls, or asks for the answer to the first of its calls.
    fn call(&mut self) -> Option<()> {
        let begin = self.byte()?.is_multiple_of(2);
        if begin {
            self.calls.push(self.client.begin(&Request::Shutdown).expect("the channel stands"));
            self.model.calls.push_back(None);
        } else if !self.calls.is_empty() {
            let call = self.calls.remove(0);
            let (told, due) =
                (self.client.done(&call, Some(Duration::ZERO)), self.model.answer_is_taken());
            match (due, told) {
                (None, Err(Error::TimedOut(_)))
                | (Some(Answered::Done), Ok(()))
                | (Some(Answered::Otherwise), Err(Error::Ended(_))) => {}
                (Some(Answered::Failure), Err(error @ Error::Remote(_))) => is_harmless(&error),
                (due, told) => panic!("{due:?} is told as {told:?}"),
            }
            self.model.broken |= matches!(due, Some(Answered::Otherwise));
        }
        Some(())
    }

    /// Everybody is told that the channel has ended.
    fn end(mut self, ended: &Ended) {
        self.model.hear_shim(&self.said.take());
        match ended {
            Ended::Closed => assert!(!self.model.broken, "a broken rule was overlooked"),
            Ended::Violation(rule) => assert!(self.model.broken, "{rule}: it did not"),
            other => panic!("nothing else can happen: {other}"),
        }
        for call in &self.calls {
            let (told, due) = (self.client.done(call, None), self.model.answer_is_taken());
            match (due, told) {
                (None | Some(Answered::Otherwise), Err(Error::Ended(_)))
                | (Some(Answered::Done), Ok(())) => {}
                (Some(Answered::Failure), Err(error @ Error::Remote(_))) => is_harmless(&error),
                (due, told) => panic!("{due:?} is told as {told:?}"),
            }
        }
        for (id, mut receiver) in self.receivers {
            let mut rest = Vec::new();
            let read = receiver.read_to_end(&mut rest).map_err(|error| error.kind());
            self.model.was_given_the_rest(id, &rest, read);
        }
        for mut sender in self.senders.into_values() {
            let error = sender.write(b"x").expect_err("nobody reads it");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        assert!(matches!(self.client.begin(&Request::Shutdown), Err(Error::Ended(_))));
        assert!(self.said.take().is_empty(), "written to a channel that has ended");
    }
}

/// What a guest says of its failure does nothing to the terminal and the log of whoever reads it.
fn is_harmless(failure: &Error) {
    let chain: Vec<String> = std::iter::successors(failure.source(), |error| (*error).source())
        .map(ToString::to_string)
        .collect();
    assert!(chain.len() < MAX_CHAIN, "{} causes", chain.len());
    for text in chain.iter().chain([&failure.to_string()]) {
        assert!(
            text.chars().count() <= MAX_MESSAGE && !text.chars().any(char::is_control),
            "{text:?}"
        );
    }
}

#[cfg(test)]
mod tests;
