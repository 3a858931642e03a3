//! criu(8), driven by its remote procedure calls.
//!
//! ```text
//!   criu swrk FD  <- request       notify -> script by name, done <- ...       answer ->
//! ```
//!
//! One program a request, started with one end of a socket pair. Descriptors in a request are this
//! process's own numbers: criu opens them by `/proc`.
//!
//! See criu.org "RPC", and `rpc.proto` of criu 3.17 for the numbers of fields.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown,
    SocketFlags, SocketType, recvmsg, send, socketpair,
};

pub(crate) use crate::protobuf::{Message, Value, fields};

/// The oldest version that answers these requests.
const OLDEST: u64 = 30_000;

/// What is asked of criu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    FeatureCheck = 9,
    Version = 10,
}

/// The type of a notification.
const NOTIFY: u64 = 6;

/// Why criu did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not installed.
    #[error("criu is not installed: executable file not found in $PATH")]
    Missing,
    /// It is, and does not run on this host.
    #[error("criu does not work on this host: {0}")]
    Unusable(String),
    /// It is too old.
    #[error("criu {0} is older than 3.0")]
    Old(u64),
    /// It lacks what a flag asks for.
    #[error("criu is missing features: {0}")]
    Feature(&'static str),
    /// It tried.
    #[error("criu failed: type {kind:?} errno {errno}: {reason}; see {}", log.display())]
    Failed {
        /// What was asked.
        kind: Request,
        /// Its reason by number.
        errno: u64,
        /// The first error in its log.
        reason: String,
        /// That log.
        log: PathBuf,
    },
    /// It says what nobody can understand.
    #[error("criu answers with {0}")]
    Answer(&'static str),
    /// Talking to it.
    #[error("{step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step { step, source: source.into() }
    }
}

/// One request, and what goes with it.
pub(crate) struct Call<'a> {
    /// What is asked.
    pub(crate) kind: Request,
    /// Its options, or nothing.
    pub(crate) options: Option<&'a Message>,
    /// Descriptors that criu inherits under the same numbers.
    pub(crate) inherited: &'a [OwnedFd],
    /// Whether criu, and what it restores, has this process's standard streams.
    pub(crate) streams: bool,
    /// The log that it writes.
    pub(crate) log: &'a Path,
}

/// Something that happened on the way.
pub(crate) struct Event {
    /// Its name.
    pub(crate) script: String,
    /// The process that it is about, or 0.
    pub(crate) pid: i32,
    /// What came with it.
    pub(crate) fd: Option<OwnedFd>,
}

/// The answer to the last message.
struct Answer {
    bytes: Vec<u8>,
    fd: Option<OwnedFd>,
}

/// A started criu; killed and reaped when dropped before its end.
pub(crate) struct Session {
    child: Child,
    socket: OwnedFd,
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Call<'_> {
    /// Starts criu, which waits for the request.
    pub(crate) fn start(&self) -> Result<Session, Error> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(Error::step("make a socket pair"))?;
        for fd in self.inherited.iter().chain([&theirs]) {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())
                .map_err(Error::step("let criu inherit a descriptor"))?;
        }
        let mut command = Command::new("criu");
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        if !self.streams {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => Error::step("start criu")(error),
        })?;
        Ok(Session { child, socket: ours })
    }

    /// Sends the request, answers what criu tells on the way by `on`, and gives its last answer.
    pub(crate) fn run(
        &self,
        mut session: Session,
        on: &mut dyn FnMut(Event) -> Result<(), io::Error>,
    ) -> Result<Vec<u8>, Error> {
        let mut request = Message::default();
        request.number(1, self.kind as u64);
        if let Some(options) = self.options {
            request.nested(if self.kind == Request::FeatureCheck { 5 } else { 2 }, options);
        }
        session.send(&request)?;
        loop {
            let Some(answer) = session.receive()? else {
                return Err(Error::Unusable(session.last_words()));
            };
            let Reply { kind, success, errno, event } = Reply::read(&answer.bytes)?;
            if !success {
                return Err(self.failure(errno));
            }
            if kind != NOTIFY {
                session.end(self.kind)?;
                return Ok(answer.bytes);
            }
            let Some((script, pid)) = event else { return Err(Error::Answer("no event")) };
            on(Event { script, pid, fd: answer.fd }).map_err(Error::step("act for criu"))?;
            let mut done = Message::default();
            done.number(1, NOTIFY).flag(3, true);
            session.send(&done)?;
        }
    }

    fn failure(&self, errno: u64) -> Error {
        let text = fs::read_to_string(self.log).unwrap_or_default();
        let reason = reason(&text).unwrap_or("no reason given").to_owned();
        Error::Failed { kind: self.kind, errno, reason, log: self.log.to_owned() }
    }
}

