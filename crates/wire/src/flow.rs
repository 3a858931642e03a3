//! Streams: bytes in one direction, with credit.
//!
//! A [`Sender`] may have [`WINDOW`] bytes under way; it waits when they are used up. The [`Receiver`]
//! keeps them until its user reads and then gives the credit back, half a window at a time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::frame::{Frame, MAX_DATA, StreamId, Type, Violation, WINDOW};
use crate::link::Link;

/// The sending end of a stream. Dropping it ends the stream.
pub struct Sender {
    link: Arc<Link>,
    flow: Arc<Outbound>,
}

/// The receiving end of a stream. Dropping it tells the sender to stop.
pub struct Receiver {
    link: Arc<Link>,
    flow: Arc<Inbound>,
}

/// What the reading thread knows of a stream that is sent.
pub(crate) struct Outbound {
    id: StreamId,
    state: Mutex<Credit>,
    changed: Condvar,
}

struct Credit {
    left: u32,
    stopped: bool,
}

/// What the reading thread knows of a stream that is received.
pub(crate) struct Inbound {
    id: StreamId,
    state: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// Read by the user, but no credit given for them yet.
    owed: u32,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    /// The sender had no more.
    Finished,
    /// The channel ended first.
    Cut,
}

impl Outbound {
    pub(crate) fn new(id: StreamId) -> Self {
        let state = Mutex::new(Credit { left: WINDOW, stopped: false });
        Self { id, state, changed: Condvar::new() }
    }

    pub(crate) fn credit(&self, bytes: u32) -> Result<(), Violation> {
        let mut credit = lock(&self.state);
        let sum = credit.left.checked_add(bytes).filter(|sum| *sum <= WINDOW);
        credit.left = sum.ok_or(Violation::Credit(self.id))?;
        self.changed.notify_all();
        Ok(())
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Waits for credit and takes as much of it as `wanted` bytes and one frame can use.
    fn take(&self, wanted: usize) -> io::Result<usize> {
        let mut credit = lock(&self.state);
        while credit.left == 0 && !credit.stopped {
            credit = self.changed.wait(credit).unwrap_or_else(PoisonError::into_inner);
        }
        if credit.stopped {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let most = credit.left.min(MAX_DATA);
        let taken = u32::try_from(wanted).map_or(most, |wanted| wanted.min(most));
        credit.left -= taken;
        Ok(taken as usize)
    }
}

impl Inbound {
    pub(crate) fn new(id: StreamId) -> Self {
        Self { id, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) fn take(&self, bytes: &[u8]) -> Result<(), Violation> {
        let mut kept = lock(&self.state);
        if kept.end.is_some()
            || kept.bytes.len() + kept.owed as usize + bytes.len() > WINDOW as usize
        {
            return Err(Violation::Overrun(self.id));
        }
        kept.bytes.extend(bytes);
        self.changed.notify_all();
        Ok(())
    }

    pub(crate) fn finish(&self) {
        self.set_end(End::Finished);
    }

    pub(crate) fn cut(&self) {
        self.set_end(End::Cut);
    }

    fn set_end(&self, end: End) {
        lock(&self.state).end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Waits for bytes; gives how many were put into `buffer` and the credit now due to the sender.
    fn give(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        let mut kept = lock(&self.state);
        while kept.bytes.is_empty() && kept.end.is_none() {
            kept = self.changed.wait(kept).unwrap_or_else(PoisonError::into_inner);
        }
        if kept.bytes.is_empty() && matches!(kept.end, Some(End::Cut)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let given = kept.bytes.read(buffer)?;
        kept.owed += u32::try_from(given).expect("not more than a window");
        let due = kept.owed >= WINDOW / 2 && kept.end.is_none();
        Ok((given, if due { std::mem::take(&mut kept.owed) } else { 0 }))
    }
}

impl Sender {
    pub(crate) fn new(link: Arc<Link>, flow: Arc<Outbound>) -> Self {
        Self { link, flow }
    }
}

impl Write for Sender {
    /// Sends some of `bytes`, waiting for credit. `BrokenPipe` when the reader is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let taken = self.flow.take(bytes.len())?;
        let frame = Frame::new(self.flow.id, Type::Data, &bytes[..taken]);
        self.link.send(&frame).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.link.forget_sender(self.flow.id);
        // A channel that has ended has told the reader already.
        let _ = self.link.send(&Frame::new(self.flow.id, Type::End, []));
    }
}

impl Receiver {
    pub(crate) fn new(link: Arc<Link>, flow: Arc<Inbound>) -> Self {
        Self { link, flow }
    }
}

impl Read for Receiver {
    /// Waits for bytes; 0 when the sender had no more. `ConnectionReset` when the channel ended first.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let (given, due) = self.flow.give(buffer)?;
        if due > 0 {
            // Bytes that were received count, even when the channel has ended since.
            let _ = self.link.send(&Frame::new(self.flow.id, Type::Credit, due.to_le_bytes()));
        }
        Ok(given)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.link.forget_receiver(self.flow.id);
        if lock(&self.flow.state).end.is_none() {
            // As above.
            let _ = self.link.send(&Frame::new(self.flow.id, Type::Stop, []));
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
