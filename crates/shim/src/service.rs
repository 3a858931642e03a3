//! containerd's task API over [`Tasks`]: requests in, responses out.
//!
//! Spec: containerd, api/runtime/task/v2/shim.proto. Version 3 is the same under another name; both
//! are served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
    ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
    StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::{Task, create_task};
use protobuf::MessageField;
use protobuf::well_known_types::any::Any;
use sandbox::WindowSize;
use spec::{ContainerId, ProcessId, State, annotation};
use ttrpc::{MethodHandler, Result, TtrpcContext};

use crate::bundle;
use crate::error::Error;
use crate::place;
use crate::process::Process;
use crate::report::{exec, number};
use crate::streams::Wanted;
use crate::tasks::{Creation, Tasks};

/// The type of what `Pids` tells of a process: JSON of [`spec::ProcessInfo`].
const PROCESS_INFO: &str = "dev.hull.ProcessInfo";
/// The type of what `Stats` tells: JSON of [`spec::Usage`].
const USAGE: &str = "dev.hull.Usage";
/// How often a waiting call looks whether its caller is still there.
const CALLER_CHECK: Duration = Duration::from_secs(10);

/// The methods under the names of both versions.
pub(crate) type Methods = HashMap<String, Box<dyn MethodHandler + Send + Sync>>;

pub(crate) fn methods(tasks: &Arc<Tasks>) -> Methods {
    let service: Arc<dyn Task + Send + Sync> = Arc::new(Service { tasks: Arc::clone(tasks) });
    let older = create_task(Arc::clone(&service)).into_iter();
    let older = older.map(|(name, method)| (name.replace(".v3.", ".v2."), method));
    create_task(service).into_iter().chain(older).collect()
}

struct Service {
    tasks: Arc<Tasks>,
}

impl Service {
    fn find(&self, id: &str, exec: &str) -> std::result::Result<Arc<Process>, Error> {
        self.tasks.find(&process_id(id, exec)?)
    }

    fn created(&self, request: CreateTaskRequest) -> std::result::Result<u32, Error> {
        if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
            return Err(Error::Unsupported("checkpoint: restoring is not supported"));
        }
        let (type_url, value) = (&request.options.type_url, &request.options.value);
        let creation = Creation {
            container: request.id.parse()?,
            bundle: request.bundle.into(),
            rootfs: request.rootfs,
            options: bundle::options(type_url, value, place::default_options()?)?,
            wanted: Wanted {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
        };
        self.tasks.create(creation).map(|process| number(&process))
    }

    fn added(&self, request: ExecProcessRequest) -> std::result::Result<(), Error> {
        let id = ProcessId::exec(request.id.parse()?, request.exec_id.parse()?);
        let program = serde_json::from_slice(&request.spec.value).map_err(Error::Program)?;
        let wanted = Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        self.tasks.exec(id, program, wanted)
    }

    /// The details go only to our own engine: containerd's clients fail on types that they do not
    /// know.
    fn listed(&self, id: &str) -> std::result::Result<Vec<ProcessInfo>, Error> {
        let detailed = self.find(id, "")?.serves_hull();
        let entry = |process: spec::ProcessInfo| {
            let mut entry = ProcessInfo::new();
            entry.pid = process.pid.unsigned_abs();
            if detailed {
                let value = serde_json::to_vec(&process).expect("strings and numbers");
                let info = Any { type_url: PROCESS_INFO.into(), value, ..Any::default() };
                entry.info = MessageField::some(info);
            }
            entry
        };
        Ok(self.tasks.list(&id.parse()?)?.into_iter().map(entry).collect())
    }

    fn resized(&self, request: &ResizePtyRequest) -> std::result::Result<(), Error> {
        let id = process_id(&request.id, &request.exec_id)?;
        let rows = u16::try_from(request.height).map_err(|_| Error::NoSize)?;
        let columns = u16::try_from(request.width).map_err(|_| Error::NoSize)?;
        self.tasks.resize(&id, WindowSize { rows, columns })
    }

    fn updated(&self, request: &UpdateTaskRequest) -> std::result::Result<(), Error> {
        let container = request.id.parse()?;
        if request.annotations.contains_key(annotation::REFRESH) {
            self.tasks.refresh(&container)?;
        }
        // A request to refresh need not change limits as well.
        if request.resources.is_none() && request.annotations.contains_key(annotation::REFRESH) {
            return Ok(());
        }
        let to = serde_json::from_slice(&request.resources.value).map_err(Error::Resources)?;
        self.tasks.update(&container, &to)
    }

    /// Told to our own engine only: containerd's clients want types of their own.
    fn counted(&self, id: &str) -> std::result::Result<Any, Error> {
        if !self.find(id, "")?.serves_hull() {
            return Err(Error::Unsupported("stats: usage is told to Hull's own programs only"));
        }
        let value = serde_json::to_vec(&self.tasks.usage(&id.parse()?)?);
        let value = value.expect("strings and numbers");
        Ok(Any { type_url: USAGE.into(), value, ..Any::default() })
    }

