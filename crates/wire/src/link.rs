//! The channel as both sides share it: who may write, which streams exist, and how it ended.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::flow::{Inbound, Outbound};
use crate::frame::{Frame, MAX_DATA, ReadError, Side, StreamId, Type, Violation};
use crate::{Receiver, Sender};

/// How a channel ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The other side is gone.
    #[error("the channel was closed")]
    Closed,
    /// Reading failed.
    #[error("read from the channel")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("write to the channel")]
    Write(#[source] io::Error),
    /// The other side broke the protocol.
    #[error("the other side broke the protocol")]
    Violation(#[source] Violation),
    /// A message is longer than the protocol allows.
    #[error("a message of {0} bytes is too long for the channel")]
    TooLong(usize),
}

/// One end of the channel.
pub(crate) struct Link {
    writer: Mutex<Box<dyn Write + Send>>,
    streams: Mutex<Streams>,
    /// How many numbers of streams were given out here.
    numbers: AtomicU32,
}

#[derive(Default)]
struct Streams {
    outbound: HashMap<StreamId, Weak<Outbound>>,
    inbound: HashMap<StreamId, Weak<Inbound>>,
    ended: Option<Arc<Ended>>,
}

impl Link {
    pub(crate) fn new(writer: impl Write + Send + 'static) -> Arc<Self> {
        let (streams, numbers) = Default::default();
        Arc::new(Self { writer: Mutex::new(Box::new(writer)), streams, numbers })
    }

    /// A number for a new stream, on the shim's side.
    pub(crate) fn number(&self) -> StreamId {
        self.numbers.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Writes one frame whole.
    pub(crate) fn send(&self, frame: &Frame) -> Result<(), Arc<Ended>> {
        self.check()?;
        let bytes = frame.encode().ok_or_else(|| Arc::new(Ended::TooLong(frame.body.len())))?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writer.write_all(&bytes).and_then(|()| writer.flush());
        drop(writer);
        // A frame that was cut leaves the stream out of step: nothing can follow it.
        written.map_err(|error| self.end(Ended::Write(error)))
    }

    /// Whether the channel still stands.
    pub(crate) fn check(&self) -> Result<(), Arc<Ended>> {
        match &self.streams().ended {
            Some(ended) => Err(Arc::clone(ended)),
            None => Ok(()),
        }
    }

    /// Ends the channel for everybody who waits on it; the first reason stays.
    pub(crate) fn end(&self, reason: Ended) -> Arc<Ended> {
        let mut streams = self.streams();
        let reason = Arc::clone(streams.ended.get_or_insert_with(|| Arc::new(reason)));
        let outbound: Vec<_> =
            streams.outbound.drain().filter_map(|(_, weak)| weak.upgrade()).collect();
        let inbound: Vec<_> =
            streams.inbound.drain().filter_map(|(_, weak)| weak.upgrade()).collect();
        drop(streams);
        for flow in outbound {
            flow.stop();
        }
        for flow in inbound {
            flow.cut();
        }
        reason
    }

    /// The sending end of stream `id`.
    pub(crate) fn sender(self: &Arc<Self>, id: StreamId) -> Sender {
        let flow = Arc::new(Outbound::new(id));
        let mut streams = self.streams();
        match &streams.ended {
            Some(_) => flow.stop(),
            None => drop(streams.outbound.insert(id, Arc::downgrade(&flow))),
        }
        drop(streams);
        Sender::new(Arc::clone(self), flow)
    }

    /// The receiving end of stream `id`.
    pub(crate) fn receiver(self: &Arc<Self>, id: StreamId) -> Receiver {
        let flow = Arc::new(Inbound::new(id));
        let mut streams = self.streams();
        match &streams.ended {
            Some(_) => flow.cut(),
            None => drop(streams.inbound.insert(id, Arc::downgrade(&flow))),
        }
        drop(streams);
        Receiver::new(Arc::clone(self), flow)
    }

    pub(crate) fn forget_sender(&self, id: StreamId) {
        self.streams().outbound.remove(&id);
    }

    pub(crate) fn forget_receiver(&self, id: StreamId) {
        self.streams().inbound.remove(&id);
    }

    /// Reads frames until the channel ends, and says how it did. Frames of streams are served here;
    /// `message` is given those that carry calls or answers.
    pub(crate) fn read(
        &self,
        mut reader: impl Read,
        side: Side,
        mut message: impl FnMut(Frame) -> Result<(), Violation>,
    ) -> Arc<Ended> {
        let mut reader = io::BufReader::with_capacity(MAX_DATA as usize, &mut reader);
        loop {
            let served = match Frame::read(&mut reader, side) {
                Ok(frame) => match frame.kind {
                    Type::Call | Type::Answer => message(frame),
                    _ => self.knows(side, frame.number).and_then(|()| self.serve(&frame)),
                },
                Err(ReadError::Closed) => return self.end(Ended::Closed),
                Err(ReadError::Io(error)) => return self.end(Ended::Read(error)),
                Err(ReadError::Violation(violation)) => Err(violation),
            };
            if let Err(violation) = served {
                return self.end(Ended::Violation(violation));
            }
            if let Err(ended) = self.check() {
                return ended;
            }
        }
    }

    /// Whether a stream with that number is or has been: the shim gives them out, so only it can tell.
    fn knows(&self, side: Side, id: StreamId) -> Result<(), Violation> {
        match side {
            Side::Shim if id == 0 || id > self.numbers.load(Ordering::Acquire) => {
                Err(Violation::Stranger(id))
            }
            Side::Shim | Side::Agent => Ok(()),
        }
    }

    /// Serves a frame of a stream. One whose user has gone meanwhile is ignored.
    fn serve(&self, frame: &Frame) -> Result<(), Violation> {
        match frame.kind {
            Type::Data => self.inbound(frame.number).map_or(Ok(()), |flow| flow.take(&frame.body)),
            Type::End => {
                self.inbound(frame.number).inspect(|flow| flow.finish());
                Ok(())
            }
            Type::Credit => {
                let bytes = frame.body.as_slice().try_into().map_or(0, u32::from_le_bytes);
                self.outbound(frame.number).map_or(Ok(()), |flow| flow.credit(bytes))
            }
            Type::Stop => {
                self.outbound(frame.number).inspect(|flow| flow.stop());
                Ok(())
            }
            Type::Call | Type::Answer => Ok(()),
        }
    }

    fn inbound(&self, id: StreamId) -> Option<Arc<Inbound>> {
        self.streams().inbound.get(&id).and_then(Weak::upgrade)
    }

    fn outbound(&self, id: StreamId) -> Option<Arc<Outbound>> {
        self.streams().outbound.get(&id).and_then(Weak::upgrade)
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
