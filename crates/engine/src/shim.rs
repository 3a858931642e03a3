//! Talking to a container's shim: containerd's task API over ttrpc.
//!
//! ```text
//!   spawn (exec "… start", it leaves a server and prints its address)  ->  create  ->  start
//!      ->  wait, kill, pause, exec …  ->  delete  ->  shutdown
//!   bury: exec "… delete" when the server was killed, or an engine died before it knew of it
//! ```
//!
//! Invariant: an error that the shim answered is told apart from a shim that is gone; only the latter
//! leads to a burial.
//!
//! Spec: containerd, core/runtime/v2/README.md; our own streams in ARCHITECTURE.md.

mod traces;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use containerd_shim_protos::api;
use containerd_shim_protos::shim_async::{Client, TaskClient};
use containerd_shim_protos::types::mount::Mount;
use image::Snapshot;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use spec::{Exit, Kind, Pid, ProcessInfo, Signal, Usage, files};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::clock;
use crate::config::Size;
use crate::request::Streams;
use crate::settings::{Places, Settings};

pub(crate) use traces::{left, until_gone};

/// How long the program may take for `start` and `delete`.
const PATIENCE: Duration = Duration::from_secs(60);
/// Our namespace in containerd's sense.
const NAMESPACE: &str = "hull";
/// The type of an exec's `process`, as containerd's clients send it.
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The type of an update's `resources`.
const RESOURCES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// Why a shim did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be executed.
    #[error("execute {}", program.display())]
    Spawn {
        /// The shim's program.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The program failed.
    #[error("{} {command}: {message}", program.display())]
    Program {
        /// The shim's program.
        program: PathBuf,
        /// `start` or `delete`.
        command: &'static str,
        /// What it printed.
        message: String,
    },
    /// There is nobody at its socket, or not any more.
    #[error("{call}: the container's shim is gone: {message}")]
    Gone {
        /// What was asked.
        call: &'static str,
        /// What the connection said.
        message: String,
    },
    /// It answered with an error.
    #[error("{message}")]
    Refused {
        /// The error's class.
        kind: Kind,
        /// The error's text, a chain already.
        message: String,
    },
    /// The socket of a process's streams.
    #[error("attach to {}", path.display())]
    Attach {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Spawn { .. } | Self::Program { .. } | Self::Attach { .. } => Kind::Internal,
            Self::Gone { .. } => Kind::Unavailable,
            Self::Refused { kind, .. } => *kind,
        }
    }
}

/// A connection to the shim of one container.
#[derive(Clone)]
pub(crate) struct Shim {
    client: Client,
    tasks: TaskClient,
    id: String,
    address: String,
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shim")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What a task is created from.
#[derive(Debug)]
pub(crate) struct Creation<'a> {
    pub(crate) places: &'a Places,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) settings: &'a Settings,
    pub(crate) terminal: bool,
    pub(crate) stdin: bool,
}

/// What a shim says of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    Created,
    Running(Option<Pid>),
    Paused(Option<Pid>),
    Stopped(Exit),
}

impl Shim {
    /// Leaves a shim behind for the container and connects to it.
    pub(crate) async fn spawn(settings: &Settings, id: &str, bundle: &Path) -> Result<Self, Error> {
        until_gone(bundle).await;
        let printed = program(settings, id, bundle, "start").await?;
        let printed = String::from_utf8_lossy(&printed).trim().to_owned();
        // Newer shims print a JSON object.
        let address = serde_json::from_str::<serde_json::Value>(&printed)
            .ok()
            .and_then(|object| object.get("address")?.as_str().map(str::to_owned))
            .unwrap_or(printed);
        Self::connect(id, &address).await
    }

