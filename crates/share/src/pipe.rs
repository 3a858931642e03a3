//! FIFOs of the host's. A guest's kernel keeps the bytes of a FIFO to itself and never asks for it, so to the
//! guest they are files, read and written past its cache; opening, reading and writing wait here as they do
//! on the host.
//!
//! Spec: fifo(7); linux/fuse.h `FOPEN_DIRECT_IO`, `FOPEN_NONSEEKABLE`, `FOPEN_STREAM`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::file::errno;
use crate::node::Node;
use crate::request::{Fields, MAX_DATA, Reply};

/// What is answered to opening one: no cache, no offset.
pub(crate) const OPEN: u32 = 1 | 1 << 2 | 1 << 4;

/// Opening that goes on until somebody has the other end.
pub(crate) struct Opening {
    node: Arc<Node>,
    flags: OFlags,
    reader: Option<OwnedFd>,
}

impl Opening {
    /// `flags` are the guest's.
    pub(crate) fn new(node: Arc<Node>, flags: u32) -> Self {
        Self { node, flags: OFlags::from_bits_retain(flags), reader: None }
    }

    /// Whether the guest would rather not wait.
    pub(crate) fn is_impatient(&self) -> bool {
        self.flags.contains(OFlags::NONBLOCK)
    }

    /// Tries; `EAGAIN` while there is nobody at the other end.
    pub(crate) fn attempt(&mut self) -> Result<Arc<File>, Errno> {
        let way = self.flags & OFlags::ACCMODE;
        let open = || self.node.open_any(way | OFlags::NONBLOCK);
        if way != OFlags::RDONLY {
            return match open() {
                Err(Errno::NXIO) if !self.is_impatient() => Err(Errno::AGAIN),
                opened => opened.map(|file| Arc::new(file.into())),
            };
        }
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => open()?,
        };
        // A reader that nobody has written to yet is told of nothing, not even of an end.
        let polled = &mut [PollFd::new(&reader, PollFlags::IN)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(polled, Some(&none))? == 0 && !self.is_impatient() {
            self.reader = Some(reader);
            return Err(Errno::AGAIN);
        }
        Ok(Arc::new(reader.into()))
    }
}

/// A read; `EAGAIN` while there is nothing.
pub(crate) fn read(file: &File, size: u32) -> Result<Reply, Errno> {
    let mut data = vec![0; size.min(MAX_DATA) as usize];
    let mut from = file;
    let got = from.read(&mut data).map_err(|error| errno(&error))?;
    data.truncate(got);
    Ok(Reply(data))
}

/// What a read asks for, from behind the handle: how much, and whether it would rather not wait.
pub(crate) fn reading(mut fields: Fields<'_>) -> Result<(u32, bool), Errno> {
    fields.long()?;
    let size = fields.word()?;
    fields.word()?;
    fields.long()?;
    Ok((size, is_impatient(fields.word()?)))
}

/// A write that goes on until all is written.
pub(crate) struct Writing {
    data: Vec<u8>,
    written: usize,
    pub(crate) impatient: bool,
}

impl Writing {
    /// From behind the handle.
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, Errno> {
        fields.long()?;
        let size = fields.word()?;
        fields.word()?;
        fields.long()?;
        let impatient = is_impatient(fields.word()?);
        fields.word()?;
        Ok(Self { data: fields.bytes(size as usize)?.to_vec(), written: 0, impatient })
    }

    /// Writes on; `EAGAIN` while there is no room for the rest.
    pub(crate) fn attempt(&mut self, mut file: &File) -> Result<Reply, Errno> {
        while self.written < self.data.len() {
            match file.write(&self.data[self.written..]).map_err(|error| errno(&error)) {
                Ok(more) => self.written += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.impatient && self.written > 0 => break,
                // What is written is, whoever reads it.
                Err(error) if error != Errno::AGAIN && self.written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        let written = u32::try_from(self.written).expect("no more than a request holds");
        Ok(Reply::default().words(&[written, 0]))
    }
}

fn is_impatient(flags: u32) -> bool {
    OFlags::from_bits_retain(flags).contains(OFlags::NONBLOCK)
}
