//! The shim's task API, as far as this program uses it.
//!
//! Spec: containerd, api/runtime/task/v2/shim.proto.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use container::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use spec::oci::runtime as oci;
use spec::options::{self, Options};
use spec::{ContainerId, ProcessInfo, Signal, Usage};

use super::Error;
use super::ttrpc::Client;
use crate::protobuf::{Message, Value, fields};

/// Types of JSON documents, as containerd's clients send them.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// The task of one container, or an exec in it.
#[derive(Debug)]
pub(super) struct Tasks {
    client: Client,
    id: String,
    /// Empty for the container's init.
    exec: String,
}

/// Where a process's streams are, as requests name them; empty for the null device.
#[derive(Debug, Default, Clone)]
pub(super) struct Streams {
    pub(super) terminal: bool,
    pub(super) stdin: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// What a shim says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) status: Status,
    /// What the host has of it: the VM's worker.
    pub(super) pid: i32,
}

impl Tasks {
    /// Connects to the shim at `address`.
    pub(super) fn connect(address: &str, id: &ContainerId) -> Result<Self, Error> {
        let client = Client::connect(address);
        let client = client.map_err(|source| Error::Gone { call: "connect", source })?;
        Ok(Self { client, id: id.to_string(), exec: String::new() })
    }

    /// The same for the exec of that name.
    pub(super) fn of_exec(self, exec: String) -> Self {
        Self { exec, ..self }
    }

    /// Asks for the container from the shim's bundle; the connection becomes readable when it is made.
    pub(super) fn begin_create(
        &mut self,
        bundle: &str,
        rootfs: Option<&Message>,
        streams: &Streams,
        options: &Options,
    ) -> Result<(), Error> {
        let mut request = Message::default();
        request.text(1, &self.id).text(2, bundle);
        if let Some(mount) = rootfs {
            request.nested(3, mount);
        }
        request.flag(4, streams.terminal).text(5, &streams.stdin);
        request.text(6, &streams.stdout).text(7, &streams.stderr);
        request.nested(10, &any(options::TYPE_URL, options)?);
        self.client.begin("Create", &request)
    }

    /// The worker's number of the container that was asked for.
    pub(super) fn finish_create(&mut self) -> Result<i32, Error> {
        Ok(pid(&self.client.finish("Create")?, 1))
    }

    /// Makes an exec; it waits at its gate.
    pub(super) fn exec(&mut self, process: &oci::Process, streams: &Streams) -> Result<(), Error> {
        let mut request = self.named();
        request.flag(3, streams.terminal).text(4, &streams.stdin);
        request.text(5, &streams.stdout).text(6, &streams.stderr);
        request.nested(7, &any(PROCESS_TYPE, process)?);
        self.client.call("Exec", &request).map(drop)
    }

    /// Opens the gate; gives the worker's number.
    pub(super) fn start(&mut self) -> Result<i32, Error> {
        let request = self.named();
        Ok(pid(&self.client.call("Start", &request)?, 1))
    }

    pub(super) fn state(&mut self) -> Result<State, Error> {
        let request = self.named();
        let answer = self.client.call("State", &request)?;
        let status = match number(&answer, 4) {
            1 => Status::Created,
            2 => Status::Running,
            3 => Status::Stopped,
            4 | 5 => Status::Paused,
            _ => return Err(Error::Answer { call: "State", what: "names no state" }),
        };
        Ok(State { status, pid: pid(&answer, 3) })
    }

    pub(super) fn kill(&mut self, signal: Signal, all: bool) -> Result<(), Error> {
        let mut request = self.named();
        request.number(3, u64::from(signal.number().unsigned_abs())).flag(4, all);
        self.client.call("Kill", &request).map(drop)
    }

    /// Sets the terminal's size.
    pub(super) fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Error> {
        let mut request = self.named();
        request.number(3, columns.into()).number(4, rows.into());
        self.client.call("ResizePty", &request).map(drop)
    }

    pub(super) fn freeze(&mut self, frozen: bool) -> Result<(), Error> {
        let request = self.named();
        self.client.call(if frozen { "Pause" } else { "Resume" }, &request).map(drop)
    }

    pub(super) fn update(&mut self, to: &oci::LinuxResources) -> Result<(), Error> {
        let mut request = Message::default();
        request.text(1, &self.id).nested(2, &any(RESOURCES_TYPE, to)?);
        self.client.call("Update", &request).map(drop)
    }