    fn frozen(&self, id: &str, frozen: bool) -> std::result::Result<Empty, Error> {
        self.tasks.freeze(&id.parse()?, frozen)?;
        Ok(Empty::new())
    }
}

impl Task for Service {
    fn state(&self, _: &TtrpcContext, request: StateRequest) -> Result<StateResponse> {
        let process = self.find(&request.id, &request.exec_id)?;
        let mut response = StateResponse::new();
        response.id = process.id.container.to_string();
        response.exec_id = exec(&process.id);
        response.bundle = process.bundle.display().to_string();
        response.pid = number(&process);
        response.stdin.clone_from(&process.wanted.stdin);
        response.stdout.clone_from(&process.wanted.stdout);
        response.stderr.clone_from(&process.wanted.stderr);
        response.terminal = process.wanted.terminal;
        response.status = status(process.state()).into();
        if let Some(exit) = process.exit() {
            response.exit_status = exit.code.into();
            response.exited_at = MessageField::some(exit.at.into());
        }
        Ok(response)
    }

    fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Result<CreateTaskResponse> {
        let mut response = CreateTaskResponse::new();
        response.pid = self.created(request)?;
        Ok(response)
    }

    fn start(&self, _: &TtrpcContext, request: StartRequest) -> Result<StartResponse> {
        let id = process_id(&request.id, &request.exec_id)?;
        let mut response = StartResponse::new();
        response.pid = number(&*self.tasks.start(&id)?);
        Ok(response)
    }

    fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Result<DeleteResponse> {
        let id = process_id(&request.id, &request.exec_id)?;
        let (process, exit) = self.tasks.delete(&id)?;
        let mut response = DeleteResponse::new();
        response.pid = number(&process);
        response.exit_status = exit.code.into();
        response.exited_at = MessageField::some(exit.at.into());
        Ok(response)
    }

    fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Result<PidsResponse> {
        let mut response = PidsResponse::new();
        response.processes = self.listed(&request.id)?;
        Ok(response)
    }

    fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> Result<Empty> {
        Ok(self.frozen(&request.id, true)?)
    }

    fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> Result<Empty> {
        Ok(self.frozen(&request.id, false)?)
    }

    fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> Result<Empty> {
        Err(Error::Unsupported("checkpoint: not supported").into())
    }

    fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Result<Empty> {
        let id = process_id(&request.id, &request.exec_id)?;
        self.tasks.signal(&id, request.signal, request.all)?;
        Ok(Empty::new())
    }

    fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Result<Empty> {
        self.added(request)?;
        Ok(Empty::new())
    }

    fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Result<Empty> {
        self.resized(&request)?;
        Ok(Empty::new())
    }

    fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Result<Empty> {
        let process = self.find(&request.id, &request.exec_id)?;
        if request.stdin {
            process.keeper.close_stdin();
        }
        Ok(Empty::new())
    }

    fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Result<Empty> {
        self.updated(&request)?;
        Ok(Empty::new())
    }

    fn wait(&self, context: &TtrpcContext, request: WaitRequest) -> Result<WaitResponse> {
        let process = self.find(&request.id, &request.exec_id)?;
        let exit = loop {
            if let Some(exit) = process.wait(CALLER_CHECK) {
                break exit;
            }
            // The connection's threads live until the last call on it returns.
            if context.cancel_rx.try_recv().is_err_and(|error| error.is_disconnected()) {
                return Err(ttrpc::Error::LocalClosed);
            }
        };
        let mut response = WaitResponse::new();
        response.exit_status = exit.code.into();
        response.exited_at = MessageField::some(exit.at.into());
        Ok(response)
    }

    fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Result<StatsResponse> {
        let mut response = StatsResponse::new();
        response.stats = MessageField::some(self.counted(&request.id)?);
        Ok(response)
    }

    fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Result<ConnectResponse> {
        let mut response = ConnectResponse::new();
        response.shim_pid = std::process::id();
        env!("CARGO_PKG_VERSION").clone_into(&mut response.version);
        // containerd connects before it creates, too.
        if let Ok(process) = self.find(&request.id, "") {
            response.task_pid = number(&process);
        }
        Ok(response)
    }

    fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> Result<Empty> {
        self.tasks.shutdown(request.now)?;
        Ok(Empty::new())
    }
}

/// The process that a request names; an empty exec means the container's init.
fn process_id(id: &str, exec: &str) -> std::result::Result<ProcessId, Error> {
    let container: ContainerId = id.parse()?;
    let exec = (!exec.is_empty()).then(|| exec.parse()).transpose()?;
    Ok(ProcessId { container, exec })
}

fn status(state: State) -> Status {
    match state {
        State::Creating | State::Created { .. } => Status::CREATED,
        State::Running { .. } => Status::RUNNING,
        State::Paused { .. } => Status::PAUSED,
        State::Stopped { .. } => Status::STOPPED,
    }
}
