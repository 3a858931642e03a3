//! Standard streams: between a process's pipes or terminal and the channel.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use container::Stream;
use rustix::pipe::PipeFlags;
use wire::message::Stdio;
use wire::server::Streams;

use crate::workers::Workers;

/// As much as one frame carries.
const PIECE: usize = wire::frame::MAX_DATA as usize;

/// A process's pipes: its own ends, and ours that are still to be connected.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) theirs: container::Stdio,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
}

/// The streams could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the standard streams")]
pub(crate) struct Error(#[source] io::Error);

impl Pipes {
    /// Pipes for those streams that the shim wants; the others are `/dev/null`.
    pub(crate) fn make(wanted: Stdio) -> Result<Self, Error> {
        let mut pipes = Self::default();
        (pipes.theirs.stdin, pipes.stdin) = pipe(wanted.stdin.is_some(), Way::In)?;
        (pipes.theirs.stdout, pipes.stdout) = pipe(wanted.stdout.is_some(), Way::Out)?;
        (pipes.theirs.stderr, pipes.stderr) = pipe(wanted.stderr.is_some(), Way::Out)?;
        Ok(pipes)
    }

    /// What becomes of the process's ends.
    pub(crate) fn take_theirs(&mut self) -> container::Stdio {
        std::mem::take(&mut self.theirs)
    }

    /// Connects our ends with the channel; each stream lasts as long as both its ends.
    pub(crate) fn connect(
        self,
        to: Stdio,
        streams: &Streams,
        workers: &Workers,
    ) -> Result<(), Error> {
        if let (Some(id), Some(pipe)) = (to.stdin, self.stdin) {
            pump(streams.receiver(id), pipe, workers)?;
        }
        for (id, pipe) in [(to.stdout, self.stdout), (to.stderr, self.stderr)] {
            if let (Some(id), Some(pipe)) = (id, pipe) {
                pump(pipe, streams.sender(id), workers)?;
            }
        }
        Ok(())
    }
}

/// Connects a terminal's master with the channel. What it shows is read even when nobody wants it.
pub(crate) fn connect_terminal(
    pty: &OwnedFd,
    to: Stdio,
    streams: &Streams,
    workers: &Workers,
) -> Result<(), Error> {
    let master = || pty.try_clone().map(File::from).map_err(Error);
    // A terminal has one output: the other has ended before it began.
    drop(to.stderr.map(|id| streams.sender(id)));
    if let Some(id) = to.stdin {
        pump(streams.receiver(id), master()?, workers)?;
    }
    match to.stdout {
        Some(id) => pump(master()?, streams.sender(id), workers),
        None => pump(master()?, io::sink(), workers),
    }
}

/// Which end is the process's.
#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

fn pipe(wanted: bool, way: Way) -> Result<(Stream, Option<File>), Error> {
    if !wanted {
        return Ok((Stream::Null, None));
    }
    let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (read, write) = made.map_err(|error| Error(error.into()))?;
    let (theirs, ours) = match way {
        Way::In => (read, write),
        Way::Out => (write, read),
    };
    Ok((Stream::Fd(theirs), Some(File::from(ours))))
}

/// Has a worker copy until one side ends, and then closes both.
fn pump(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    workers: &Workers,
) -> Result<(), Error> {
    let copy = move || {
        let mut buffer = vec![0; PIECE];
        // A terminal's master fails with EIO when its last user is gone: that is its end of file.
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    };
    workers.give(copy).map_err(Error)
}
