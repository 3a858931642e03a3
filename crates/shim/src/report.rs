//! The events of the task API.

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskPaused,
    TaskResumed, TaskStart,
};
use containerd_shim_protos::topics;
use containerd_shim_protos::types::mount::Mount;
use protobuf::MessageField;
use spec::{ContainerId, Exit, ProcessId};

use crate::events::Events;
use crate::process::Process;

/// A container was made.
pub(crate) fn created(events: &Events, process: &Process, rootfs: Vec<Mount>) {
    let io = TaskIO {
        stdin: process.wanted.stdin.clone(),
        stdout: process.wanted.stdout.clone(),
        stderr: process.wanted.stderr.clone(),
        terminal: process.wanted.terminal,
        ..TaskIO::default()
    };
    let event = TaskCreate {
        container_id: process.id.container.to_string(),
        bundle: process.bundle.display().to_string(),
        rootfs,
        io: MessageField::some(io),
        pid: number(process),
        ..TaskCreate::default()
    };
    events.publish(topics::TASK_CREATE_EVENT_TOPIC, &event);
}

/// A process was made in a container.
pub(crate) fn exec_added(events: &Events, process: &Process) {
    let event = TaskExecAdded {
        container_id: process.id.container.to_string(),
        exec_id: exec(&process.id),
        ..TaskExecAdded::default()
    };
    events.publish(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &event);
}

/// A program was executed.
pub(crate) fn started(events: &Events, process: &Process) {
    let (container_id, pid) = (process.id.container.to_string(), number(process));
    if process.id.exec.is_none() {
        let event = TaskStart { container_id, pid, ..TaskStart::default() };
        events.publish(topics::TASK_START_EVENT_TOPIC, &event);
    } else {
        let exec_id = exec(&process.id);
        let event = TaskExecStarted { container_id, exec_id, pid, ..TaskExecStarted::default() };
        events.publish(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
    }
}

/// A process ended.
pub(crate) fn exited(events: &Events, process: &Process, exit: Exit) {
    let event = TaskExit {
        container_id: process.id.container.to_string(),
        id: name(&process.id),
        pid: number(process),
        exit_status: exit.code.into(),
        exited_at: MessageField::some(exit.at.into()),
        ..TaskExit::default()
    };
    events.publish(topics::TASK_EXIT_EVENT_TOPIC, &event);
}

/// A process was forgotten.
pub(crate) fn deleted(events: &Events, process: &Process, exit: Exit) {
    let event = TaskDelete {
        container_id: process.id.container.to_string(),
        id: name(&process.id),
        pid: number(process),
        exit_status: exit.code.into(),
        exited_at: MessageField::some(exit.at.into()),
        ..TaskDelete::default()
    };
    events.publish(topics::TASK_DELETE_EVENT_TOPIC, &event);
}

/// A container was suspended or resumed.
pub(crate) fn frozen(events: &Events, container: &ContainerId, frozen: bool) {
    let container_id = container.to_string();
    if frozen {
        let event = TaskPaused { container_id, ..TaskPaused::default() };
        events.publish(topics::TASK_PAUSED_EVENT_TOPIC, &event);
    } else {
        let event = TaskResumed { container_id, ..TaskResumed::default() };
        events.publish(topics::TASK_RESUMED_EVENT_TOPIC, &event);
    }
}

/// The pid as the API has it.
pub(crate) fn number(process: &Process) -> u32 {
    process.pid.raw().unsigned_abs()
}

/// The exec's name; empty for an init.
pub(crate) fn exec(id: &ProcessId) -> String {
    id.exec.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// What events call a process: the exec, or the container itself.
fn name(id: &ProcessId) -> String {
    id.exec.as_ref().map_or_else(|| id.container.to_string(), ToString::to_string)
}