    /// Connects to a shim that is there.
    pub(crate) async fn connect(id: &str, address: &str) -> Result<Self, Error> {
        let client = Client::connect(address).await.map_err(|error| gone("connect", &error))?;
        let tasks = TaskClient::new(client.clone());
        Ok(Self { client, tasks, id: id.to_owned(), address: address.to_owned() })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Makes the container; its program waits at the start gate.
    pub(crate) async fn create(&self, creation: &Creation<'_>) -> Result<Option<Pid>, Error> {
        let streams = format!("hull:{}", creation.places.streams.display());
        let options = serde_json::to_vec(&creation.settings.shim_options())
            .expect("paths and numbers become JSON");
        let request = api::CreateTaskRequest {
            id: self.id.clone(),
            bundle: creation.places.bundle.to_string_lossy().into_owned(),
            rootfs: vec![overlay(creation.snapshot)],
            terminal: creation.terminal,
            stdin: if creation.stdin { streams.clone() } else { String::new() },
            stdout: streams.clone(),
            stderr: if creation.terminal { String::new() } else { streams },
            options: any(spec::options::TYPE_URL, options),
            ..Default::default()
        };
        let answer = self.tasks.create(ttrpc::context::Context::default(), &request).await;
        answer.map(|answer| pid(answer.pid)).map_err(|error| refused("create", error))
    }

    /// Opens the gate of the container's program, or of an exec.
    pub(crate) async fn start(&self, exec: &str) -> Result<Option<Pid>, Error> {
        let request = api::StartRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        let answer = self.tasks.start(ttrpc::context::Context::default(), &request).await;
        answer.map(|answer| pid(answer.pid)).map_err(|error| refused("start", error))
    }

    /// Waits for the end of the container's program, or of an exec.
    pub(crate) async fn wait(&self, exec: &str) -> Result<Exit, Error> {
        let request = api::WaitRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        let answer = self.tasks.wait(ttrpc::context::Context::default(), &request).await;
        answer
            .map(|answer| exit(answer.exit_status, &answer.exited_at))
            .map_err(|error| refused("wait", error))
    }

    /// Forgets an ended process; for the container's program the whole container.
    pub(crate) async fn delete(&self, exec: &str) -> Result<Exit, Error> {
        let request = api::DeleteRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        let answer = self.tasks.delete(ttrpc::context::Context::default(), &request).await;
        answer
            .map(|answer| exit(answer.exit_status, &answer.exited_at))
            .map_err(|error| refused("delete", error))
    }

    /// Asks the shim itself to end: `now`, or if it holds nothing.
    pub(crate) async fn shutdown(&self, now: bool) {
        let request = api::ShutdownRequest { id: self.id.clone(), now, ..Default::default() };
        // It may end before it answers.
        let _ = self.tasks.shutdown(ttrpc::context::Context::default(), &request).await;
    }

    /// What the shim says of the container's program, or of an exec.
    pub(crate) async fn state(&self, exec: &str) -> Result<TaskState, Error> {
        use containerd_shim_protos::api::Status;
        let request = api::StateRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            ..Default::default()
        };
        let answer = self.tasks.state(ttrpc::context::Context::default(), &request).await;
        let answer = answer.map_err(|error| refused("state", error))?;
        Ok(match answer.status.enum_value_or_default() {
            Status::RUNNING => TaskState::Running(pid(answer.pid)),
            Status::PAUSED | Status::PAUSING => TaskState::Paused(pid(answer.pid)),
            Status::STOPPED => TaskState::Stopped(exit(answer.exit_status, &answer.exited_at)),
            Status::UNKNOWN | Status::CREATED => TaskState::Created,
        })
    }

