//! `POST /images/create`: pull and import.
//!
//! A pull goes on as long as its answer is read. What fails before the first message is answered by a
//! status; later failures are the last message of the stream, whose status was sent long before.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use futures_util::TryStreamExt;
use futures_util::stream::{self, StreamExt};
use http_body_util::BodyDataStream;
use hyper::StatusCode;
use image::{Auth, Image, Import, Platform, Progress};
use serde::Deserialize;
use serde_json::{Value, json};
use spec::Kind;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::io::StreamReader;

use crate::call::Call;
use crate::error::Error;
use crate::images::reference;
use crate::reply;
use crate::route::Answer;

/// base64 of either alphabet's padding rules: clients leave the padding out at will.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `POST /images/create`.
pub(crate) async fn create(call: &mut Call) -> Answer {
    match (call.query.text("fromImage"), call.query.text("fromSrc")) {
        (Some(name), None) => {
            let name = name.to_owned();
            pull(call, &name).await
        }
        (None, Some("-")) => import(call).await,
        (None, Some(_)) => Err(Error::invalid("fromSrc is not supported by Hull yet, except -")),
        _ => Err(Error::invalid("want either fromImage or fromSrc")),
    }
}

async fn pull(call: &mut Call, name: &str) -> Answer {
    let tag = call.query.text("tag");
    let last = name.rsplit('/').next().unwrap_or(name);
    if tag.is_none() && !last.contains([':', '@']) {
        return Err(Error::invalid(
            "tag is missing: pulling all tags is not supported by Hull yet",
        ));
    }
    let reference = reference(name, tag)?;
    let platform = platform(call)?;
    let auth = auth(call.header("X-Registry-Auth").unwrap_or_default())?;
    let engine = call.engine.clone();
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut work = JoinSet::new();
    work.spawn(async move {
        // Nobody listens any more when the client has gone; then this task ends too.
        let tell = move |progress: Progress| drop(sender.send(message(&progress)));
        engine.pull(&reference, &platform, auth, tell).await
    });
    let Some(first) = messages.recv().await else {
        return match outcome(&mut work).await {
            Ok(()) => Ok(reply::lines(stream::empty())),
            Err(error) => Err(error),
        };
    };
    let rest = stream::unfold(Some((messages, work)), |state| async move {
        let (mut messages, mut work) = state?;
        if let Some(message) = messages.recv().await {
            return Some((message, Some((messages, work))));
        }
        outcome(&mut work).await.err().map(|error| (failure(&error), None))
    });
    Ok(reply::lines(stream::once(async move { first }).chain(rest)))
}

/// How the pull ended.
async fn outcome(work: &mut JoinSet<Result<Image, engine::Error>>) -> Result<(), Error> {
    match work.join_next().await {
        None | Some(Ok(Ok(_))) => Ok(()),
        // A registry that does not answer is not this server's being unavailable.
        Some(Ok(Err(error))) if error.kind() == Kind::Unavailable => {
            Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, spec::chain(&error)))
        }
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Err(error)) => Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// A message of progress, in Docker's fields.
fn message(progress: &Progress) -> Value {
    let mut message = json!({ "status": progress.status.to_string() });
    if let Some(id) = &progress.id {
        message["id"] = json!(id);
    }
    if let Some(bytes) = progress.bytes {
        message["progressDetail"] = json!({ "current": bytes.current, "total": bytes.total });
    } else if progress.id.is_some() && !is_headline(progress) {
        message["progressDetail"] = json!({});
    }
    message
}

/// The message about the whole pull that has an id nevertheless.
fn is_headline(progress: &Progress) -> bool {
    matches!(progress.status, image::Status::PullingFrom(_))
}

/// The message that ends a stream which began well.
fn failure(error: &Error) -> Value {
    let text = error.to_string();
    json!({ "errorDetail": { "message": text }, "error": text })
}

