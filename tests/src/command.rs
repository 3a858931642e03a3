//! Programs with a deadline, and what they printed.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take. Virtual machines are emulated where there is no KVM, on busy cores.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A program that ended.
#[derive(Debug)]
pub struct Ran {
    line: String,
    /// Its exit status, 128 plus the number of the signal that ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// Its output without the blanks around it; panics unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.out.trim().to_owned()
    }

    /// Its error output without the blanks around it; panics unless it ended with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self}");
        self.err.trim().to_owned()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with {}", self.line, self.code)?;
        for (name, text) in [("stdout", &self.out), ("stderr", &self.err)] {
            if !text.trim().is_empty() {
                write!(f, "\n  {name}: {}", text.trim().replace('\n', "\n          "))?;
            }
        }
        Ok(())
    }
}

/// Text that arrives over time.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<(Mutex<Arriving>, Condvar)>);

#[derive(Debug, Default)]
struct Arriving {
    bytes: Vec<u8>,
    ended: bool,
}

impl Seen {
    /// Gathers what `from` gives, until its end, on a thread of its own.
    pub fn of(mut from: impl Read + Send + 'static) -> Self {
        let seen = Self::default();
        let gathers = seen.clone();
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            // A terminal whose other side is closed gives EIO: an end like any other.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                gathers.change(|arriving| arriving.bytes.extend_from_slice(&buffer[..count]));
            }
            gathers.change(|arriving| arriving.ended = true);
        });
        seen
    }

    fn change(&self, change: impl FnOnce(&mut Arriving)) {
        change(&mut self.0.0.lock().expect("no reader panics"));
        self.0.1.notify_all();
    }

    /// Blocks until `enough` holds or the end came; gives the text and whether `enough` held.
    fn until(&self, deadline: Instant, enough: impl Fn(&Arriving) -> bool) -> (String, bool) {
        let mut arriving = self.0.0.lock().expect("no reader panics");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if enough(&arriving) || arriving.ended || left.is_zero() {
                let text = String::from_utf8_lossy(&arriving.bytes).into_owned();
                return (text, enough(&arriving));
            }
            arriving = self.0.1.wait_timeout(arriving, left).expect("no reader panics").0;
        }
    }

    /// Waits until the text holds `want`; panics with the text at its end or after [`LIMIT`].
    #[track_caller]
    pub fn expect(&self, want: &str) -> String {
        let holds = |arriving: &Arriving| String::from_utf8_lossy(&arriving.bytes).contains(want);
        let (text, held) = self.until(Instant::now() + LIMIT, holds);
        assert!(held, "waited for {want:?}, saw {text:?}");
        text
    }

    /// Everything, once the end came; what is there, after `deadline`.
    fn all(&self, deadline: Instant) -> String {
        self.until(deadline, |arriving| arriving.ended).0
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it wrote to its standard output so far.
    pub out: Seen,
    /// What it wrote to its standard error so far.
    pub err: Seen,
}

impl Running {
    /// Starts `command` with its three streams in our hands.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let line = shown(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start `{line}`: {error}"));
        let stdin = child.stdin.take();
        let out = Seen::of(child.stdout.take().expect("asked for a pipe"));
        let err = Seen::of(child.stderr.take().expect("asked for a pipe"));
        Self { line, child, stdin, out, err }
    }

    /// Writes `text` to its standard input. One that reads no more is no error here.
    pub fn send(&mut self, text: &[u8]) {
        let stdin = self.stdin.as_mut().expect("its input was not closed");
        let _ = stdin.write_all(text);
    }

    /// Ends its standard input; its outputs stay open.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; kills it and panics after [`LIMIT`].
    #[track_caller]
    pub fn wait(mut self) -> Ran {
        self.stdin = None;
        let status = wait(&mut self.child, Instant::now() + LIMIT);
        let ended = status.is_some();
        // A grandchild may hold the pipes open; what it writes later is not this program's output.
        let deadline = Instant::now() + Duration::from_secs(2);
        let ran = Ran {
            line: self.line.clone(),
            code: status.map_or(-1, code),
            out: self.out.all(deadline),
            err: self.err.all(deadline),
        };
        assert!(ended, "not done after {} s: {ran}", LIMIT.as_secs());
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end with `input` as its standard input.
#[track_caller]
pub fn run(command: Command, input: &[u8]) -> Ran {
    let mut running = Running::start(command);
    running.send(input);
    running.wait()
}

/// Waits for `child`; after `deadline` kills it and gives `None`.
pub fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Asks `holds` again and again until it says yes; panics with `what` after [`LIMIT`].
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}