impl Session {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&self, message: &Message) -> Result<(), Error> {
        match send(&self.socket, message.bytes(), SendFlags::NOSIGNAL) {
            // It is gone: its last words are still to be read.
            Ok(_) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(error) => Err(Error::step("write to criu")(error)),
        }
    }

    /// The next message; `None` when criu hung up.
    fn receive(&self) -> Result<Option<Answer>, Error> {
        let mut bytes = vec![0; 1 << 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = rustix::io::retry_on_intr(|| {
            let mut data = [IoSliceMut::new(&mut bytes)];
            recvmsg(self.socket.as_fd(), &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let got = match got {
            Ok(got) => got.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(Error::step("read from criu")(error)),
        };
        bytes.truncate(got);
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        Ok((got > 0).then_some(Answer { bytes, fd }))
    }

    /// Lets it end by itself. After a pre-dump it would wait for the next one.
    fn end(&mut self, kind: Request) -> Result<(), Error> {
        rustix::net::shutdown(&self.socket, Shutdown::Write)
            .map_err(Error::step("hang up on criu"))?;
        let status = self.child.wait().map_err(Error::step("wait for criu"))?;
        if status.success() || kind == Request::PreDump {
            Ok(())
        } else {
            Err(Error::Unusable(status.to_string()))
        }
    }

    /// What it wrote on its standard error before it ended without an answer.
    fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stream) = self.child.stderr.take() {
            let _ = io::Read::read_to_string(&mut stream, &mut text);
        }
        let ended =
            || self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        reason(&text).map_or_else(ended, str::to_owned)
    }
}

/// What every answer has.
struct Reply {
    kind: u64,
    success: bool,
    errno: u64,
    event: Option<(String, i32)>,
}

impl Reply {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let broken = || Error::Answer("a broken message");
        let mut reply = Self { kind: 0, success: false, errno: 0, event: None };
        for (field, value) in fields(bytes).ok_or_else(broken)? {
            match (field, value) {
                (1, Value::Number(kind)) => reply.kind = kind,
                (2, Value::Number(success)) => reply.success = success != 0,
                (5, Value::Bytes(bytes)) => reply.event = Some(event(bytes).ok_or_else(broken)?),
                (7, Value::Number(errno)) => reply.errno = errno,
                _ => {}
            }
        }
        Ok(reply)
    }
}

fn event(bytes: &[u8]) -> Option<(String, i32)> {
    let (mut script, mut pid) = (String::new(), 0);
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Value::Bytes(text)) => script = String::from_utf8_lossy(text).into_owned(),
            (2, Value::Number(number)) => pid = i32::try_from(number).ok()?,
            _ => {}
        }
    }
    Some((script, pid))
}

/// The number in a nested message of an answer.
pub(crate) fn number_in(bytes: &[u8], message: u32, field: u32) -> Option<u64> {
    let find = |bytes, wanted| {
        fields(bytes)?.into_iter().find_map(|(field, value)| (field == wanted).then_some(value))
    };
    let Value::Bytes(inner) = find(bytes, message)? else { return None };
    match find(inner, field)? {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    }
}

/// The first error in what criu wrote, without where in its source that is.
fn reason(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("Error"))?;
    Some(line.split_once("): ").map_or(line, |(_, rest)| rest).trim())
}

/// Asks for criu's version, which it must have and say.
pub(crate) fn check() -> Result<(), Error> {
    let answer = ask(Request::Version, None)?;
    let part = |field| number_in(&answer, 10, field).unwrap_or(0);
    let version = part(1) * 10_000 + part(2) * 100 + part(4);
    if version < OLDEST { Err(Error::Old(version)) } else { Ok(()) }
}

/// Checks that criu has a feature, by its number in `criu_features`.
pub(crate) fn check_feature(number: u32, name: &'static str) -> Result<(), Error> {
    let mut wanted = Message::default();
    wanted.flag(number, true);
    let answer = ask(Request::FeatureCheck, Some(&wanted))?;
    match number_in(&answer, 8, number) {
        Some(1) => Ok(()),
        _ => Err(Error::Feature(name)),
    }
}

fn ask(kind: Request, options: Option<&Message>) -> Result<Vec<u8>, Error> {
    let call = Call { kind, options, inherited: &[], streams: false, log: Path::new("") };
    call.run(call.start()?, &mut |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_first_error_without_its_place() {
        let text =
            "(00.01) Dumping\n(00.02) Error (criu/vdso.c:381): vdso: Unexpected bounds\nError x";
        assert_eq!(reason(text), Some("vdso: Unexpected bounds"));
        assert_eq!(reason("all is well"), None);
    }

    #[test]
    fn a_notification_is_read() {
        let mut event = Message::default();
        event.text(1, "post-restore").number(2, 42);
        let mut answer = Message::default();
        answer.number(1, NOTIFY).flag(2, true).nested(5, &event);
        let reply = Reply::read(answer.bytes()).expect("a reply");
        assert_eq!(reply.event, Some(("post-restore".to_owned(), 42)));
        assert_eq!(number_in(answer.bytes(), 5, 2), Some(42));
        assert!(Reply::read(&[0x12, 9]).is_err());
    }
}
