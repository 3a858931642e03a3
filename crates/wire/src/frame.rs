//! Frames: what the byte stream is cut into.
//!
//! ```text
//!   0        4      5          8
//!   | number | type | length   | length bytes …     (little-endian)
//! ```
//!
//! `number` is a call's for the first two types and a stream's for the others.

use std::io::{self, Read};

/// Names one stream in one direction; given out by the shim, from 1 on, never used twice.
pub type StreamId = u32;

/// The bytes of a stream that may be under way, unread by the other side's user.
pub const WINDOW: u32 = 256 * 1024;
/// The longest piece of a stream in one frame, so that calls do not wait behind it for long.
pub const MAX_DATA: u32 = 32 * 1024;
/// The longest answer that a shim takes from a guest.
pub const MAX_ANSWER: u32 = 4 << 20;
/// The longest call that an agent takes from its shim; the header could say no more.
pub const MAX_CALL: u32 = (1 << 24) - 1;

const HEADER: usize = 8;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// A [`crate::Request`] as JSON, shim to agent.
    Call,
    /// Its outcome as JSON, agent to shim.
    Answer,
    /// Bytes of a stream.
    Data,
    /// The stream's sender has no more.
    End,
    /// The stream's reader has taken so many bytes: four, little-endian.
    Credit,
    /// The stream's reader takes no more.
    Stop,
}

impl Type {
    const ALL: [Self; 6] =
        [Self::Call, Self::Answer, Self::Data, Self::End, Self::Credit, Self::Stop];

    fn parse(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// The lengths that a frame of this type can have when it arrives at `side`.
    fn lengths(self, side: Side) -> std::ops::RangeInclusive<u32> {
        match (self, side) {
            (Self::Call, Side::Agent) => 0..=MAX_CALL,
            (Self::Answer, Side::Shim) => 0..=MAX_ANSWER,
            #[expect(
                clippy::reversed_empty_ranges,
                reason = "no length is right: not for this side"
            )]
            (Self::Call, Side::Shim) | (Self::Answer, Side::Agent) => 1..=0,
            (Self::Data, _) => 1..=MAX_DATA,
            (Self::Credit, _) => 4..=4,
            (Self::End | Self::Stop, _) => 0..=0,
        }
    }
}

/// Which end of the channel this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Shim,
    Agent,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) number: u32,
    pub(crate) kind: Type,
    pub(crate) body: Vec<u8>,
}

/// What the other side did that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// No such type of frame.
    #[error("unknown frame type {0}")]
    Type(u8),
    /// The type does not come this way, or not with this length.
    #[error("frame of type {kind} with {length} bytes")]
    Length {
        /// The type's name.
        kind: &'static str,
        /// What the header says.
        length: u32,
    },
    /// A frame of a stream that the shim has given nobody the number of.
    #[error("stream {0} was never opened")]
    Stranger(StreamId),
    /// More bytes of a stream than it had credit for.
    #[error("stream {0} sent more than its credit")]
    Overrun(StreamId),
    /// Credit for more bytes than were sent.
    #[error("stream {0} gave credit for bytes it never had")]
    Credit(StreamId),
    /// An answer that is none.
    #[error("answer to call {call} is not what was asked for: {reason}")]
    Answer {
        /// The call's number.
        call: u32,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why no frame was read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The stream ended, between frames or within one.
    Closed,
    Io(io::Error),
    Violation(Violation),
}

impl Frame {
    pub(crate) fn new(number: u32, kind: Type, body: impl Into<Vec<u8>>) -> Self {
        Self { number, kind, body: body.into() }
    }

    /// The frame as it travels; `None` when the body is longer than a header can say.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let length = u32::try_from(self.body.len()).ok().filter(|length| *length <= MAX_CALL)?;
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend(self.number.to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend(&length.to_le_bytes()[..3]);
        bytes.extend(&self.body);
        Some(bytes)
    }

