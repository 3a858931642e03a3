//! What a worker and its guest write to the console: the last of it is kept, and can be followed.
//!
//! Invariant: whoever follows holds nobody up. One who is slow misses what is kept no longer.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes are kept.
const KEPT: usize = 16 << 10;

/// A worker's console.
#[derive(Debug, Default)]
pub(crate) struct Console {
    said: Mutex<Said>,
    change: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    kept: VecDeque<u8>,
    /// How many bytes there were in all.
    count: u64,
    over: bool,
}

/// Reads a console from the first byte that is kept to the end of its worker.
#[derive(Debug, Clone)]
pub struct Follower {
    console: Arc<Console>,
    /// How many bytes were read or missed.
    seen: u64,
}

impl Console {
    /// Reads until the worker has closed its end: a guest can write for ever without filling memory or disk.
    pub(crate) fn drain(&self, from: OwnedFd) {
        let mut from = File::from(from);
        let mut chunk = [0; 4096];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => self.add(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.said().over = true;
        self.change.notify_all();
    }

    fn add(&self, bytes: &[u8]) {
        let mut said = self.said();
        said.kept.extend(bytes);
        said.count += bytes.len() as u64;
        let surplus = said.kept.len().saturating_sub(KEPT);
        said.kept.drain(..surplus);
        self.change.notify_all();
    }

    /// The last `lines` lines, made printable.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let bytes: Vec<u8> = self.said().kept.iter().copied().collect();
        tail(&bytes, lines)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Nothing panics while it holds the lock, and what it guards is whole at any time.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    pub(crate) fn new(console: Arc<Console>) -> Self {
        Self { console, seen: 0 }
    }

    /// What has been written since the last call, for which it waits as long as that; `None` when the worker
    /// has ended and everything was read.
    pub fn read(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let nothing_new = |said: &mut Said| said.count == self.seen && !said.over;
        let waited =
            self.console.change.wait_timeout_while(self.console.said(), patience, nothing_new);
        let (said, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if said.over && said.count == self.seen {
            return None;
        }
        let kept = said.kept.len();
        let new = usize::try_from(said.count - self.seen).map_or(kept, |new| new.min(kept));
        self.seen = said.count;
        Some(said.kept.range(kept - new..).copied().collect())
    }
}

/// The last lines that hold something; what a terminal would obey is left out.
fn tail(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = |line: &str| -> String { line.chars().filter(|c| !c.is_control()).collect() };
    let all: Vec<String> = text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_is_the_last_lines_without_what_a_terminal_obeys() {
        let console = b"first\r\n\x1b[31msecond\x07\r\n\r\nthird";
        assert_eq!(tail(console, 2), "[31msecond\nthird");
        assert_eq!(tail(console, 9), "first\n[31msecond\nthird");
        assert_eq!(tail(b"", 9), "");
    }

    #[test]
    fn a_follower_reads_what_is_kept_then_what_comes_and_the_end() {
        let console = Arc::new(Console::default());
        console.add(b"before ");
        let mut follower = Follower::new(Arc::clone(&console));
        let read = |follower: &mut Follower| {
            let text = follower.read(Duration::from_millis(1));
            text.map(|text| String::from_utf8(text).expect("text"))
        };
        assert_eq!(read(&mut follower).as_deref(), Some("before "));
        assert_eq!(read(&mut follower).as_deref(), Some(""));
        console.add(b"more");
        assert_eq!(read(&mut follower).as_deref(), Some("more"));
        assert_eq!(read(&mut Follower::new(Arc::clone(&console))).as_deref(), Some("before more"));
        // Who is slow misses the first of it, and nothing waits for him.
        let (from, to) = rustix::pipe::pipe().expect("a pipe");
        let writer = std::thread::spawn(move || {
            let mut to = File::from(to);
            to.write_all(&vec![b'x'; 3 * KEPT]).and_then(|()| to.write_all(b"end"))
        });
        console.drain(from);
        writer.join().expect("no panic").expect("written");
        let last = read(&mut follower).expect("what is kept");
        assert!(last.len() == KEPT && last.ends_with("xend"), "{}", last.len());
        assert_eq!(read(&mut follower), None);
    }
}
