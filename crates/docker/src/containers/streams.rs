//! Answers that go on while the container does: attach, logs, wait.

use std::io;

use bytes::Bytes;
use engine::{Condition, LogRequest, Streams};
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use crate::call::Call;
use crate::clock;
use crate::containers::logs::{Front, encode};
use crate::error::Error;
use crate::hijack::{self, Keys, Leave, Line, MULTIPLEXED, Opening, RAW};
use crate::query::Query;
use crate::reply;
use crate::route::Answer;

/// `POST /containers/ID/attach`.
pub(crate) async fn attach(call: &mut Call, id: &str) -> Answer {
    let line = line(call, id).await?;
    Ok(hijack::take_over(call, line))
}

/// `GET /containers/ID/attach/ws`.
pub(crate) async fn attach_ws(call: &mut Call, id: &str) -> Answer {
    let line = line(call, id).await?;
    hijack::by_websocket(call, line)
}

/// What a client asks to be connected to.
async fn line(call: &Call, id: &str) -> Result<Line, Error> {
    let keys = Keys::parse(call.query.text("detachKeys"))?;
    let streams = Streams {
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
    };
    let container = call.engine.inspect(id).await?;
    let id = container.id.as_str();
    // The line is taken before the log is read: a line may be seen twice, but none is lost.
    let live = if call.query.flag("stream") {
        let attached = call.engine.attach(id, streams).await?;
        Some(Box::pin(std::future::ready(Ok(attached))) as Opening)
    } else {
        None
    };
    let past = if call.query.flag("logs") {
        let (stdout, stderr) = (streams.stdout, streams.stderr);
        let which = LogRequest { stdout, stderr, ..LogRequest::default() };
        Some(call.engine.logs(id, which).await?)
    } else {
        None
    };
    let tty = container.config.tty;
    let leave = (tty && streams.stdin).then(|| {
        let (engine, id) = (call.engine.clone(), id.to_owned());
        Leave { keys, tell: Box::new(move || engine.detached(&id)) }
    });
    Ok(Line { past, live, tty, leave })
}

/// `GET /containers/ID/logs`.
pub(crate) async fn logs(call: &mut Call, id: &str) -> Answer {
    let which = which(&call.query)?;
    let with =
        Front { timestamps: call.query.flag("timestamps"), details: call.query.flag("details") };
    let container = call.engine.inspect(id).await?;
    let tty = container.config.tty;
    let lines = call.engine.logs(container.id.as_str(), which).await?;
    let multiplexed = !tty && call.version.since_minor(42);
    let bytes = lines.map(move |line| {
        line.map(|line| Bytes::from(encode(&line, tty, with))).map_err(io::Error::other)
    });
    Ok(reply::stream(if multiplexed { MULTIPLEXED } else { RAW }, bytes))
}

fn which(query: &Query) -> Result<LogRequest, Error> {
    let time = |name: &str| match query.text(name) {
        Some(text) => clock::parse(name, text),
        None => Ok(None),
    };
    let which = LogRequest {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        follow: query.flag("follow"),
        since: time("since")?,
        until: time("until")?,
        // Anything that is no number of lines asks for all of them, as in Docker.
        tail: query.text("tail").and_then(|text| text.parse().ok()),
    };
    if !which.stdout && !which.stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    Ok(which)
}

/// `POST /containers/ID/wait`. The status and headers are sent at once: clients read them before they
/// start the container.
pub(crate) async fn wait(call: &mut Call, id: &str) -> Answer {
    let condition = match call.query.text("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => {
            return Err(Error::invalid(format!("invalid condition: {other:?}")));
        }
    };
    let waiting = call.engine.wait(id, condition).await?;
    let ended = stream::once(async move {
        let waited = waiting.await;
        let mut body = json!({ "StatusCode": waited.code });
        if let Some(message) = waited.error {
            body["Error"] = json!({ "Message": message });
        }
        Ok(Bytes::from(format!("{body}\n")))
    });
    Ok(reply::stream("application/json", ended))
}