    /// Reads the next frame that `side` may receive. Memory is taken as bytes arrive, never on the
    /// word of a header.
    pub(crate) fn read(from: &mut impl Read, side: Side) -> Result<Self, ReadError> {
        let mut header = [0; HEADER];
        read_exact(from, &mut header)?;
        let [n0, n1, n2, n3, kind, l0, l1, l2] = header;
        let number = u32::from_le_bytes([n0, n1, n2, n3]);
        let length = u32::from_le_bytes([l0, l1, l2, 0]);
        let kind = Type::parse(kind).ok_or(ReadError::Violation(Violation::Type(kind)))?;
        if !kind.lengths(side).contains(&length) {
            let kind = kind.name();
            return Err(ReadError::Violation(Violation::Length { kind, length }));
        }
        let mut body = Vec::new();
        from.take(length.into()).read_to_end(&mut body).map_err(ReadError::Io)?;
        if body.len() < length as usize {
            return Err(ReadError::Closed);
        }
        Ok(Self { number, kind, body })
    }
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Answer => "answer",
            Self::Data => "data",
            Self::End => "end",
            Self::Credit => "credit",
            Self::Stop => "stop",
        }
    }
}

fn read_exact(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), ReadError> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Closed,
        _ => ReadError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(mut bytes: &[u8], side: Side) -> (Vec<Frame>, ReadError) {
        let mut frames = Vec::new();
        loop {
            match Frame::read(&mut bytes, side) {
                Ok(frame) => frames.push(frame),
                Err(error) => return (frames, error),
            }
        }
    }

    #[test]
    fn what_one_side_may_not_send_is_a_violation() {
        let cases = [
            (Frame::new(1, Type::Call, *b"{}"), Side::Shim, false),
            (Frame::new(1, Type::Call, *b"{}"), Side::Agent, true),
            (Frame::new(1, Type::Answer, *b"{}"), Side::Agent, false),
            (Frame::new(1, Type::Answer, *b"{}"), Side::Shim, true),
            (Frame::new(1, Type::Data, *b""), Side::Shim, false),
            (Frame::new(1, Type::Data, vec![0; MAX_DATA as usize]), Side::Shim, true),
            (Frame::new(1, Type::Data, vec![0; MAX_DATA as usize + 1]), Side::Shim, false),
            (Frame::new(1, Type::Credit, *b"abc"), Side::Shim, false),
            (Frame::new(1, Type::End, *b"x"), Side::Shim, false),
        ];
        for (frame, side, allowed) in cases {
            let bytes = frame.encode().expect("short enough");
            let read = Frame::read(&mut bytes.as_slice(), side);
            assert_eq!(read.is_ok(), allowed, "{:?} {}", frame.kind, frame.body.len());
        }
    }

    #[test]
    fn a_header_that_promises_much_takes_no_memory() {
        let bytes = [1, 0, 0, 0, Type::Answer as u8, 0, 0, 0x3f];
        let read = Frame::read(&mut bytes.as_slice(), Side::Shim);
        assert!(matches!(read, Err(ReadError::Closed)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (frames, _) = read_all(&bytes, Side::Shim);
            let taken: usize = frames.iter().map(|frame| HEADER + frame.body.len()).sum();
            prop_assert!(taken <= bytes.len());
        }

        #[test]
        fn a_frame_is_read_as_it_was_written(
            number: u32,
            kind in 2_u8..6,
            body in proptest::collection::vec(any::<u8>(), 1..4000),
        ) {
            let kind = Type::parse(kind).expect("in range");
            let body = match kind { Type::Data => body, Type::Credit => vec![1; 4], _ => vec![] };
            let frame = Frame { number, kind, body };
            let bytes = frame.encode().expect("short enough");
            let (frames, end) = read_all(&bytes, Side::Shim);
            prop_assert_eq!(frames, vec![frame]);
            prop_assert!(matches!(end, ReadError::Closed));
        }
    }
}
