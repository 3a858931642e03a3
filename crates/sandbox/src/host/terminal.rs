//! The bytes between a terminal's master and the pipes of whoever attached it.
//!
//! One thread a terminal, blocked in poll(2). It ends when every holder of the terminal has closed
//! it; that is the end of standard output too.
//!
//! ```text
//!   stdin pipe --> typed --> master        master --> shown --> stdout pipe
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};

use crate::Stdio;

/// How much may wait in one direction, in bytes.
const LIMIT: usize = 32 << 10;

struct Pump {
    master: Arc<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    /// Input that the terminal has still to take.
    typed: VecDeque<u8>,
    /// Output that the pipe has still to take.
    shown: VecDeque<u8>,
    /// Whether anyone still holds the terminal.
    open: bool,
}

/// Starts the thread.
pub(super) fn start(master: Arc<OwnedFd>, ends: Stdio) -> io::Result<()> {
    let Stdio { stdin, stdout, stderr: _ } = ends;
    let ours = [Some(&*master), stdin.as_ref(), stdout.as_ref()];
    ours.into_iter().flatten().try_for_each(|fd| ioctl_fionbio(fd, true))?;
    let (typed, shown) = (VecDeque::new(), VecDeque::new());
    let pump = Pump { master, stdin, stdout, typed, shown, open: true };
    let thread = thread::Builder::new().name("terminal".into()).stack_size(128 << 10);
    thread.spawn(move || pump.run()).map(drop)
}

impl Pump {
    fn run(mut self) {
        let mut chunk = vec![0; 16 << 10];
        while self.open || !self.shown.is_empty() {
            let [master, stdin, stdout] = self.wait();
            if stdin {
                self.read_stdin(&mut chunk);
            }
            if master {
                self.read_master(&mut chunk);
            }
            if stdout {
                self.stdout = None;
            }
            self.write();
        }
    }

    /// Blocks until something can be done. Tells whether the master and stdin can be read, and
    /// whether stdout has lost its reader.
    fn wait(&self) -> [bool; 3] {
        let some = |wanted: bool, flags: PollFlags| wanted.then_some(flags);
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.shown.len() < LIMIT);
        master.set(PollFlags::OUT, !self.typed.is_empty());
        // A hang-up is reported also when it is not asked for, and then for ever.
        let master = some(self.open && !master.is_empty(), master);
        let stdin = some(self.typed.len() < LIMIT, PollFlags::IN);
        let waiting = !self.shown.is_empty();
        let stdout = if waiting { PollFlags::OUT } else { PollFlags::empty() };

        let mut fds = Vec::with_capacity(3);
        let mut places = Vec::with_capacity(3);
        let wanted = [
            (Some(&*self.master), master),
            (self.stdin.as_ref(), stdin),
            (self.stdout.as_ref(), Some(stdout)),
        ];
        for (place, (fd, flags)) in wanted.into_iter().enumerate() {
            if let (Some(fd), Some(flags)) = (fd, flags) {
                fds.push(PollFd::new(fd, flags));
                places.push(place);
            }
        }
        let mut ready = [false; 3];
        if let Err(error) = poll(&mut fds, None) {
            if error != Errno::INTR {
                tracing::error!(%error, "poll of a terminal");
                thread::sleep(std::time::Duration::from_millis(200));
            }
            return ready;
        }
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        for (place, fd) in places.into_iter().zip(&fds) {
            let told = if place == 2 { PollFlags::ERR } else { readable };
            ready[place] = fd.revents().intersects(told);
        }
        ready
    }

    fn read_stdin(&mut self, chunk: &mut [u8]) {
        let Some(stdin) = &self.stdin else { return };
        match rustix::io::read(stdin, &mut *chunk) {
            Ok(0) => self.stdin = None,
            Ok(read) => self.typed.extend(&chunk[..read]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.stdin = None,
        }
    }

    /// The end of a terminal is EIO: the last holder of the other side has closed it.
    fn read_master(&mut self, chunk: &mut [u8]) {
        match rustix::io::read(&self.master, &mut *chunk) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => self.open = false,
            // Without a reader it is thrown away, and the program goes on.
            Ok(_) if self.stdout.is_none() => {}
            Ok(read) => self.shown.extend(&chunk[..read]),
        }
    }

    fn write(&mut self) {
        if !drain(&mut self.typed, Some(&self.master)) {
            self.typed.clear();
        }
        if !drain(&mut self.shown, self.stdout.as_ref()) {
            self.shown.clear();
            self.stdout = None;
        }
    }
}

/// Writes what can be written now; false when it never can.
fn drain(queue: &mut VecDeque<u8>, to: Option<&OwnedFd>) -> bool {
    let Some(to) = to else { return false };
    while !queue.is_empty() {
        match rustix::io::write(to, queue.as_slices().0) {
            Ok(written) => drop(queue.drain(..written)),
            Err(Errno::AGAIN) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
