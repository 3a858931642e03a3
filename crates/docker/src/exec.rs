//! Further processes in a running container.

use std::collections::BTreeMap;
use std::time::SystemTime;

use engine::{Exec, ExecCreate, ExecStart, ExecState, LogLine, Size, StateError, Status, Streams};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::call::Call;
use crate::containers::create::{self, Words, console_size};
use crate::containers::life;
use crate::error::Error;
use crate::fields;
use crate::hijack::{self, Keys, Leave, Line};
use crate::reply;
use crate::route::Answer;

/// The body of a create.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateBody {
    attach_stdin: Option<bool>,
    attach_stdout: Option<bool>,
    attach_stderr: Option<bool>,
    cmd: Option<Words>,
    #[serde(deserialize_with = "console_size")]
    console_size: Option<Size>,
    env: Option<Vec<String>>,
    privileged: Option<bool>,
    detach_keys: Option<String>,
    tty: Option<bool>,
    user: Option<String>,
    working_dir: Option<String>,
}

/// The body of a start. Whether there is a terminal was said at creation; here it is said again, and
/// decides whether the client gets frames.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StartBody {
    detach: Option<bool>,
    tty: Option<bool>,
    #[serde(deserialize_with = "console_size")]
    console_size: Option<Size>,
}

/// `POST /containers/ID/exec`.
pub(crate) async fn create(call: &mut Call, id: &str) -> Answer {
    let request = parse(call.value().await?)?;
    let exec = call
        .engine
        .exec_create(id, request)
        .await
        .map_err(|error| Error::from(error).by_field())?;
    Ok(reply::json(StatusCode::CREATED, &json!({ "Id": exec })))
}

fn parse(mut body: Value) -> Result<ExecCreate, Error> {
    let object =
        body.as_object_mut().ok_or_else(|| Error::invalid("the body is not a JSON object"))?;
    fields::EXEC.check(object)?;
    let body: CreateBody = serde_json::from_value(body)
        .map_err(|error| Error::invalid(format!("invalid request body: {error}")))?;
    let cmd: Vec<String> = body.cmd.map(Vec::from).unwrap_or_default();
    if cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    Ok(ExecCreate {
        cmd,
        env: body.env.unwrap_or_default(),
        user: body.user.unwrap_or_default(),
        working_dir: body.working_dir.unwrap_or_default(),
        tty: body.tty.unwrap_or_default(),
        privileged: body.privileged.unwrap_or_default(),
        detach_keys: body.detach_keys.filter(|keys| !keys.is_empty()),
        streams: Streams {
            stdin: body.attach_stdin.unwrap_or_default(),
            stdout: body.attach_stdout.unwrap_or_default(),
            stderr: body.attach_stderr.unwrap_or_default(),
        },
        console_size: body.console_size,
    })
}

/// `POST /exec/ID/start`.
///
/// The program runs when the client has read the answer's head, not before: clients look for the
/// first output in a second read, and some would lose what came with the head.
pub(crate) async fn start(call: &mut Call, id: &str) -> Answer {
    let value = call.value().await?;
    let silent = value.is_null();
    let body: StartBody = if silent { StartBody::default() } else { create::read("", value)? };
    let console_size = body.console_size;
    if body.detach.unwrap_or_default() {
        let how = ExecStart { detach: true, console_size, gate: None };
        call.engine.exec_start(id, how).await?;
        return Ok(reply::empty(StatusCode::OK));
    }
    let tty = if silent { None } else { Some(body.tty.unwrap_or_default()) };
    let line = line(call, id, tty, console_size).await?;
    Ok(hijack::take_over(call, line))
}

/// `GET /exec/ID/ws`, Hull's own: starts it with its streams over a websocket, for browsers.
pub(crate) async fn start_ws(call: &mut Call, id: &str) -> Answer {
    let line = line(call, id, None, None).await?;
    hijack::by_websocket(call, line)
}

