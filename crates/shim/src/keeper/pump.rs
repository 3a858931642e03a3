//! The keeper's thread.
//!
//! ```text
//!   keeping --process ended--> draining --SILENCE--> drained --PATIENCE--> closed --> finished
//!                                  +------- end of both pipes ---------------^
//! ```
//!
//! An ended process's pipes that stay open and empty are held by one that outlived it. The end is
//! told after [`SILENCE`]; what still comes is passed on until [`PATIENCE`] is over, as a terminal or
//! a virtual machine may be slow. From then on a survivor's output is read and thrown away, so that it
//! neither blocks nor dies of SIGPIPE. One that never falls silent is not waited for either.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};

use crate::keeper::journal::Journal;
use crate::keeper::peer::{Framing, Input, Peer};
use crate::keeper::rotate::Rotating;
use crate::keeper::{Door, LIMIT, Orders, Output, Shared, Streams};

/// How long an ended process's pipes are silent before its end is told.
const SILENCE: Duration = Duration::from_millis(200);
/// How long they are silent before nobody listens any more, and how long one may go on writing.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than an ended process can have left in its pipes and its terminal, in bytes.
const LEFT_OVER: usize = 1 << 20;
/// Input that may wait for the process to read it, in bytes.
const INPUT_LIMIT: usize = 64 << 10;
/// One read of a pipe: as much as a pipe holds.
const CHUNK: usize = 64 << 10;

pub(super) struct Pump {
    shared: Arc<Shared>,
    stdin: Option<Stdin>,
    sources: [Option<Source>; 2],
    framing: Framing,
    door: Option<Door>,
    peers: Vec<Peer>,
    journal: Option<Journal<Rotating>>,
    /// What came after the process has ended.
    ended: Option<Ended>,
    /// Whether the end was told.
    drained: bool,
    /// Whether everyone who listened was sent away.
    closed: bool,
    chunk: Vec<u8>,
}

struct Source {
    fd: OwnedFd,
    output: Output,
}

struct Stdin {
    fd: OwnedFd,
    /// What the process has still to read.
    pending: VecDeque<u8>,
    /// To be closed once nothing is pending.
    closing: bool,
}

/// The time after a process's end.
#[derive(Clone, Copy)]
struct Ended {
    since: Instant,
    /// Since when nothing was found in its pipes.
    silent: Option<Instant>,
    /// How much was.
    read: usize,
}

impl Ended {
    fn silence(&self) -> Duration {
        self.silent.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether more came, and for longer, than the process itself can have left.
    fn floods(&self) -> bool {
        self.read > LEFT_OVER && self.since.elapsed() >= PATIENCE
    }
}

/// What a polled descriptor is.
#[derive(Clone, Copy)]
enum Token {
    Wake,
    Door,
    Stdin,
    Source(usize),
    Peer(usize),
}

impl Pump {
    pub(super) fn new(streams: Streams, shared: Arc<Shared>) -> io::Result<Self> {
        let quiet = |fd: Option<OwnedFd>| -> io::Result<Option<OwnedFd>> {
            if let Some(fd) = &fd {
                ioctl_fionbio(fd, true)?;
            }
            Ok(fd)
        };
        let source = |fd, output| Some(Source { fd: fd?, output });
        let stdin = quiet(streams.stdin)?;
        Ok(Self {
            shared,
            stdin: stdin.map(|fd| Stdin { fd, pending: VecDeque::new(), closing: false }),
            sources: [
                source(quiet(streams.stdout)?, Output::Stdout),
                source(quiet(streams.stderr)?, Output::Stderr),
            ],
            framing: streams.framing,
            door: streams.door,
            peers: streams.peers,
            journal: streams.journal,
            ended: None,
            drained: false,
            closed: false,
            chunk: vec![0; CHUNK],
        })
    }

    pub(super) fn run(mut self) {
        loop {
            self.obey();
            self.settle();
            if self.closed && self.peers.is_empty() {
                self.shared.answer(|orders| orders.finished = true);
                if self.sources.iter().all(Option::is_none) {
                    return;
                }
            }
            let ready = self.wait();
            self.listen(&ready);
            for (token, flags) in ready {
                self.serve(token, flags);
            }
            self.peers.retain(|peer| !peer.gone());
        }
    }

    /// Takes the orders that came since the last time.
    fn obey(&mut self) {
        let orders: Orders = *self.shared.lock();
        if orders.ended && self.ended.is_none() {
            self.ended = Some(Ended { since: Instant::now(), silent: None, read: 0 });
        }
        let open = self.stdin.as_ref().is_some_and(|stdin| !stdin.closing);
        if orders.close_stdin && open {
            self.take_input();
            self.end_input();
        }
    }

