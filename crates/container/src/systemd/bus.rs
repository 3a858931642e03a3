//! As much of D-Bus as it takes to talk to systemd: one connection, one call at a time, little endian.
//!
//! Spec: D-Bus Specification 0.43, "Message Protocol", "Authentication Protocol".

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Error;

/// How long systemd may take.
const PATIENCE: Duration = Duration::from_secs(30);
const STOP: &str = "StopUnit";
const DESTINATION: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    U64(u64),
    I64(i64),
    U32(u32),
    I32(i32),
    Text(String),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
    /// Pairs of strings, for `DeviceAllow`.
    Pairs(Vec<(String, String)>),
}

/// A connection to systemd.
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

/// What came in.
pub(super) struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<u8>,
}

impl Bus {
    /// Connects to the system's manager, or the `user`'s.
    pub(super) fn connect(user: bool) -> Result<Self, Error> {
        let mut last = None;
        for (path, is_bus) in addresses(user) {
            match Self::open(&path, is_bus) {
                Ok(bus) => return Ok(bus),
                Err(source) => last = Some(Error::Connect { path, source }),
            }
        }
        Err(last.unwrap_or(Error::NotRunning))
    }

    /// Over the socket at `path`: systemd's own, or a bus that leads to it.
    pub(super) fn open(path: &Path, is_bus: bool) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream: BufReader::new(stream), serial: 0, signals: VecDeque::new() };
        bus.authenticate()?;
        if is_bus {
            let (name, object) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
            bus.exchange(&Call::new(name, object, name, "Hello"))?;
            let mut rule = Call::new(name, object, name, "AddMatch");
            rule.signature("s").text("type='signal',interface='org.freedesktop.systemd1.Manager'");
            bus.exchange(&rule)?;
            bus.exchange(&Call::new(DESTINATION, OBJECT, MANAGER, "Subscribe"))?;
        }
        Ok(bus)
    }

    fn authenticate(&mut self) -> io::Result<()> {
        use std::fmt::Write as _;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex = uid.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        // All at once, as systemd's own client does: systemd would not look at a call that came along
        // with a late BEGIN before something else comes.
        let line = format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, line.trim().to_owned()));
        }
        Ok(())
    }

    /// Starts a transient unit and waits for it.
    pub(super) fn start(
        &mut self,
        unit: &str,
        properties: &[(String, Value)],
    ) -> Result<(), Error> {
        let mut call = manager("StartTransientUnit");
        call.signature("ssa(sv)a(sa(sv))").text(unit).text("replace").properties(properties);
        // No auxiliary units.
        call.array(8, |_| {});
        self.job("StartTransientUnit", unit, &call)
    }

    /// Stops a unit and waits for its end.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), Error> {
        let mut call = manager(STOP);
        call.signature("ss").text(unit).text("replace");
        self.job(STOP, unit, &call)
    }

    /// Sets properties until the next boot.
    pub(super) fn set_properties(
        &mut self,
        unit: &str,
        properties: &[(String, Value)],
    ) -> Result<(), Error> {
        let mut call = manager("SetUnitProperties");
        call.signature("sba(sv)").text(unit).u32(1).properties(properties);
        self.call("SetUnitProperties", unit, &call).map(drop)
    }

    /// Forgets that a unit failed.
    pub(super) fn reset_failed(&mut self, unit: &str) -> Result<(), Error> {
        let mut call = manager("ResetFailedUnit");
        call.signature("s").text(unit);
        self.call("ResetFailedUnit", unit, &call).map(drop)
    }

    /// A property of the manager that is text.
    pub(super) fn manager_property(&mut self, name: &'static str) -> Result<String, Error> {
        let properties = "org.freedesktop.DBus.Properties";
        let mut call = Call::new(DESTINATION, OBJECT, properties, "Get");
        call.signature("ss").text(MANAGER).text(name);
        let reply = self.call("Get", name, &call)?;
        // A variant: its signature, then the text.
        let mut reader = Reader { bytes: &reply.body, at: 0 };
        let text = (reader.signature().as_deref() == Some("s")).then(|| reader.text()).flatten();
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        text.ok_or_else(|| Error::Call { call: "Get", source: invalid() })
    }

    /// Makes a call that begins a job, and waits for the job's end.
    fn job(&mut self, name: &'static str, unit: &str, call: &Call) -> Result<(), Error> {
        let reply = self.call(name, unit, call)?;
        let broken = |source| Error::Call { call: name, source };
        let invalid = || broken(io::ErrorKind::InvalidData.into());
        let job = Reader { bytes: &reply.body, at: 0 }.text().ok_or_else(invalid)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None if self.has_news().map_err(broken)? => self.read().map_err(broken)?,
                // A unit that ended by itself may be forgotten before its job's end is told.
                None if name == STOP && !self.knows(unit)? => return Ok(()),
                None if Instant::now() > deadline => {
                    return Err(broken(io::ErrorKind::TimedOut.into()));
                }
                None => continue,
            };
            if signal.member != "JobRemoved" {
                continue;
            }
            let mut reader = Reader { bytes: &signal.body, at: 0 };
            let (_, which, _, result) =
                (reader.u32(), reader.text(), reader.text(), reader.text().unwrap_or_default());
            if which.as_ref() == Some(&job) {
                let unit = unit.to_owned();
                return if result == "done" {
                    Ok(())
                } else {
                    Err(Error::Job { call: name, unit, result })
                };
            }
        }
    }

    /// Waits a moment for something to read.
    fn has_news(&self) -> io::Result<bool> {
        if !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let mut fds = [PollFd::new(self.stream.get_ref(), PollFlags::IN)];
        Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&moment)))? > 0)
    }

    /// Whether the unit is loaded.
    fn knows(&mut self, unit: &str) -> Result<bool, Error> {
        let mut call = manager("GetUnit");
        call.signature("s").text(unit);
        match self.call("GetUnit", unit, &call) {
            Ok(_) => Ok(true),
            Err(Error::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn call(&mut self, name: &'static str, unit: &str, call: &Call) -> Result<Message, Error> {
        let reply = self.exchange(call).map_err(|source| Error::Call { call: name, source })?;
        if reply.error.is_empty() {
            return Ok(reply);
        }
        let message = Reader { bytes: &reply.body, at: 0 }.text().unwrap_or_default();
        Err(Error::Refused { call: name, unit: unit.to_owned(), name: reply.error, message })
    }

    /// Sends a call and waits for its answer.
    fn exchange(&mut self, call: &Call) -> io::Result<Message> {
        self.serial += 1;
        let bytes = call.message(self.serial)?;
        self.stream.get_mut().write_all(&bytes)?;
        loop {
            let message = self.read()?;
            match message.kind {
                2 | 3 if message.reply_to == self.serial => return Ok(message),
                4 => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    fn read(&mut self) -> io::Result<Message> {
        let mut fixed = [0; 16];
        self.stream.read_exact(&mut fixed)?;
        let size = |at: usize| {
            let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
            u32::from_le_bytes(bytes) as usize
        };
        let (body, fields) = (size(4), size(12));
        // The greatest message that there may be.
        if fixed[0] != b'l' || body.saturating_add(fields) > 128 << 20 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut header = vec![0; fields.next_multiple_of(8)];
        self.stream.read_exact(&mut header)?;
        let mut message = Message {
            kind: fixed[1],
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            body: vec![0; body],
        };
        self.stream.read_exact(&mut message.body)?;
        message.take_fields(&header[..fields]).ok_or(io::ErrorKind::InvalidData)?;
        Ok(message)
    }
}

impl Message {
    fn take_fields(&mut self, bytes: &[u8]) -> Option<()> {
        let mut reader = Reader { bytes, at: 0 };
        while reader.at < bytes.len() {
            reader.align(8);
            let code = *bytes.get(reader.at)?;
            reader.at += 1;
            match (code, reader.signature()?.as_str()) {
                (3, "s") => self.member = reader.text()?,
                (4, "s") => self.error = reader.text()?,
                (5, "u") => self.reply_to = reader.u32()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                _ => return None,
            }
        }
        Some(())
    }
}

/// Where to connect to, the likeliest first, and whether it is a bus.
fn addresses(user: bool) -> Vec<(PathBuf, bool)> {
    if !user {
        return vec![
            ("/run/systemd/private".into(), false),
            ("/run/dbus/system_bus_socket".into(), true),
        ];
    }
    let mut list = Vec::new();
    if let Some(run) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        list.push((run.join("systemd/private"), false));
        list.push((run.join("bus"), true));
    }
    let session = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let path = session.strip_prefix("unix:path=").and_then(|rest| rest.split([',', ';']).next());
    list.extend(path.map(|path| (PathBuf::from(path), true)));
    list
}

fn manager(member: &'static str) -> Call {
    Call::new(DESTINATION, OBJECT, MANAGER, member)
}

/// A call in the making.
struct Call {
    fields: [(u8, &'static str, &'static str); 4],
    signature: &'static str,
    body: Vec<u8>,
}

impl Call {
    fn new(
        destination: &'static str,
        object: &'static str,
        interface: &'static str,
        member: &'static str,
    ) -> Self {
        let fields =
            [(1, "o", object), (2, "s", interface), (3, "s", member), (6, "s", destination)];
        Self { fields, signature: "", body: Vec::new() }
    }

    fn signature(&mut self, signature: &'static str) -> &mut Self {
        self.signature = signature;
        self
    }

    fn message(&self, serial: u32) -> io::Result<Vec<u8>> {
        let size = u32::try_from(self.body.len()).map_err(io::Error::other)?;
        let mut out = Self { fields: self.fields, signature: "", body: vec![b'l', 1, 0, 1] };
        out.u32(size).u32(serial);
        out.array(8, |out| {
            for (code, kind, value) in self.fields {
                out.align(8).byte(code).short(kind).text(value);
            }
            if !self.signature.is_empty() {
                out.align(8).byte(8).short("g").short(self.signature);
            }
        });
        out.align(8);
        out.body.extend(&self.body);
        Ok(out.body)
    }

    fn align(&mut self, to: usize) -> &mut Self {
        self.body.resize(self.body.len().next_multiple_of(to), 0);
        self
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        self.body.push(byte);
        self
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.align(4).body.extend(number.to_le_bytes());
        self
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.align(8).body.extend(number.to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX)).body.extend(text.as_bytes());
        self.byte(0)
    }

    /// A signature: its length is one byte.
    fn short(&mut self, text: &str) -> &mut Self {
        self.byte(u8::try_from(text.len()).unwrap_or(u8::MAX)).body.extend(text.as_bytes());
        self.byte(0)
    }

    /// An array whose elements are aligned to `to`.
    fn array(&mut self, to: usize, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.u32(0);
        let length_at = self.body.len() - 4;
        self.align(to);
        let start = self.body.len();
        fill(self);
        let length = u32::try_from(self.body.len() - start).unwrap_or(u32::MAX);
        self.body[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        self
    }

    fn properties(&mut self, properties: &[(String, Value)]) -> &mut Self {
        self.array(8, |out| {
            for (name, value) in properties {
                out.align(8).text(name).variant(value);
            }
        })
    }

    fn variant(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Bool(value) => self.short("b").u32((*value).into()),
            Value::U64(value) => self.short("t").u64(*value),
            Value::I64(value) => self.short("x").u64(value.cast_unsigned()),
            Value::U32(value) => self.short("u").u32(*value),
            Value::I32(value) => self.short("i").u32(value.cast_unsigned()),
            Value::Text(value) => self.short("s").text(value),
            Value::Bytes(list) => self.short("ay").array(1, |out| out.body.extend(list)),
            Value::Numbers(list) => self.short("au").array(4, |out| {
                for number in list {
                    out.u32(*number);
                }
            }),
            Value::Pairs(list) => self.short("a(ss)").array(8, |out| {
                for (first, second) in list {
                    out.align(8).text(first).text(second);
                }
            }),
        }
    }
}

/// Reads what is needed of an answer; `None` at the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        self.at += 4;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let size = self.u32()? as usize;
        self.rest(size)
    }

    fn signature(&mut self) -> Option<String> {
        let size = usize::from(*self.bytes.get(self.at)?);
        self.at += 1;
        self.rest(size)
    }

    fn rest(&mut self, size: usize) -> Option<String> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(size)?)?;
        self.at += size + 1;
        String::from_utf8(bytes.to_vec()).ok()
    }
}