/// The streams of an exec that begins when its client listens. `tty` tells what the client expects, if that
/// is not what the exec was made with.
async fn line(
    call: &Call,
    id: &str,
    tty: Option<bool>,
    console_size: Option<Size>,
) -> Result<Line, Error> {
    let exec = call.engine.exec_inspect(id).await?;
    check(call, &exec).await?;
    let keys = Keys::parse(exec.request.detach_keys.as_deref())?;
    let tty = tty.unwrap_or(exec.request.tty);
    let leave = (exec.request.tty && exec.request.streams.stdin).then(|| {
        let (engine, id) = (call.engine.clone(), exec.id.clone());
        Leave { keys, tell: Box::new(move || engine.exec_detached(&id)) }
    });
    // All but the last step is done while the answer is on its way.
    let (open, gate) = oneshot::channel();
    let how = ExecStart { detach: false, console_size, gate: Some(gate) };
    let engine = call.engine.clone();
    let starting = tokio::spawn(async move { engine.exec_start(&exec.id, how).await });
    let live = Box::pin(async move {
        // One that could not be made waits no more.
        let _ = open.send(());
        match starting.await.unwrap_or(Err(engine::Error::Closing)) {
            Ok(Some(attached)) => Ok(attached),
            Ok(None) => Err(words("the exec has no streams")),
            // Clients ask for the exit status, 126 to 128, and show what the streams said.
            Err(error) => Err(words(&spec::chain(&error))),
        }
    });
    Ok(Line { past: None, live: Some(live), tty, leave })
}

/// Refuses what is certain to fail, while a status can still say so.
async fn check(call: &Call, exec: &Exec) -> Result<(), Error> {
    let container = call.engine.inspect(&exec.container).await?;
    let refused = match container.status {
        _ if exec.state != ExecState::Created => StateError::ExecStarted(exec.id.clone()),
        Status::Running { .. } => return Ok(()),
        Status::Paused { .. } => StateError::Paused(exec.container.clone()),
        _ => StateError::NotRunning(exec.container.clone()),
    };
    Err(engine::Error::from(refused).into())
}

/// A line of output that no process wrote.
fn words(text: &str) -> LogLine {
    let bytes = format!("{text}\r\n").into_bytes();
    LogLine { stderr: false, time: SystemTime::now(), bytes, attributes: BTreeMap::new() }
}

/// `POST /exec/ID/resize`.
pub(crate) async fn resize(call: &mut Call, id: &str) -> Answer {
    if let Some(size) = life::size(&call.query)? {
        call.engine.exec_resize(id, size).await?;
    }
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /exec/ID/json`.
pub(crate) async fn inspect(call: &mut Call, id: &str) -> Answer {
    Ok(reply::ok(&document(&call.engine.exec_inspect(id).await?)))
}

fn document(exec: &Exec) -> Value {
    let (running, pid, code) = match exec.state {
        ExecState::Created => (false, 0, None),
        ExecState::Running { pid } => (true, pid, None),
        ExecState::Exited { code } => (false, 0, Some(code)),
    };
    let request = &exec.request;
    let (entrypoint, arguments) =
        request.cmd.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    json!({
        "ID": exec.id,
        "Running": running,
        "ExitCode": code,
        "ProcessConfig": {
            "tty": request.tty,
            "entrypoint": entrypoint,
            "arguments": arguments,
            "privileged": exec.request.privileged,
            "user": request.user,
        },
        "OpenStdin": request.streams.stdin,
        "OpenStdout": request.streams.stdout,
        "OpenStderr": request.streams.stderr,
        "CanRemove": matches!(exec.state, ExecState::Exited { .. }),
        "ContainerID": exec.container,
        "DetachKeys": request.detach_keys.as_deref().unwrap_or_default(),
        "Pid": pid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_docker_client_sends_is_read_or_refused_by_the_fields_name() {
        for line in include_str!("../tests/recorded/exec.jsonl").lines() {
            let line: Value = serde_json::from_str(line).expect("recorded JSON");
            let command = line["command"].as_str().expect("a command");
            let request = parse(line["body"].clone()).expect(command);
            assert!(!request.cmd.is_empty());
            assert_eq!(request.privileged, command.contains("--privileged"), "{command}");
            assert_eq!(request.streams.stdin, command.contains(" -i "), "{command}");
        }
    }

    #[test]
    fn an_exec_has_a_command() {
        for body in [json!({}), json!({"Cmd": []}), json!({"Cmd": null})] {
            assert_eq!(parse(body).unwrap_err().message(), "No exec command specified");
        }
    }

    #[test]
    fn an_exit_status_is_null_until_there_is_one() {
        let exec = |state| Exec {
            id: "a".into(),
            container: "b".into(),
            request: ExecCreate { cmd: vec!["ls".into(), "-l".into()], ..ExecCreate::default() },
            state,
        };
        let running = document(&exec(ExecState::Running { pid: 7 }));
        assert_eq!((&running["ExitCode"], &running["Pid"]), (&Value::Null, &json!(7)));
        assert_eq!(running["ProcessConfig"]["arguments"], json!(["-l"]));
        assert_eq!(document(&exec(ExecState::Exited { code: 127 }))["ExitCode"], 127);
    }
}