    pub(super) fn usage(&mut self) -> Result<Usage, Error> {
        let request = self.named();
        let answer = self.client.call("Stats", &request)?;
        let found = bytes(&answer, 1).and_then(from_any);
        found.ok_or(Error::Answer { call: "Stats", what: "is no usage" })
    }

    /// The processes, with the guest's numbers.
    pub(super) fn processes(&mut self) -> Result<Vec<ProcessInfo>, Error> {
        let request = self.named();
        let answer = self.client.call("Pids", &request)?;
        let broken = Error::Answer { call: "Pids", what: "is no list of processes" };
        let Some(list) = fields(&answer) else { return Err(broken) };
        let read = |(field, value)| match (field, value) {
            (1, Value::Bytes(process)) => Some(bytes(process, 2).and_then(from_any)),
            _ => None,
        };
        list.into_iter().filter_map(read).collect::<Option<_>>().ok_or(broken)
    }

    /// Asks for the end; the connection becomes readable with it.
    pub(super) fn begin_wait(&mut self) -> Result<(), Error> {
        let request = self.named();
        self.client.begin("Wait", &request)
    }

    /// The exit status that was asked for.
    pub(super) fn finish_wait(&mut self) -> Result<u8, Error> {
        let answer = self.client.finish("Wait")?;
        Ok(u8::try_from(number(&answer, 1)).unwrap_or(u8::MAX))
    }

    /// Forgets a process that has ended, or a container that was never started.
    pub(super) fn delete(&mut self) -> Result<(), Error> {
        let request = self.named();
        self.client.call("Delete", &request).map(drop)
    }

    /// Ends the shim unless it holds others.
    pub(super) fn leave(&mut self) -> Result<(), Error> {
        self.begin_shutdown(false)?;
        match self.client.finish("Shutdown") {
            // Somebody else ends it.
            Ok(_) | Err(Error::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the shim, which holds nothing any more; returns when it is gone.
    pub(super) fn shutdown(&mut self) -> Result<(), Error> {
        self.begin_shutdown(true)?;
        self.finish_shutdown()
    }

    /// The same, unless that takes longer.
    pub(super) fn shutdown_within(&mut self, limit: Duration) -> Result<(), Error> {
        self.begin_shutdown(true)?;
        let gone = |source| Error::Gone { call: "Shutdown", source };
        if self.readable_within(limit).map_err(gone)? { self.finish_shutdown() } else { Ok(()) }
    }

    fn begin_shutdown(&mut self, now: bool) -> Result<(), Error> {
        let mut request = Message::default();
        request.text(1, &self.id).flag(2, now);
        self.client.begin("Shutdown", &request)
    }

    fn finish_shutdown(&mut self) -> Result<(), Error> {
        self.client.finish("Shutdown")?;
        match self.client.finish("Shutdown") {
            Err(Error::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::Answer { call: "Shutdown", what: "comes twice" }),
        }
    }

    /// Waits for an answer at most that long; whether there is one.
    pub(super) fn readable_within(&self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.client, PollFlags::IN)];
        Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)))? > 0)
    }

    fn named(&self) -> Message {
        let mut request = Message::default();
        request.text(1, &self.id).text(2, &self.exec);
        request
    }
}

impl AsFd for Tasks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}

/// A mount, as requests have it.
pub(super) fn mount(kind: &str, source: &str, options: &[String]) -> Message {
    let mut mount = Message::default();
    mount.text(1, kind).text(2, source);
    for option in options {
        mount.text(4, option);
    }
    mount
}

/// A document with its type.
fn any(type_url: &'static str, value: &impl Serialize) -> Result<Message, Error> {
    let json = serde_json::to_vec(value);
    let json = json.map_err(|source| Error::Json { what: type_url.to_owned(), source })?;
    let mut any = Message::default();
    any.text(1, type_url).text(2, json);
    Ok(any)
}

fn from_any<T: DeserializeOwned>(any: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes(any, 2)?).ok()
}

/// The number in a field of a message; 0 where there is none, as the encoding has it.
fn number(message: &[u8], field: u32) -> u64 {
    let found = fields(message).into_iter().flatten().find(|(at, _)| *at == field);
    match found {
        Some((_, Value::Number(number))) => number,
        _ => 0,
    }
}

fn pid(message: &[u8], field: u32) -> i32 {
    i32::try_from(number(message, field)).unwrap_or(0)
}

fn bytes(message: &[u8], field: u32) -> Option<&[u8]> {
    fields(message)?.into_iter().find_map(|(at, value)| match value {
        Value::Bytes(bytes) if at == field => Some(bytes),
        _ => None,
    })
}
