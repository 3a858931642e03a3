//! Connections as other clients than the stock one use them: bytes on a socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::Host;
use tests::command::eventually;
use tests::host::{Engine, IMAGE};

/// Sends bytes and gives the connection.
fn say(engine: &Engine, text: &str) -> UnixStream {
    let mut socket = engine.connect();
    socket.write_all(text.as_bytes()).expect("it reads");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    socket
}

/// The next answer on the connection, head and body; the body's length is in its head.
fn answer(socket: &mut UnixStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).expect("an answer"), 1, "{head:?}");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    socket.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

pub(crate) fn a_connection_serves_many_requests_also_sent_at_once(host: &mut Host) {
    let get = |page: &str| format!("GET {page} HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut socket = say(&host.engine, &get("/_ping"));
    for _ in 0..3 {
        assert_eq!(answer(&mut socket).1, "OK");
        // One that fails does not end the connection, with or without a body.
        socket.write_all(get("/containers/absent/json").as_bytes()).expect("it reads");
        assert!(answer(&mut socket).0.starts_with("HTTP/1.1 404 "));
        let post =
            "POST /containers/absent/rename HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nabc";
        socket.write_all(post.as_bytes()).expect("it reads");
        assert!(answer(&mut socket).0.starts_with("HTTP/1.1 4"));
        socket.write_all(get("/_ping").as_bytes()).expect("it reads");
    }
    assert_eq!(answer(&mut socket).1, "OK");

    // Before the first answer is read; answers keep the order of requests.
    let pages = ["/_ping", "/version", "/containers/absent/json", "/_ping"];
    let mut socket = say(&host.engine, &pages.map(get).concat());
    assert_eq!(answer(&mut socket).1, "OK");
    assert!(answer(&mut socket).1.contains("\"ApiVersion\":\"1.51\""));
    assert!(answer(&mut socket).1.contains("No such container: absent"));
    assert_eq!(answer(&mut socket).1, "OK");
}

pub(crate) fn a_body_may_come_in_chunks_and_after_a_go_ahead(host: &mut Host) {
    let post = "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n";
    let body = r#"{"Name":"chunked"}"#;
    let chunks =
        format!("5\r\n{}\r\n{:x};x=y\r\n{}\r\n0\r\n\r\n", &body[..5], body.len() - 5, &body[5..]);
    let mut socket =
        say(&host.engine, &format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    let (head, made) = answer(&mut socket);
    assert!(head.starts_with("HTTP/1.1 201 ") && made.contains("\"Name\":\"chunked\""), "{made}");

    // curl waits for the go-ahead before it sends a large body.
    let length = body.len();
    let ask = format!("{post}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    let mut socket = say(&host.engine, &ask);
    assert_eq!(answer(&mut socket).0, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).expect("it reads");
    let (head, made) = answer(&mut socket);
    assert!(head.starts_with("HTTP/1.1 201 ") && made.contains("\"Name\":\"chunked\""), "{made}");
    host.docker(&["volume", "rm", "chunked"]).ok();
}

pub(crate) fn a_body_of_json_has_a_limit_and_one_shape(host: &mut Host) {
    let refused = |headers: &str, body: &str| {
        let head = "POST /containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\n";
        let mut socket = say(&host.engine, &format!("{head}{headers}\r\n{body}"));
        let (head, body) = answer(&mut socket);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["kind"], "invalid", "{body}");
        (head, body["message"].as_str().expect("a text").to_owned())
    };
    let json = "Content-Type: application/json\r\n";
    let sized = |body: &str| format!("{json}Content-Length: {}\r\n", body.len());
    for (body, want) in [
        ("{", "invalid JSON"),
        ("{}{}", "unexpected content after JSON"),
        ("[1]", "the body is not a JSON object"),
        (&format!("{{\"Image\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), "invalid JSON"),
    ] {
        let (head, said) = refused(&sized(body), body);
        assert!(head.starts_with("HTTP/1.1 400 ") && said.contains(want), "{body:.40}: {said}");
    }
    let (_, said) = refused("Content-Type: text/plain\r\nContent-Length: 2\r\n", "{}");
    assert!(said.contains("must be 'application/json'"), "{said}");

    // Of what is longer than it may be nothing is kept; the client learns it all the same.
    let long = format!("{{\"Image\":\"{}\"}}", "x".repeat(17 << 20));
    let before = memory(&host.engine);
    for headers in [sized(&long), format!("{json}Transfer-Encoding: chunked\r\n")] {
        let chunked = headers.contains("chunked");
        let frame =
            if chunked { format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()) } else { long.clone() };
        let (head, said) = refused(&headers, &frame);
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert!(said.contains("longer than 16777216 bytes"), "{said}");
    }
    eventually("memory is given back", || memory(&host.engine) < before + (8 << 10));
}

pub(crate) fn an_answer_does_not_wait_for_a_body_that_nobody_wants(host: &mut Host) {
    const BEGUN: usize = 4096;
    const REST: usize = 4 << 20;
    let begun = |request: &str| {
        let length = BEGUN + REST;
        let body = "x".repeat(BEGUN);
        let head = format!("{request} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n");
        say(&host.engine, &format!("{head}\r\n{body}"))
    };
    let ended = |mut socket: UnixStream| {
        socket.write_all(&vec![b'x'; REST]).expect("it reads on");
        socket.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").expect("it reads");
        assert_eq!(answer(&mut socket).1, "OK");
    };
    for (request, want) in [
        ("PUT /containers/absent/archive?path=/", "No such container"),
        ("POST /images/load?platform=plan9/mips", "plan9/mips"),
        ("POST /nowhere", "page not found"),
    ] {
        let mut socket = begun(request);
        let (head, said) = answer(&mut socket);
        assert!(head.starts_with("HTTP/1.1 4") && said.contains(want), "{request}: {head}{said}");
        ended(socket);
    }
    // What fails while it is read is told in the stream.
    let mut socket = begun("POST /build");
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n0\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).expect("an answer"), 1);
        said.push(byte[0]);
    }
    assert!(String::from_utf8_lossy(&said).contains("errorDetail"), "{said:?}");
    ended(socket);
}

/// KiB of the engine that are in memory.
fn memory(engine: &Engine) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", engine.pid())).expect("runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

pub(crate) fn a_request_in_flight_is_answered_when_the_engine_ends(host: &mut Host) {
    let mut engine = host.another_engine_with(&[]);
    engine.docker(&["pull", "-q", IMAGE]).ok();
    // A container that ends half a second after it is told to.
    let script = "trap 'sleep 0.5; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    engine.docker(&["run", "-d", "--name", "slow", IMAGE, "sh", "-c", script]).ok();
    eventually("it listens", || engine.docker(&["logs", "slow"]).out == "ready\n");
    let mut stop = say(&engine, "POST /containers/slow/stop HTTP/1.1\r\nHost: d\r\n\r\n");
    let mut idle = say(&engine, "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(answer(&mut idle).1, "OK");
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    engine.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(answer(&mut stop).0.starts_with("HTTP/1.1 204 "));
    assert_eq!(idle.read(&mut [0]).expect("the end"), 0, "an idle connection is closed");
    engine.start();
    assert_eq!(engine.inspect("slow")["State"]["ExitCode"], 3);
    engine.docker(&["rm", "slow"]).ok();
}
