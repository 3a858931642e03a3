//! Someone who reads a process's output and feeds its input: an attached client, a FIFO, or a descriptor
//! of the caller's.
//!
//! ```text
//!   Greeting --one JSON line, answered by '\n'--> Streaming --last byte sent, or hung up--> Gone
//! ```

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Deserialize;

use crate::keeper::Output;

/// The longest greeting.
const GREETING_MAX: usize = 1024;
/// As much as a pipe takes without blocking once it takes anything: pipe(7), `PIPE_BUF`.
const PIECE: usize = 4096;

/// Which streams a peer takes part in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wants {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// How output is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it is.
    Raw,
    /// In Docker's frames: `[stream, 0, 0, 0]`, the length in big-endian, the bytes.
    Docker,
}

#[derive(Debug)]
enum Phase {
    /// A client that has not said what it wants; what it has said so far.
    Greeting(Vec<u8>),
    Streaming,
    Gone,
}

/// One peer. Its descriptor never blocks, but for a lent one, which is looked at before it is used.
#[derive(Debug)]
pub(crate) struct Peer {
    fd: OwnedFd,
    phase: Phase,
    wants: Wants,
    framing: Framing,
    /// What it has still to receive.
    queue: VecDeque<u8>,
    /// Whether it may still send input.
    sending: bool,
    /// A FIFO hangs up when its last writer does; a client, when it is gone for good.
    fifo: bool,
    /// Others have the descriptor too: whether it blocks is for them to say.
    lent: bool,
    /// To be gone once the queue is empty.
    leaving: bool,
}

/// What reading from a peer brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing for the process, for now.
    Nothing,
    /// Bytes for its standard input.
    Bytes(Vec<u8>),
    /// The peer ended the process's standard input.
    End,
}

impl Peer {
    /// A client that has just connected.
    pub(crate) fn client(fd: OwnedFd, framing: Framing) -> Self {
        let phase = Phase::Greeting(Vec::new());
        Self { phase, sending: true, ..Self::streaming(fd, Wants::default(), framing) }
    }

    /// A FIFO of containerd's for one stream.
    pub(crate) fn fifo(fd: OwnedFd, wants: Wants) -> Self {
        Self { fifo: true, sending: wants.stdin, ..Self::streaming(fd, wants, Framing::Raw) }
    }

    /// A caller's own descriptor for one stream.
    pub(crate) fn lent(fd: OwnedFd, wants: Wants) -> Self {
        Self { lent: true, ..Self::fifo(fd, wants) }
    }

    /// Whether what its caller reads must be there before the end of the process is told.
    pub(crate) fn owes(&self) -> bool {
        self.lent && !self.queue.is_empty()
    }

    fn streaming(fd: OwnedFd, wants: Wants, framing: Framing) -> Self {
        Self {
            fd,
            phase: Phase::Streaming,
            wants,
            framing,
            queue: VecDeque::new(),
            sending: false,
            fifo: false,
            lent: false,
            leaving: false,
        }
    }

    pub(crate) fn gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// How much it has still to receive, in bytes.
    pub(crate) fn behind(&self) -> usize {
        self.queue.len()
    }

