//! Standard streams: between the shim's pipes and the channel.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use wire::{Client, Receiver, Sender, message};

use crate::Stdio;

/// As much as one frame carries.
const PIECE: usize = wire::frame::MAX_DATA as usize;

/// A process's streams, announced to the agent but not yet flowing.
pub(super) struct Streams {
    /// Their numbers, for the agent.
    pub(super) numbers: message::Stdio,
    stdin: Option<OwnedFd>,
    outputs: Vec<(Receiver, OwnedFd)>,
}

/// Tells whether a process's output has all been passed on.
#[derive(Debug)]
pub(super) struct Output(mpsc::Receiver<()>);

/// Ends a process's standard input.
#[derive(Debug, Clone)]
pub(super) struct Stdin(Option<Arc<OwnedFd>>);

impl Streams {
    /// Numbers the streams that the process has.
    pub(super) fn announce(io: Stdio, client: &Client) -> Self {
        let mut outputs = Vec::new();
        let mut output = |pipe: Option<OwnedFd>| {
            let pipe = pipe?;
            let id = client.stream();
            outputs.push((client.receiver(id), pipe));
            Some(id)
        };
        let stdin = io.stdin.is_some().then(|| client.stream());
        let numbers =
            message::Stdio { stdin, stdout: output(io.stdout), stderr: output(io.stderr) };
        Self { numbers, stdin: io.stdin, outputs }
    }

    /// Lets them flow, each until one of its ends is closed. The agent knows them by now.
    pub(super) fn connect(self, client: &Client) -> io::Result<(Stdin, Output)> {
        let (flowing, output) = mpsc::channel();
        for (from, to) in self.outputs {
            let flowing = flowing.clone();
            spawn(move || {
                copy_out(from, to.into());
                drop(flowing);
            })?;
        }
        let output = Output(output);
        let (Some(pipe), Some(id)) = (self.stdin, self.numbers.stdin) else {
            return Ok((Stdin(None), output));
        };
        let end = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let end = Arc::new(end);
        let (ended, to) = (Arc::clone(&end), client.sender(id));
        spawn(move || copy_in(pipe.into(), to, &ended))?;
        Ok((Stdin(Some(end)), output))
    }
}

impl Output {
    /// Waits until it has, or so long.
    pub(super) fn drain(&self, limit: Duration) {
        // Nothing is ever sent: this ends when the last stream does.
        let _ = self.0.recv_timeout(limit);
    }
}

impl Stdin {
    /// Ends it once what was written before has been read.
    pub(super) fn end(&self) {
        if let Some(end) = &self.0 {
            // A counter that is full has been raised before.
            let _ = rustix::io::write(end, &1_u64.to_ne_bytes());
        }
    }
}

fn spawn(copy: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("stdio".into()).spawn(copy).map(drop)
}

fn copy_out(mut from: Receiver, mut to: File) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// Copies until the pipe's writers are gone, or `end` is raised and the pipe is empty.
fn copy_in(mut from: File, mut to: Sender, end: &OwnedFd) {
    let mut buffer = vec![0; PIECE];
    while readable(&from, end) {
        match from.read(&mut buffer) {
            Ok(length @ 1..) if to.write_all(&buffer[..length]).is_ok() => {}
            _ => break,
        }
    }
}

/// Waits until `from` can be read; false when `end` is raised first.
fn readable(from: &File, end: &OwnedFd) -> bool {
    let mut poll = [PollFd::new(from, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
    let no_limit: Option<&Timespec> = None;
    while let Err(error) = rustix::event::poll(&mut poll, no_limit) {
        if error != rustix::io::Errno::INTR {
            return false;
        }
    }
    !poll[0].revents().is_empty()
}
