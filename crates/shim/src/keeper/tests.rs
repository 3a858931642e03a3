use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::pipe::{PipeFlags, pipe_with};
use spec::journal::Plan;
use tempfile::TempDir;

use super::*;

/// A kept process without the process: we hold its ends of the pipes.
struct Bench {
    directory: TempDir,
    keeper: Option<Keeper>,
    stdin: File,
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Bench {
    fn new(framing: Framing) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let pipe = || pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (stdin, our_stdin) = pipe();
        let (our_stdout, stdout) = pipe();
        let (our_stderr, stderr) = pipe();
        let streams = Streams {
            stdin: Some(our_stdin),
            stdout: Some(our_stdout),
            stderr: Some(our_stderr),
            framing,
            door: Some(Door::open(directory.path().join("attach.sock")).expect("a socket")),
            peers: Vec::new(),
            journal: Some(
                journal::open(&directory.path().join("json.log"), &Plan::default()).expect("a log"),
            ),
        };
        let keeper = Some(Keeper::spawn(streams).expect("a thread"));
        let (stdout, stderr) = (Some(stdout.into()), Some(stderr.into()));
        Self { directory, keeper, stdin: stdin.into(), stdout, stderr }
    }

    fn attach(&self, greeting: &str) -> UnixStream {
        let mut client = UnixStream::connect(self.directory.path().join("attach.sock"))
            .expect("somebody listens");
        writeln!(client, "{greeting}").expect("a greeting");
        let mut answer = [0];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, *b"\n");
        client
    }

    fn prints(&mut self, text: &[u8]) {
        self.stdout.as_mut().expect("open").write_all(text).expect("written");
    }

    fn ends(&mut self) {
        (self.stdout, self.stderr) = (None, None);
        self.keeper.as_ref().expect("kept").drain();
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("json.log")).expect("a log");
        let log = |line: &str| {
            let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
            entry["log"].as_str().expect("a string").to_owned()
        };
        text.lines().map(log).collect()
    }
}

fn rest(mut client: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("all of it");
    bytes
}

#[test]
fn every_client_sees_what_it_asked_for_and_then_the_end() {
    let mut bench = Bench::new(Framing::Docker);
    let both = bench.attach(r#"{"stdout":true,"stderr":true}"#);
    let errors = bench.attach(r#"{"stderr":true}"#);
    bench.prints(b"out\n");
    let mut first = [0; 12];
    let mut both_reader = both.try_clone().expect("a handle");
    both_reader.read_exact(&mut first).expect("a frame");
    assert_eq!(&first, b"\x01\0\0\0\0\0\0\x04out\n");
    bench.stderr.as_mut().expect("open").write_all(b"err").expect("written");
    bench.ends();
    assert_eq!(rest(both), b"\x02\0\0\0\0\0\0\x03err");
    assert_eq!(rest(errors), b"\x02\0\0\0\0\0\0\x03err");
    assert_eq!(bench.log(), ["out\n", "err"]);
    assert!(!bench.directory.path().join("attach.sock").exists());
}

#[test]
fn input_ends_when_the_client_closes_its_side_and_not_when_it_leaves() {
    let mut bench = Bench::new(Framing::Raw);
    let mut gone = bench.attach(r#"{"stdin":true,"stdout":true}"#);
    gone.write_all(b"one\n").expect("sent");
    drop(gone);
    let mut reader = BufReader::new(bench.stdin.try_clone().expect("a handle"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    let mut client = bench.attach(r#"{"stdin":true,"stdout":true}"#);
    client.write_all(b"two\n").expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    reader.read_to_string(&mut line).expect("until the end");
    assert_eq!(line, "one\ntwo\n");
    bench.prints(b"still here");
    bench.ends();
    assert_eq!(rest(client), b"still here");
}

#[test]
fn close_stdin_ends_the_input_after_what_was_sent() {
    let mut bench = Bench::new(Framing::Raw);
    let mut client = bench.attach(r#"{"stdin":true}"#);
    let text = vec![b'x'; 100_000];
    let sent = text.clone();
    let sender = thread::spawn(move || client.write_all(&sent).map(|()| client));
    let mut seen = vec![0; 50_000];
    bench.stdin.read_exact(&mut seen).expect("the first half");
    let client = sender.join().expect("no panic").expect("sent");
    bench.keeper.as_ref().expect("kept").close_stdin();
    bench.stdin.read_to_end(&mut seen).expect("until the end");
    assert!(seen == text, "{} of {} bytes", seen.len(), text.len());
    drop(client);
}

#[test]
fn a_slow_client_stops_the_process_and_loses_nothing() {
    let mut bench = Bench::new(Framing::Raw);
    let client = bench.attach(r#"{"stdout":true}"#);
    let text: Vec<u8> = (0..4u32 << 20).map(|i| u8::try_from(i % 251).expect("small")).collect();
    let mut stdout = bench.stdout.take().expect("open");
    let all = text.clone();
    let writer = thread::spawn(move || stdout.write_all(&all).expect("written"));
    thread::sleep(Duration::from_millis(300));
    assert!(!writer.is_finished(), "4 MiB were taken although nobody reads");
    let reader = thread::spawn(move || rest(client));
    writer.join().expect("written");
    bench.ends();
    assert!(reader.join().expect("read") == text);
}

#[test]
fn a_client_that_reads_late_still_gets_all_after_the_end() {
    let mut bench = Bench::new(Framing::Raw);
    let client = bench.attach(r#"{"stdout":true}"#);
    bench.prints(&vec![b'x'; 900_000]);
    bench.ends();
    assert!(!bench.keeper.as_ref().expect("kept").finished());
    bench.keeper = None;
    thread::sleep(Duration::from_millis(100));
    assert_eq!(rest(client).len(), 900_000);
}

#[test]
fn a_survivor_that_holds_the_pipes_delays_the_end_only_shortly() {
    let mut bench = Bench::new(Framing::Raw);
    let client = bench.attach(r#"{"stdout":true}"#);
    bench.prints(b"said before the end\n");
    let before = Instant::now();
    bench.keeper.as_ref().expect("kept").drain();
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(rest(client), b"said before the end\n");
    // What survives is neither blocked nor killed.
    bench.prints(&vec![b'x'; 1 << 20]);
}

#[test]
fn a_client_that_sends_no_greeting_is_sent_away() {
    let bench = Bench::new(Framing::Raw);
    let path = bench.directory.path().join("attach.sock");
    for greeting in ["hello\n", "{\"stdout\":1}\n", "{\"stdion\":true}\n", &"x".repeat(5000)] {
        let mut client = UnixStream::connect(&path).expect("somebody listens");
        // It may be sent away before it has said all.
        let _ = client.write_all(greeting.as_bytes());
        let mut answer = Vec::new();
        assert!(client.read_to_end(&mut answer).is_err() || answer.is_empty(), "{greeting}");
    }
    drop(bench.attach(r#"{"stdout":true}"#));
}

#[test]
fn output_that_nobody_wants_is_read_all_the_same() {
    let mut bench = Bench::new(Framing::Docker);
    bench.prints(&b"line\n".repeat(100_000));
    bench.ends();
    assert_eq!(bench.log().len(), 100_000);
}