    /// What to poll for; `None` to leave it out. `room` tells whether standard input takes more.
    pub(crate) fn interest(&self, room: bool) -> Option<PollFlags> {
        let greeting = matches!(self.phase, Phase::Greeting(_));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, greeting || self.sending && room);
        flags.set(PollFlags::OUT, !self.queue.is_empty());
        // A FIFO whose writers left reports that until it is read.
        let idle = self.fifo && flags.is_empty();
        (!idle).then_some(flags)
    }

    /// Queues output for it, if it wants that stream.
    pub(crate) fn deliver(&mut self, output: Output, bytes: &[u8]) {
        let wanted = match output {
            Output::Stdout => self.wants.stdout,
            Output::Stderr => self.wants.stderr,
        };
        if !wanted || !matches!(self.phase, Phase::Streaming) || self.leaving {
            return;
        }
        if self.framing == Framing::Docker {
            let length = u32::try_from(bytes.len()).expect("one read is short");
            self.queue.extend([output as u8, 0, 0, 0]);
            self.queue.extend(length.to_be_bytes());
        }
        self.queue.extend(bytes);
        self.send();
    }

    /// Sends what can be sent now.
    pub(crate) fn send(&mut self) {
        while !self.queue.is_empty() {
            let mut piece = self.queue.as_slices().0;
            if self.lent {
                if !self.ready(PollFlags::OUT) {
                    return;
                }
                piece = &piece[..piece.len().min(PIECE)];
            }
            match rustix::io::write(&self.fd, piece) {
                Ok(sent) => drop(self.queue.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.phase = Phase::Gone,
            }
        }
        if self.queue.capacity() > 128 << 10 {
            self.queue = VecDeque::new();
        }
        if self.leaving {
            self.phase = Phase::Gone;
        }
    }

    /// Receives once. `hung_up` tells that the other side is closed both ways.
    pub(crate) fn receive(&mut self, hung_up: bool) -> Input {
        if !self.sending {
            if hung_up {
                self.phase = Phase::Gone;
            }
            return Input::Nothing;
        }
        if self.lent && !self.ready(PollFlags::IN) {
            return Input::Nothing;
        }
        let mut bytes = vec![0; 16 << 10];
        match rustix::io::read(&self.fd, bytes.as_mut_slice()) {
            Ok(0) => self.ended(hung_up),
            Ok(read) => {
                bytes.truncate(read);
                self.received(bytes)
            }
            Err(Errno::INTR | Errno::AGAIN) => Input::Nothing,
            Err(_) => {
                self.phase = Phase::Gone;
                Input::Nothing
            }
        }
    }

    /// Whether the descriptor can be used now, be it to learn that it cannot any more.
    fn ready(&self, flags: PollFlags) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut polled = [PollFd::new(&self.fd, flags)];
        poll(&mut polled, Some(&now)).is_ok_and(|found| found > 0)
    }

    /// A client that closes its sending side ends the input; one that leaves altogether is detached,
    /// and the input stays open for the next.
    fn ended(&mut self, hung_up: bool) -> Input {
        self.sending = false;
        let greeting = matches!(self.phase, Phase::Greeting(_));
        let detached = hung_up && !self.fifo;
        if greeting || detached || self.fifo {
            self.phase = Phase::Gone;
        }
        if self.wants.stdin && !detached { Input::End } else { Input::Nothing }
    }

    fn received(&mut self, bytes: Vec<u8>) -> Input {
        let Phase::Greeting(line) = &mut self.phase else {
            return if self.wants.stdin { Input::Bytes(bytes) } else { Input::Nothing };
        };
        line.extend(bytes);
        let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
            if line.len() > GREETING_MAX {
                self.phase = Phase::Gone;
            }
            return Input::Nothing;
        };
        let rest = line.split_off(end + 1);
        match serde_json::from_slice(line) {
            Ok(wants) => self.greeted(wants, rest),
            Err(error) => {
                tracing::warn!(%error, "attached client sent no greeting");
                self.phase = Phase::Gone;
                Input::Nothing
            }
        }
    }

    fn greeted(&mut self, wants: Wants, rest: Vec<u8>) -> Input {
        self.wants = wants;
        self.sending = wants.stdin;
        self.phase = Phase::Streaming;
        self.queue.push_back(b'\n');
        self.send();
        if wants.stdin && !rest.is_empty() { Input::Bytes(rest) } else { Input::Nothing }
    }

    /// Everything for it is queued: it goes when that is sent.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        self.sending = false;
        if matches!(self.phase, Phase::Greeting(_)) {
            self.phase = Phase::Gone;
        }
        self.send();
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
