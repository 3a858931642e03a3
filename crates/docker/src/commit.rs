//! `POST /commit`.

use engine::FileCommit;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::error::Error;
use crate::fields::is_blank;
use crate::reply;
use crate::route::Answer;

/// The keys of a container's configuration that an image has too.
const KEYS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// Makes an image of a container.
pub(crate) async fn commit(call: &mut Call) -> Answer {
    let config = config(call.value().await?);
    let container = call.query.text("container").map(str::to_owned);
    let container = container.ok_or_else(|| Error::invalid("no container is given"))?;
    let repository = call.query.text("repo").map(str::to_owned);
    let reference = match &repository {
        Some(name) => Some(crate::images::reference(name, call.query.text("tag"))?),
        None => None,
    };
    let text = |name| call.query.text(name).unwrap_or_default().to_owned();
    let commit = FileCommit {
        reference,
        author: text("author"),
        message: text("comment"),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        config,
        // The default is to pause.
        pause: call.query.text("pause").is_none() || call.query.flag("pause"),
    };
    let image = call.engine.commit(&container, commit).await?;
    Ok(reply::json(StatusCode::CREATED, &json!({ "Id": image.id })))
}

/// What the body sets; most clients send none.
fn config(body: Value) -> Value {
    let Value::Object(body) = body else { return Value::Null };
    // A set of ports or volumes is blank all the way down, and still says something.
    let says = |value: &Value| match value {
        Value::Object(map) => !map.is_empty(),
        value => !is_blank(value),
    };
    let set = body.into_iter().filter(|(key, value)| KEYS.contains(&key.as_str()) && says(value));
    Value::Object(set.collect::<Map<_, _>>())
}
