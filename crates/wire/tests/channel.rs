//! Both ends over a socket pair, and one end against a guest that keeps no rule.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use spec::{ContainerId, Kind, ProcessId};
use wire::client::Error;
use wire::{Client, Failure, Reply, Request, Server};

const SOON: Duration = Duration::from_secs(20);

fn client(socket: UnixStream) -> Client {
    Client::start(socket.try_clone().expect("clone"), socket).expect("start")
}

fn pair() -> (Client, Server) {
    let (host, guest) = UnixStream::pair().expect("a pair");
    let server = Server::start(guest.try_clone().expect("clone"), guest).expect("start");
    (client(host), server)
}

fn web() -> ContainerId {
    "web".parse().expect("an id")
}

#[test]
fn a_call_that_waits_holds_up_no_other() {
    let (client, server) = pair();
    let (end, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut waiting = None;
        while let Some(call) = server.next_call() {
            match call.request {
                Request::Wait { .. } => waiting = Some(call),
                _ => call.answer(&Ok(Reply::Done)),
            }
            if ended.try_recv().is_ok() {
                waiting.take().expect("a waiting call").answer(&Ok(Reply::Exit { code: 7 }));
            }
        }
    });
    thread::scope(|scope| {
        let wait = scope.spawn(|| client.wait(ProcessId::init(web())));
        let frozen = Request::Freeze { container: web(), frozen: true };
        for _ in 0..50 {
            client.order(&frozen, Some(SOON)).expect("answered");
        }
        assert!(!wait.is_finished());
        end.send(()).expect("the server waits");
        client.order(&frozen, Some(SOON)).expect("answered");
        assert_eq!(wait.join().expect("no panic").expect("an exit"), 7);
    });
}

#[test]
fn a_failure_arrives_with_its_kind_and_its_chain() {
    let (client, server) = pair();
    thread::spawn(move || {
        let call = server.next_call().expect("a call");
        let cause = std::io::Error::from_raw_os_error(2);
        call.answer(&Err(Failure::from_error(Kind::CommandNotFound, &cause)));
    });
    let error = client.order(&Request::Shutdown, Some(SOON)).expect_err("refused");
    assert_eq!(error.kind(), Kind::CommandNotFound);
    assert_eq!(error.to_string(), "No such file or directory (os error 2)");
}

#[test]
fn a_reader_that_sleeps_stops_neither_other_streams_nor_calls() {
    let (client, server) = pair();
    let total = 3 << 20;
    let (mut slow, mut fast) = (client.receiver(client.stream()), client.receiver(client.stream()));
    let streams = server.streams();
    let slow_writer = thread::spawn({
        let mut slow = streams.sender(1);
        move || slow.write_all(&vec![1; total])
    });
    thread::spawn({
        let mut fast = streams.sender(2);
        move || fast.write_all(&vec![2; total])
    });
    thread::spawn(move || {
        while let Some(call) = server.next_call() {
            call.answer(&Ok(Reply::Done));
        }
    });
    let mut bytes = Vec::new();
    fast.read_to_end(&mut bytes).expect("all of it");
    client.order(&Request::Shutdown, Some(SOON)).expect("answered");
    assert!(!slow_writer.is_finished());
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("all of it");
    assert_eq!((bytes.len(), rest.len()), (total, total));
    slow_writer.join().expect("no panic").expect("written");
}

#[test]
fn a_reader_that_leaves_breaks_the_writers_pipe() {
    let (client, server) = pair();
    let receiver = client.receiver(client.stream());
    let mut sender = server.streams().sender(1);
    drop(receiver);
    let begun = Instant::now();
    let error = loop {
        match sender.write_all(&[0; 1000]) {
            Ok(()) => assert!(begun.elapsed() < SOON),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn everybody_learns_that_the_channel_ended() {
    let (host, guest) = UnixStream::pair().expect("a pair");
    let client = client(host);
    let mut receiver = client.receiver(client.stream());
    thread::scope(|scope| {
        let wait = scope.spawn(|| client.wait(ProcessId::init(web())));
        let read = scope.spawn(move || receiver.read(&mut [0; 10]));
        thread::sleep(Duration::from_millis(50));
        drop(guest);
        assert!(matches!(wait.join().expect("no panic"), Err(Error::Ended(_))));
        assert!(read.join().expect("no panic").is_err());
    });
    assert!(client.order(&Request::Shutdown, None).is_err());
}

#[test]
fn an_agent_that_says_nothing_is_given_up() {
    let (host, _guest) = UnixStream::pair().expect("a pair");
    let error = client(host).order(&Request::Shutdown, Some(Duration::from_millis(20)));
    assert_eq!(error.expect_err("no answer").kind(), Kind::Unavailable);
}

#[test]
fn an_answer_to_another_question_ends_the_channel() {
    let (client, server) = pair();
    thread::spawn(move || {
        while let Some(call) = server.next_call() {
            call.answer(&Ok(Reply::Exit { code: 0 }));
        }
    });
    let (container, request) = (web(), spec::files::Request::Stat { path: "/".into() });
    let files = Request::Files { container, request, data: None };
    let error = client.files(&files, Some(SOON)).expect_err("no answer about files");
    assert!(matches!(error, Error::Ended(_)), "{error}");
    let error = client.order(&Request::Shutdown, Some(SOON)).expect_err("it has ended");
    assert!(matches!(error, Error::Ended(_)), "{error}");
}

#[test]
fn bytes_beyond_the_credit_end_the_channel() {
    let (host, mut guest) = UnixStream::pair().expect("a pair");
    let client = client(host);
    let _receiver = client.receiver(client.stream());
    let mut frame = vec![1, 0, 0, 0, 2, 0, 0x80, 0];
    frame.extend(vec![0; 0x8000]);
    for _ in 0..9 {
        // The channel may be closed before the last of them.
        let _ = guest.write_all(&frame);
    }
    let error = client.wait(ProcessId::init(web())).expect_err("over");
    let chain = std::error::Error::source(&error).and_then(|cause| cause.source());
    assert_eq!(
        chain.map(ToString::to_string).as_deref(),
        Some("stream 1 sent more than its credit")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_guest_sends_the_shim_only_says_no(
        frames in proptest::collection::vec(
            (0_u32..4, 0_u8..8, proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
    ) {
        let (host, mut guest) = UnixStream::pair().expect("a pair");
        let client = client(host);
        let mut receiver = client.receiver(client.stream());
        let sender = client.sender(client.stream());
        for (number, kind, body, honest) in frames {
            let length = if honest { u32::try_from(body.len()).expect("short") } else { 0x0030_0000 };
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.push(kind);
            bytes.extend(&length.to_le_bytes()[..3]);
            bytes.extend(body);
            if guest.write_all(&bytes).is_err() {
                break;
            }
        }
        drop(guest);
        let mut kept = Vec::new();
        let _ = receiver.read_to_end(&mut kept);
        prop_assert!(kept.len() < 1000);
        prop_assert!(client.wait(ProcessId::init(web())).is_err());
        drop(sender);
    }
}
