use std::time::UNIX_EPOCH;

use engine::LogLine;

use std::collections::BTreeMap;

use super::*;

/// A client and a process that are connected; each end as the other side holds it.
struct Connected {
    client: UnixStream,
    process: UnixStream,
    work: tokio::task::JoinHandle<io::Result<()>>,
}

fn connected(early: &'static [u8]) -> Connected {
    let (client, server) = UnixStream::pair().expect("pair");
    let (shim, process) = UnixStream::pair().expect("pair");
    let work = tokio::spawn(async move {
        let (mut input, mut output) = server.into_split();
        let early = Bytes::from_static(early);
        let input = Input { early, from: &mut input, leave: None };
        join(input, &mut output, shim, true, (true, true)).await?;
        output.shutdown().await
    });
    Connected { client, process, work }
}

async fn read(from: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await.expect("read");
    bytes
}

async fn rest(from: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.expect("read");
    bytes
}

#[tokio::test]
async fn what_was_received_with_the_request_is_the_first_input() {
    let mut both = connected(b"early ");
    both.client.write_all(b"late").await.expect("write");
    assert_eq!(read(&mut both.process, 10).await, b"early late");
}

#[tokio::test]
async fn the_end_of_input_leaves_output_open() {
    let mut both = connected(b"");
    both.client.write_all(b"question").await.expect("write");
    both.client.shutdown().await.expect("half close");
    assert_eq!(rest(&mut both.process).await, b"question");
    both.process.write_all(b"answer").await.expect("write");
    both.process.shutdown().await.expect("end");
    assert_eq!(rest(&mut both.client).await, b"answer");
    both.work.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn the_last_output_arrives_though_the_client_never_stops_to_send() {
    let mut both = connected(b"");
    both.client.write_all(b"unread").await.expect("write");
    both.process.write_all(b"last words").await.expect("write");
    drop(both.process);
    assert_eq!(read(&mut both.client, 10).await, b"last words");
}

#[tokio::test]
async fn a_process_that_closed_its_input_can_still_be_heard() {
    let mut both = connected(b"");
    let process = both.process.into_std().expect("std");
    process.shutdown(std::net::Shutdown::Read).expect("shutdown");
    process.set_nonblocking(true).expect("nonblocking");
    let mut process = UnixStream::from_std(process).expect("tokio");
    both.client.write_all(b"to nobody").await.expect("write");
    tokio::time::sleep(Duration::from_millis(20)).await;
    process.write_all(b"still here").await.expect("write");
    drop(process);
    assert_eq!(rest(&mut both.client).await, b"still here");
}

#[tokio::test]
async fn the_past_comes_first_and_alone_if_that_is_asked() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let line = LogLine {
        stderr: false,
        time: UNIX_EPOCH,
        bytes: b"then\n".to_vec(),
        attributes: BTreeMap::new(),
    };
    let past: Logs = Box::pin(stream::iter([Ok(line)]));
    let line = Line { past: Some(past), live: None, tty: true, leave: None };
    let work = tokio::spawn(connect(server, Bytes::new(), line));
    assert_eq!(rest(&mut client).await, b"then\n");
    drop(client);
    work.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_process_that_did_not_start_has_last_words() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let words = LogLine {
        stderr: false,
        time: UNIX_EPOCH,
        bytes: b"not found\r\n".to_vec(),
        attributes: BTreeMap::new(),
    };
    let live: Opening = Box::pin(std::future::ready(Err(words)));
    tokio::spawn(connect(
        server,
        Bytes::new(),
        Line { past: None, live: Some(live), tty: false, leave: None },
    ));
    assert_eq!(rest(&mut client).await, b"\x01\0\0\0\0\0\0\x0bnot found\r\n");
}

#[tokio::test]
async fn nothing_is_sent_until_the_head_is_read_or_for_too_long() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    server.try_write(b"head").expect("it fits");
    let waits = tokio::time::timeout(BEAT * 5, heard(&server));
    assert!(waits.await.is_err(), "the head is not read");
    assert_eq!(read(&mut client, 4).await, b"head");
    tokio::time::timeout(BEAT * 2, heard(&server)).await.expect("it is now");
    server.try_write(b"head").expect("it fits");
    tokio::time::timeout(HEARING + BEAT, heard(&server)).await.expect("no longer than this");
}