async fn import(call: &mut Call) -> Answer {
    let target = match call.query.text("repo") {
        Some(repository) => Some(reference(repository, call.query.text("tag"))?),
        None => None,
    };
    let import = Import {
        changes: call.query.all("changes").map(str::to_owned).collect(),
        message: call.query.text("message").unwrap_or_default().to_owned(),
        platform: platform(call)?,
    };
    let body =
        BodyDataStream::new(call.body.take().ok_or_else(|| Error::invalid("no archive is given"))?)
            .map_err(io::Error::other);
    let archive = StreamReader::new(body);
    let image = call.engine.import(archive, target.as_ref(), &import).await?;
    let message = json!({ "status": image.id.to_string() });
    Ok(reply::lines(stream::once(async move { message })))
}

fn platform(call: &Call) -> Result<Platform, Error> {
    match call.query.text("platform") {
        None => Ok(Platform::host()),
        Some(text) => {
            text.parse().map_err(|error: image::InvalidPlatform| Error::of(Kind::Invalid, &error))
        }
    }
}

/// What `X-Registry-Auth` holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthHeader {
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Reads base64 of JSON; nothing, and an empty object, mean that no one in particular asks.
fn auth(header: &str) -> Result<Option<Auth>, Error> {
    if header.is_empty() {
        return Ok(None);
    }
    let invalid =
        |problem: String| Error::invalid(format!("invalid X-Registry-Auth header: {problem}"));
    // Some clients write the other alphabet.
    let text = header.replace('+', "-").replace('/', "_");
    let bytes = BASE64.decode(text).map_err(|_| invalid("it is not base64".into()))?;
    let given: AuthHeader =
        serde_json::from_slice(&bytes).map_err(|_| invalid("it is not JSON".into()))?;
    if !given.identitytoken.is_empty() {
        return Err(invalid("identitytoken is not supported by Hull yet".into()));
    }
    if !given.registrytoken.is_empty() {
        return Ok(Some(Auth::Bearer(given.registrytoken)));
    }
    let (username, password) = (given.username, given.password);
    Ok((!username.is_empty()).then_some(Auth::Basic { username, password }))
}

#[cfg(test)]
mod tests {
    use image::{Bytes, Status};

    use super::*;

    #[test]
    fn messages_have_dockers_fields() {
        let id = Some("3.10".to_owned());
        let status = Status::PullingFrom("library/alpine".into());
        assert_eq!(
            message(&Progress { id, status, bytes: None }),
            json!({ "status": "Pulling from library/alpine", "id": "3.10" })
        );
        let id = Some("0123456789ab".to_owned());
        let bytes = Some(Bytes { current: 1, total: 2 });
        assert_eq!(
            message(&Progress { id: id.clone(), status: Status::Downloading, bytes }),
            json!({
                "status": "Downloading", "id": "0123456789ab",
                "progressDetail": { "current": 1, "total": 2 },
            })
        );
        assert_eq!(
            message(&Progress { id, status: Status::PullComplete, bytes: None }),
            json!({ "status": "Pull complete", "id": "0123456789ab", "progressDetail": {} })
        );
    }

    #[test]
    fn credentials_come_in_a_header() {
        let encode = |value: Value| BASE64.encode(value.to_string());
        assert!(matches!(auth(""), Ok(None)));
        assert!(matches!(auth("e30="), Ok(None)));
        assert!(matches!(auth("e30"), Ok(None)));
        let basic = auth(&encode(json!({ "username": "me", "password": "?>~" })));
        let Ok(Some(Auth::Basic { username, password })) = basic else { panic!("basic") };
        assert_eq!((username.as_str(), password.as_str()), ("me", "?>~"));
        let bearer = auth(&encode(json!({ "registrytoken": "t" })));
        assert!(matches!(bearer, Ok(Some(Auth::Bearer(token))) if token == "t"));
        for header in ["%", "AAAA", &encode(json!({ "identitytoken": "t" }))] {
            assert!(auth(header).is_err(), "{header}");
        }
    }
}
