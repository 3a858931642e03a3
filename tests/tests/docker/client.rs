//! A client of the API that notices when its engine dies: an answer counts only when it is whole.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;
use tests::Engine;

/// Speaks to one engine, a connection a request.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

/// An answer that arrived whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn of(engine: &Engine) -> Self {
        Self { socket: engine.exec_root().join("hull.sock") }
    }

    /// Asks; `None` when the engine died before the answer was whole.
    pub(super) fn ask(&self, method: &str, path: &str, body: &Value) -> Option<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut socket = UnixStream::connect(&self.socket).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body.as_bytes())).ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok()?;
        Answer::parse(&answer)
    }

    /// Asks for a page of JSON from an engine that lives.
    #[track_caller]
    pub(super) fn page(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &Value::Null).expect("the engine lives");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }
}

impl Answer {
    /// Whether what was asked is done, or was so before.
    pub(super) fn done(&self) -> bool {
        matches!(self.status, 200..400)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let rest = &bytes[end + 4..];
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
        };
        let body = match field("content-length:") {
            Some(length) if length.parse() == Ok(rest.len()) => rest.to_owned(),
            Some(_) => return None,
            None if field("transfer-encoding:").is_some() => whole_chunks(rest)?,
            None => rest.to_owned(),
        };
        Some(Self { status, body })
    }
}

/// The content of chunks, if the last of them is there.
pub(super) fn whole_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(content);
        }
        content.extend_from_slice(rest.get(line + 2..line + 2 + length)?);
        rest = rest.get(line + 4 + length..)?;
    }
}
