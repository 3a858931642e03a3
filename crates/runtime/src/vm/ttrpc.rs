//! A client of ttrpc, as far as the shim's task API needs one: one call at a time, over a unix socket.
//!
//! ```text
//!   header, 10 bytes: length of the data, number of the stream, type, flags
//!   Request  { service 1, method 2, payload 3 }       Response { status 1 { code 1, message 2 }, payload 2 }
//! ```
//!
//! Spec: ttrpc, PROTOCOL.md.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use spec::Kind;

use super::Error;
use crate::protobuf::{Message, Value, fields};

/// The service, as both our engine and containerd call it.
const SERVICE: &str = "containerd.task.v2.Task";
/// Types of messages.
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// The longest message.
const MAX_DATA: usize = 4 << 20;
/// The header's length.
const HEADER: usize = 10;

/// A connection to a shim.
#[derive(Debug)]
pub(super) struct Client {
    socket: UnixStream,
    /// The number of the next call: odd ones are a client's.
    next: u32,
}

impl Client {
    /// Connects to an address such as `unix:///run/hull/shim/x.sock`.
    pub(super) fn connect(address: &str) -> io::Result<Self> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        Ok(Self { socket: UnixStream::connect(path)?, next: 1 })
    }

    /// Calls `method` and waits for what it answers.
    pub(super) fn call(
        &mut self,
        method: &'static str,
        request: &Message,
    ) -> Result<Vec<u8>, Error> {
        self.begin(method, request)?;
        self.finish(method)
    }

    /// Calls `method`; the connection becomes readable with the answer.
    pub(super) fn begin(&mut self, method: &'static str, request: &Message) -> Result<(), Error> {
        let mut call = Message::default();
        call.text(1, SERVICE).text(2, method).text(3, request.bytes());
        let data = call.bytes();
        let length = u32::try_from(data.len()).ok().filter(|_| data.len() <= MAX_DATA);
        let length =
            length.ok_or(Error::Answer { call: method, what: "takes less than is asked" })?;
        let mut message = Vec::with_capacity(HEADER + data.len());
        message.extend(length.to_be_bytes());
        message.extend(self.next.to_be_bytes());
        message.extend([REQUEST, 0]);
        message.extend(data);
        self.socket.write_all(&message).map_err(|source| Error::Gone { call: method, source })
    }

    /// The answer to the call that was begun.
    pub(super) fn finish(&mut self, method: &'static str) -> Result<Vec<u8>, Error> {
        let gone = |source| Error::Gone { call: method, source };
        let broken = |what| Error::Answer { call: method, what };
        let mut header = [0; HEADER];
        self.socket.read_exact(&mut header).map_err(gone)?;
        let number =
            |at: usize| header[at..at + 4].iter().fold(0, |all, byte| all << 8 | u32::from(*byte));
        let length = number(0) as usize;
        if length > MAX_DATA || header[8] != RESPONSE || number(4) != self.next {
            return Err(broken("is no answer to it"));
        }
        self.next += 2;
        let mut data = vec![0; length];
        self.socket.read_exact(&mut data).map_err(gone)?;
        answer(&data).ok_or_else(|| broken("is a broken message"))?
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a response says; `None` when it is none.
fn answer(data: &[u8]) -> Option<Result<Vec<u8>, Error>> {
    let (mut payload, mut refused) = (Vec::new(), None);
    for (field, value) in fields(data)? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                let (code, message) = status(bytes)?;
                refused = (code != 0).then(|| Error::Refused { kind: kind(code), message });
            }
            (2, Value::Bytes(bytes)) => bytes.clone_into(&mut payload),
            _ => {}
        }
    }
    Some(refused.map_or(Ok(payload), Err))
}

/// A status's code, 0 for success, and its message.
fn status(status: &[u8]) -> Option<(u64, String)> {
    let (mut code, mut message) = (0, String::new());
    for (field, value) in fields(status)? {
        match (field, value) {
            (1, Value::Number(number)) => code = number,
            (2, Value::Bytes(text)) => message = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    Some((code, message))
}

/// The kind that a code stands for, as the shim has it: `code` in its `error.rs`.
fn kind(code: u64) -> Kind {
    match code {
        3 => Kind::Invalid,
        5 => Kind::NotFound,
        6 => Kind::Exists,
        7 => Kind::Denied,
        8 => Kind::Exhausted,
        9 => Kind::Conflict,
        11 => Kind::CommandNotFound,
        12 => Kind::Unsupported,
        14 => Kind::Unavailable,
        15 => Kind::CommandNotExecutable,
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that reads one request and answers with `said`.
    fn answering(said: Vec<u8>) -> (Client, std::thread::JoinHandle<Vec<u8>>) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let server = std::thread::spawn(move || {
            let mut header = [0; HEADER];
            theirs.read_exact(&mut header).expect("a header");
            let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
            let mut data = vec![0; length as usize];
            theirs.read_exact(&mut data).expect("a request");
            theirs.write_all(&said).expect("written");
            data
        });
        (Client { socket: ours, next: 1 }, server)
    }

    fn framed(stream: u32, kind: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).expect("short").to_be_bytes();
        [&length[..], &stream.to_be_bytes(), &[kind, 0], data].concat()
    }

    fn response(code: u64, message: &str) -> Vec<u8> {
        let (mut status, mut response) = (Message::default(), Message::default());
        status.number(1, code).text(2, message);
        response.nested(1, &status).text(2, "payload");
        response.bytes().to_owned()
    }

    #[test]
    fn a_call_is_answered_or_refused() {
        let (mut client, server) = answering(framed(1, RESPONSE, &response(0, "")));
        let mut request = Message::default();
        request.text(1, "web");
        assert_eq!(client.call("State", &request).expect("answered"), b"payload");
        let asked = server.join().expect("served");
        let asked = fields(&asked).expect("a message");
        assert_eq!(asked[1], (2, Value::Bytes(b"State")));
        assert_eq!(asked[2], (3, Value::Bytes(request.bytes())));
        let (mut client, _server) = answering(framed(1, RESPONSE, &response(5, "no such process")));
        let error = client.call("State", &request).expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotFound, "no such process"));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for said in [
            framed(3, RESPONSE, &response(0, "")),
            framed(1, REQUEST, &response(0, "")),
            framed(1, RESPONSE, &[0x0a, 9, 1]),
            [&u32::MAX.to_be_bytes()[..], &[0, 0, 0, 1, RESPONSE, 0]].concat(),
            vec![0; 4],
        ] {
            let (mut client, _server) = answering(said.clone());
            assert!(client.call("State", &Message::default()).is_err(), "{said:?}");
        }
    }
}