    /// Delivers a signal to the container's program, or to an exec.
    pub(crate) async fn kill(&self, exec: &str, signal: Signal) -> Result<(), Error> {
        let request = api::KillRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            signal: signal.number().unsigned_abs(),
            ..Default::default()
        };
        let answer = self.tasks.kill(ttrpc::context::Context::default(), &request).await;
        answer.map(drop).map_err(|error| refused("kill", error))
    }

    /// Freezes or thaws the container.
    pub(crate) async fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let context = ttrpc::context::Context::default();
        let answer = if frozen {
            let request = api::PauseRequest { id: self.id.clone(), ..Default::default() };
            self.tasks.pause(context, &request).await
        } else {
            let request = api::ResumeRequest { id: self.id.clone(), ..Default::default() };
            self.tasks.resume(context, &request).await
        };
        answer.map(drop).map_err(|error| refused("freeze", error))
    }

    /// Sets the size of a terminal.
    pub(crate) async fn resize(&self, exec: &str, size: Size) -> Result<(), Error> {
        let request = api::ResizePtyRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            width: size.columns.into(),
            height: size.rows.into(),
            ..Default::default()
        };
        let answer = self.tasks.resize_pty(ttrpc::context::Context::default(), &request).await;
        answer.map(drop).map_err(|error| refused("resize", error))
    }

    /// Makes another process in the container; it waits at its gate. `process` is OCI's.
    pub(crate) async fn exec(
        &self,
        exec: &str,
        process: &serde_json::Value,
        streams: &Path,
        stdin: bool,
    ) -> Result<(), Error> {
        let terminal = process["terminal"].as_bool().unwrap_or_default();
        let streams = format!("hull:{}", streams.display());
        let request = api::ExecProcessRequest {
            id: self.id.clone(),
            exec_id: exec.to_owned(),
            terminal,
            stdin: if stdin { streams.clone() } else { String::new() },
            stdout: streams.clone(),
            stderr: if terminal { String::new() } else { streams },
            spec: any(PROCESS_TYPE, process.to_string().into_bytes()),
            ..Default::default()
        };
        let answer = self.tasks.exec(ttrpc::context::Context::default(), &request).await;
        answer.map(drop).map_err(|error| refused("exec", error))
    }

    /// Changes the container's limits; `resources` is OCI's.
    pub(crate) async fn update(&self, resources: &serde_json::Value) -> Result<(), Error> {
        let request = api::UpdateTaskRequest {
            id: self.id.clone(),
            resources: any(RESOURCES_TYPE, resources.to_string().into_bytes()),
            ..Default::default()
        };
        let answer = self.tasks.update(ttrpc::context::Context::default(), &request).await;
        answer.map(drop).map_err(|error| refused("update", error))
    }

    /// Has what changed outside of the container taken up: interfaces of its namespace, files of ours.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let request = api::UpdateTaskRequest {
            id: self.id.clone(),
            annotations: [(spec::annotation::REFRESH.to_owned(), String::new())].into(),
            ..Default::default()
        };
        let answer = self.tasks.update(ttrpc::context::Context::default(), &request).await;
        answer.map(drop).map_err(|error| refused("refresh", error))
    }

    /// What the container uses, beside the system on its own side of the wall.
    pub(crate) async fn usage(&self) -> Result<Usage, Error> {
        let request = api::StatsRequest { id: self.id.clone(), ..Default::default() };
        let answer = self.tasks.stats(ttrpc::context::Context::default(), &request).await;
        let answer = answer.map_err(|error| refused("stats", error))?;
        serde_json::from_slice(&answer.stats.value).map_err(|error| Error::Refused {
            kind: Kind::Internal,
            message: format!("stats: {error}"),
        })
    }

    /// Has work on the container's files done.
    pub(crate) async fn files(&self, call: &files::Call) -> Result<files::Answer, Error> {
        let request = ttrpc::Request {
            service: files::SERVICE.to_owned(),
            method: files::METHOD.to_owned(),
            payload: serde_json::to_vec(call).expect("paths and numbers become JSON"),
            ..Default::default()
        };
        let answer = self.client.request(request).await.map_err(|error| refused("files", error))?;
        serde_json::from_slice(&answer.payload).map_err(|error| Error::Refused {
            kind: Kind::Internal,
            message: format!("files: {error}"),
        })
    }

    /// The container's processes, on their own side of the wall.
    pub(crate) async fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        let request = api::PidsRequest { id: self.id.clone(), ..Default::default() };
        let answer = self.tasks.pids(ttrpc::context::Context::default(), &request).await;
        let answer = answer.map_err(|error| refused("pids", error))?;
        let info = |process: &api::ProcessInfo| serde_json::from_slice(&process.info.value).ok();
        Ok(answer.processes.iter().filter_map(info).collect())
    }
}

