//! The protocol read a second time, from its text and not from the code that enforces it: frames from their
//! drawing in [`crate::frame`], streams from the rules in [`crate::flow`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

use crate::frame::{MAX_ANSWER, MAX_DATA, StreamId, WINDOW};
use crate::message::{Failure, Reply};

/// What both sides have said so far, and what follows from it.
pub(super) struct Model {
    /// Of the guest's, a frame that is not whole yet.
    unread: Vec<u8>,
    /// Streams from the guest whose readers are there.
    pub(super) inbound: BTreeMap<StreamId, Inbound>,
    /// Streams to the guest whose writers are there.
    pub(super) outbound: BTreeMap<StreamId, Outbound>,
    /// The answers to the calls that are waited for, the oldest first.
    pub(super) calls: VecDeque<Option<Answered>>,
    /// The number of that one.
    first: u32,
    /// The last stream that has a number.
    last: StreamId,
    /// Whether the guest broke the protocol.
    pub(super) broken: bool,
}

#[derive(Default)]
pub(super) struct Inbound {
    /// Bytes that the reader has not got yet.
    kept: VecDeque<u8>,
    /// Bytes that the guest has no credit for again.
    charged: usize,
    ended: bool,
}

pub(super) struct Outbound {
    credit: u32,
    stopped: bool,
}

/// How a call for something that has no result was answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answered {
    Done,
    Failure,
    /// With the answer to another question.
    Otherwise,
}

impl Model {
    pub(super) fn new(streams: Range<StreamId>, last: StreamId) -> Self {
        let outbound = |id| (id, Outbound { credit: WINDOW, stopped: false });
        Self {
            unread: Vec::new(),
            inbound: streams.clone().map(|id| (id, Inbound::default())).collect(),
            outbound: streams.map(outbound).collect(),
            calls: VecDeque::new(),
            first: 1,
            last,
            broken: false,
        }
    }

    /// The guest sends bytes.
    pub(super) fn hear_guest(&mut self, bytes: &[u8]) {
        self.unread.extend(bytes);
        while let Some((number, kind, length)) = header(&self.unread) {
            let possible = match kind {
                1 => length <= MAX_ANSWER as usize,
                2 => (1..=MAX_DATA as usize).contains(&length),
                3 | 5 => length == 0,
                4 => length == 4,
                _ => false,
            };
            self.broken |= !possible;
            if self.broken || self.unread.len() < 8 + length {
                return;
            }
            let frame: Vec<u8> = self.unread.drain(..8 + length).collect();
            self.broken |= !self.allows(number, kind, &frame[8..]);
        }
    }

    /// Whether a frame of a possible length may come now. Those of streams that nobody has any more are nothing.
    fn allows(&mut self, number: u32, kind: u8, body: &[u8]) -> bool {
        match (kind, self.inbound.get_mut(&number), self.outbound.get_mut(&number)) {
            (1, ..) => self.answers(number, body),
            (_, None, None) => (1..=self.last).contains(&number),
            (2, Some(stream), _) => {
                stream.charged += body.len();
                stream.kept.extend(body);
                let allowed = !stream.ended && stream.charged <= WINDOW as usize;
                if !allowed {
                    stream.kept.truncate(stream.kept.len() - body.len());
                }
                allowed
            }
            (3, Some(stream), _) => {
                stream.ended = true;
                true
            }
            (4, _, Some(stream)) => {
                let more = u32::from_le_bytes(body.try_into().expect("checked before"));
                let sum = u64::from(stream.credit) + u64::from(more);
                stream.credit = u32::try_from(sum).unwrap_or(WINDOW);
                sum <= u64::from(WINDOW)
            }
            (5, _, Some(stream)) => {
                stream.stopped = true;
                true
            }
            _ => true,
        }
    }

