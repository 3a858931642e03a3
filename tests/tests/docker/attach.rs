//! Lines to a container's streams that the stock client does not use, or only sometimes.

use std::io::{Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use spec::Isolation;
use tests::Host;

use super::detached;

const UPGRADE: &str = "Upgrade: tcp\r\nConnection: Upgrade\r\n";

pub(crate) fn a_terminal_is_left_by_its_keys(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["-it"], &["cat"]);
    let path =
        format!("/v1.51/containers/{id}/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x");
    let mut line = host.engine.ask("POST", &path, UPGRADE, "");
    line.write_all(b"hi\n").expect("it reads");
    let mut read = Vec::new();
    while !read.ends_with(b"hi\r\nhi\r\n") {
        let mut byte = [0];
        line.read_exact(&mut byte).expect("it writes");
        read.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&read).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    assert!(head.contains("Content-Type: application/vnd.docker.raw-stream"), "{head}");
    line.write_all(b"\x01x").expect("it reads");
    let mut rest = Vec::new();
    line.read_to_end(&mut rest).expect("it closes");
    assert_eq!(rest, b"", "nothing of the keys reaches the terminal");
    let state = super::field(host, &id, "{{.State.Status}}");
    assert_eq!(state, "running");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let events = host.docker(&[
        "events",
        "--since",
        "1",
        "--until",
        &now,
        "--filter",
        &format!("container={id}"),
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(events.ok(), "create\nstart\nattach\ndetach");
    let (status, said) = host
        .engine
        .post(&format!("/containers/{id}/attach?stream=1&detachKeys=ctrl-A"), &Value::Null);
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("\"message\":\"Invalid detach keys (ctrl-A) provided\""), "{said}");
}

pub(crate) fn a_browser_attaches_by_websocket(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["-i"], &["sh", "-c", "read line; echo got $line"]);
    let path = format!("/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1");
    let headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut line = host.engine.ask("GET", &path, headers, "");
    line.write_all(b"\x82\x83\0\0\0\0hi\n").expect("it reads");
    let mut all = Vec::new();
    line.read_to_end(&mut all).expect("it closes");
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(text.contains("Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    assert!(all.ends_with(b"\x82\x07got hi\n\x88\x02\x03\xe8"), "{text}");
}

pub(crate) fn the_past_can_be_had_alone_and_in_frames(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &[], &["sh", "-c", "echo out; sleep 0.2; echo err >&2"]);
    host.docker(&["wait", &id]).ok();
    let want = b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n";
    for (version, kind) in [("1.41", "raw-stream"), ("1.42", "multiplexed-stream")] {
        let path = format!("/v{version}/containers/{id}/attach?logs=1&stdout=1&stderr=1");
        let mut line = host.engine.ask("POST", &path, UPGRADE, "");
        let mut all = Vec::new();
        line.read_to_end(&mut all).expect("it closes");
        let text = String::from_utf8_lossy(&all).into_owned();
        assert!(text.contains(&format!("application/vnd.docker.{kind}\r\n")), "{text}");
        assert!(all.ends_with(want), "{text}");
    }
}