/// Frees what a killed shim held, and gives the exit of its container if that was known.
pub(crate) async fn bury(
    settings: &Settings,
    id: &str,
    bundle: &Path,
) -> Result<Option<Exit>, Error> {
    let printed = program(settings, id, bundle, "delete").await?;
    let answer = api::DeleteResponse::parse_from_bytes(&printed).ok();
    Ok(answer.filter(|answer| answer.exited_at.is_some()).map(|answer| {
        let at = &answer.exited_at;
        exit(answer.exit_status, at)
    }))
}

/// Takes a place at a process's streams.
pub(crate) async fn attach(path: &Path, streams: Streams) -> Result<UnixStream, Error> {
    let failed = |source| Error::Attach { path: path.to_owned(), source };
    let mut line = serde_json::to_vec(&streams).expect("three booleans become JSON");
    line.push(b'\n');
    let mut stream = UnixStream::connect(path).await.map_err(failed)?;
    stream.write_all(&line).await.map_err(failed)?;
    let mut answer = [0_u8; 1];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    Ok(stream)
}

/// Executes the shim's program with a command and gives what it prints.
async fn program(
    settings: &Settings,
    id: &str,
    bundle: &Path,
    command: &'static str,
) -> Result<Vec<u8>, Error> {
    let program = &settings.shim;
    let address = settings.exec_root.join("hull.sock");
    let running = Command::new(program)
        .args(["-namespace", NAMESPACE, "-id", id, "-address"])
        .arg(address)
        .arg("-bundle")
        .arg(bundle)
        .arg(command)
        .current_dir(bundle)
        .env("HULL_EXEC_ROOT", &settings.exec_root)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let failed = |message: String| Error::Program { program: program.clone(), command, message };
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|_| failed(format!("no answer in {} s", PATIENCE.as_secs())))?
        .map_err(|source| Error::Spawn { program: program.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let printed = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(if printed.is_empty() { output.status.to_string() } else { printed }))
}

/// The root file system as containerd describes mounts.
fn overlay(snapshot: &Snapshot) -> Mount {
    let lower: Vec<_> = snapshot.lower.iter().map(|dir| dir.to_string_lossy()).collect();
    Mount {
        type_: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec![
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", snapshot.upper.display()),
            format!("workdir={}", snapshot.work.display()),
        ],
        ..Default::default()
    }
}

fn any(type_url: &str, value: Vec<u8>) -> MessageField<Any> {
    MessageField::some(Any { type_url: type_url.to_owned(), value, ..Default::default() })
}

fn pid(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::new)
}

fn exit(status: u32, at: &MessageField<protobuf::well_known_types::timestamp::Timestamp>) -> Exit {
    let code = u8::try_from(status).unwrap_or(u8::MAX);
    match at.as_ref() {
        Some(at) => Exit { code, at: clock::unix(at.seconds, at.nanos) },
        None => Exit::now(code),
    }
}

fn gone(call: &'static str, error: &ttrpc::Error) -> Error {
    Error::Gone { call, message: error.to_string() }
}

fn refused(call: &'static str, error: ttrpc::Error) -> Error {
    use ttrpc::Code;
    let ttrpc::Error::RpcStatus(status) = error else { return gone(call, &error) };
    let kind = match status.code() {
        Code::NOT_FOUND => Kind::NotFound,
        Code::ALREADY_EXISTS => Kind::Exists,
        Code::FAILED_PRECONDITION => Kind::Conflict,
        Code::INVALID_ARGUMENT => Kind::Invalid,
        Code::UNIMPLEMENTED => Kind::Unsupported,
        Code::PERMISSION_DENIED => Kind::Denied,
        Code::RESOURCE_EXHAUSTED => Kind::Exhausted,
        Code::UNAVAILABLE => Kind::Unavailable,
        Code::OUT_OF_RANGE => Kind::CommandNotFound,
        Code::DATA_LOSS => Kind::CommandNotExecutable,
        _ => Kind::Internal,
    };
    Error::Refused { kind, message: status.message }
}