    /// Tells the end of a process, and closes what was its, when it is time for that.
    fn settle(&mut self) {
        let Some(ended) = self.ended else { return };
        let over = self.sources.iter().all(Option::is_none) || ended.floods();
        if !self.closed && (over || ended.silence() >= PATIENCE) {
            self.close();
        }
        let written = !self.peers.iter().any(Peer::owes);
        if !self.drained && written && (over || ended.silence() >= SILENCE) {
            self.drained = true;
            self.shared.answer(|orders| orders.drained = true);
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.stdin = None;
        self.door = None;
        if let Some(mut journal) = self.journal.take() {
            journal.end(Output::Stdout);
            journal.end(Output::Stderr);
        }
        self.peers.iter_mut().for_each(Peer::leave);
        self.peers.retain(|peer| !peer.gone());
    }

    /// Notes when an ended process's pipes were found empty first.
    fn listen(&mut self, ready: &[(Token, PollFlags)]) {
        let found = ready.iter().any(|(token, _)| matches!(token, Token::Source(_)));
        if let Some(ended) = &mut self.ended
            && !found
        {
            ended.silent.get_or_insert_with(Instant::now);
        }
    }

    /// Blocks until something can be done, and says what.
    fn wait(&self) -> Vec<(Token, PollFlags)> {
        let room = self.stdin.as_ref().is_none_or(|stdin| stdin.pending.len() < INPUT_LIMIT);
        let mut tokens = vec![Token::Wake];
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        if let Some(door) = &self.door {
            tokens.push(Token::Door);
            fds.push(PollFd::new(&door.listener, PollFlags::IN));
        }
        if let Some(stdin) = &self.stdin {
            // Without OUT it still reports that the process closed its end.
            let flags = if stdin.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            tokens.push(Token::Stdin);
            fds.push(PollFd::new(&stdin.fd, flags));
        }
        if !self.held_up() {
            for (index, source) in self.sources.iter().enumerate() {
                if let Some(source) = source {
                    tokens.push(Token::Source(index));
                    fds.push(PollFd::new(&source.fd, PollFlags::IN));
                }
            }
        }
        for (index, peer) in self.peers.iter().enumerate() {
            if let Some(flags) = peer.interest(room) {
                tokens.push(Token::Peer(index));
                fds.push(PollFd::new(peer, flags));
            }
        }
        match poll(&mut fds, self.patience().as_ref()) {
            Ok(_) => {
                let found = tokens.into_iter().zip(fds.iter().map(PollFd::revents));
                found.filter(|(_, flags)| !flags.is_empty()).collect()
            }
            Err(Errno::INTR) => Vec::new(),
            Err(error) => {
                // Only want of memory is left; trying again at once would not help.
                tracing::error!(%error, "poll of standard streams");
                std::thread::sleep(SILENCE);
                Vec::new()
            }
        }
    }

    /// How long the next wait may last. The first after the end does not wait: it looks whether
    /// there is anything.
    fn patience(&self) -> Option<Timespec> {
        let ended = self.ended.filter(|_| !self.closed)?;
        let waiting = !self.drained && ended.silence() < SILENCE;
        let limit = if waiting { SILENCE } else { PATIENCE };
        let rest = match ended.silent {
            // One more millisecond, so that the time is over when poll returns.
            Some(since) => limit.saturating_sub(since.elapsed()) + Duration::from_millis(1),
            None => Duration::ZERO,
        };
        Timespec::try_from(rest).ok()
    }

    /// Whether a peer is so far behind that reading has to wait for it. What an ended process left
    /// in its pipes is read all the same.
    fn held_up(&self) -> bool {
        let limit = if self.ended.is_some() { 4 * LIMIT } else { LIMIT };
        self.peers.iter().any(|peer| peer.behind() > limit)
    }

    fn serve(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Wake => {
                let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
            }
            Token::Door => self.admit(),
            Token::Stdin if flags.contains(PollFlags::ERR) => self.stdin = None,
            Token::Stdin => self.feed(),
            Token::Source(index) => self.read(index),
            Token::Peer(index) => self.exchange(index, flags),
        }
    }

    /// Lets in who knocks.
    fn admit(&mut self) {
        let Some(door) = &self.door else { return };
        if let Ok((socket, _)) = door.listener.accept()
            && socket.set_nonblocking(true).is_ok()
        {
            self.peers.push(Peer::client(socket.into(), self.framing));
        }
    }

    /// Passes on what the process wrote.
    fn read(&mut self, index: usize) {
        let Some(source) = &self.sources[index] else { return };
        let output = source.output;
        let read = match rustix::io::read(&source.fd, self.chunk.as_mut_slice()) {
            Err(Errno::INTR | Errno::AGAIN) => return,
            Ok(read) => read,
            Err(_) => 0,
        };
        if read == 0 {
            self.sources[index] = None;
            if let Some(journal) = &mut self.journal {
                journal.end(output);
            }
            return;
        }
        if let Some(ended) = &mut self.ended {
            *ended = Ended { silent: None, read: ended.read + read, ..*ended };
        }
        let bytes = &self.chunk[..read];
        if let Some(journal) = &mut self.journal {
            journal.record(output, bytes);
        }
        for peer in &mut self.peers {
            peer.deliver(output, bytes);
        }
    }

    fn exchange(&mut self, index: usize, flags: PollFlags) {
        let peer = &mut self.peers[index];
        if flags.contains(PollFlags::OUT) {
            peer.send();
        }
        let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR);
        if !flags.contains(PollFlags::IN) && !hung_up {
            return;
        }
        let input = peer.receive(hung_up);
        self.accept(input);
    }

    fn accept(&mut self, input: Input) {
        match input {
            Input::Nothing => {}
            Input::End => self.end_input(),
            Input::Bytes(bytes) => {
                if let Some(stdin) = self.stdin.as_mut().filter(|stdin| !stdin.closing) {
                    stdin.pending.extend(bytes);
                    self.feed();
                }
            }
        }
    }

    /// Reads what every peer has sent so far.
    fn take_input(&mut self) {
        for index in 0..self.peers.len() {
            while let input @ Input::Bytes(_) = self.peers[index].receive(false) {
                self.accept(input);
            }
        }
    }

    fn end_input(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            stdin.closing = true;
            self.feed();
        }
    }

    /// Writes pending input, and closes the pipe after the last of it.
    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !stdin.pending.is_empty() {
            match rustix::io::write(&stdin.fd, stdin.pending.as_slices().0) {
                Ok(written) => drop(stdin.pending.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.stdin = None,
            }
        }
        if stdin.closing {
            self.stdin = None;
        }
    }
}