    fn answers(&mut self, number: u32, body: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Result<Reply, Failure>>(body) else {
            return false;
        };
        let next = self.first + u32::try_from(self.calls.len()).expect("scripts are short");
        if !(1..next).contains(&number) {
            return false;
        }
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            // The first answer counts.
            call.get_or_insert(match answer {
                Ok(Reply::Done) => Answered::Done,
                Ok(_) => Answered::Otherwise,
                Err(_) => Answered::Failure,
            });
        }
        true
    }

    /// The oldest call is waited for no longer.
    pub(super) fn answer_is_taken(&mut self) -> Option<Answered> {
        self.first += 1;
        self.calls.pop_front().expect("as many as there are calls")
    }

    /// The shim sends whole frames that an agent takes.
    pub(super) fn hear_shim(&mut self, mut bytes: &[u8]) {
        while let Some((number, kind, length)) = header(bytes) {
            let body = bytes.get(8..8 + length).expect("a frame that is not whole");
            bytes = &bytes[8 + length..];
            match kind {
                0 => drop(serde_json::from_slice::<crate::Request>(body).expect("a call")),
                2 => assert!((1..=MAX_DATA as usize).contains(&length), "{length} bytes of data"),
                3 | 5 => assert_eq!(length, 0, "a body of what has none"),
                4 => self.credits(number, u32::from_le_bytes(body.try_into().expect("four bytes"))),
                _ => panic!("a frame of type {kind}"),
            }
        }
        assert!(bytes.is_empty(), "a header that is not whole");
    }

    fn credits(&mut self, id: StreamId, bytes: u32) {
        // A reader may have left right after it gave credit.
        let Some(stream) = self.inbound.get_mut(&id) else { return };
        let read = stream.charged - stream.kept.len();
        assert!(bytes as usize <= read, "credit for {bytes} bytes where {read} were read");
        stream.charged -= bytes as usize;
    }

    /// Whether a reader would not wait.
    pub(super) fn has_news(&self, id: StreamId) -> bool {
        let stream = self.inbound.get(&id);
        stream.is_some_and(|stream| stream.ended || !stream.kept.is_empty())
    }

    pub(super) fn was_given(&mut self, id: StreamId, buffer: &[u8], got: usize) {
        let stream = self.inbound.get_mut(&id).expect("it was read from");
        assert!(got > 0 || buffer.is_empty() || stream.kept.is_empty(), "an end too early");
        assert!(got <= stream.kept.len(), "bytes that nobody sent");
        assert!(stream.kept.drain(..got).eq(buffer[..got].iter().copied()), "other bytes");
    }

    /// The channel has ended meanwhile.
    pub(super) fn was_given_the_rest(
        &mut self,
        id: StreamId,
        rest: &[u8],
        read: Result<usize, io::ErrorKind>,
    ) {
        let stream = &self.inbound[&id];
        assert!(stream.kept.iter().eq(rest), "other bytes");
        let whole = if stream.ended { Ok(rest.len()) } else { Err(io::ErrorKind::ConnectionReset) };
        assert_eq!(read, whole, "whether the stream was whole");
    }

    /// Whether a writer would not wait.
    pub(super) fn takes_more(&self, id: StreamId) -> bool {
        let stream = self.outbound.get(&id);
        stream.is_some_and(|stream| stream.stopped || stream.credit > 0)
    }

    pub(super) fn has_written(
        &mut self,
        id: StreamId,
        wanted: usize,
        written: Result<usize, io::ErrorKind>,
    ) {
        let stream = self.outbound.get_mut(&id).expect("it was written to");
        if stream.stopped && wanted > 0 {
            assert_eq!(written, Err(io::ErrorKind::BrokenPipe));
            return;
        }
        let most = wanted.min(stream.credit.min(MAX_DATA) as usize);
        assert_eq!(written, Ok(most), "bytes that there was credit for");
        stream.credit -= u32::try_from(most).expect("no more than the credit");
    }
}

/// A frame's number, type and length.
fn header(bytes: &[u8]) -> Option<(u32, u8, usize)> {
    let &[n0, n1, n2, n3, kind, l0, l1, l2] = bytes.first_chunk()?;
    let length = u32::from_le_bytes([l0, l1, l2, 0]);
    Some((u32::from_le_bytes([n0, n1, n2, n3]), kind, length as usize))
}
