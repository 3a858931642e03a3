//! `POST /images/create`: pull and import.
//!
//! A pull goes on as long as its answer is read. What fails before the first message is answered by a
//! status; later failures are the last message of the stream, whose status was sent long before.

use std::io;

use futures_util::TryStreamExt;
use futures_util::stream;
use http_body_util::BodyDataStream;
use image::{Import, Platform, Progress, Status};
use serde_json::{Value, json};
use spec::Kind;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::auth;
use crate::call::Call;
use crate::error::Error;
use crate::images::{reference, told};
use crate::reply;
use crate::route::Answer;

/// `POST /images/create`.
pub(crate) async fn create(call: &mut Call) -> Answer {
    match (call.query.text("fromImage"), call.query.text("fromSrc")) {
        (Some(name), None) => {
            let name = name.to_owned();
            pull(call, &name).await
        }
        (None, Some("-")) => import(call).await,
        (None, Some(_)) => {
            Err(Error::invalid("fromSrc: only - is supported; the client fetches URLs"))
        }
        _ => Err(Error::invalid("want either fromImage or fromSrc")),
    }
}

async fn pull(call: &mut Call, name: &str) -> Answer {
    let tag = call.query.text("tag");
    let last = name.rsplit('/').next().unwrap_or(name);
    let all = tag.is_none() && !last.contains([':', '@']);
    let reference = reference(name, tag)?;
    let platform = platform(call)?;
    let auth = auth::header(call)?;
    let engine = call.engine.clone();
    told::answer(move |tell| async move {
        let references = if all {
            engine.images().remote_tags(&reference, auth.clone()).await?
        } else {
            vec![reference]
        };
        for reference in references {
            let tell = |progress: Progress| tell.send(message(&progress));
            engine.pull(&reference, &platform, auth.clone(), tell).await?;
        }
        Ok(())
    })
    .await
}

/// A message of progress, in Docker's fields.
pub(crate) fn message(progress: &Progress) -> Value {
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
    matches!(progress.status, Status::PullingFrom(_))
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
    let archive = archive(call)?;
    let image = call.engine.import(archive, target.as_ref(), &import).await?;
    let message = json!({ "status": image.id.to_string() });
    Ok(reply::lines(stream::once(async move { message })))
}

/// The request's body, as bytes to read.
pub(crate) fn archive(call: &mut Call) -> Result<impl AsyncRead + Send + Unpin + use<>, Error> {
    let body = call.body.take().ok_or_else(|| Error::invalid("no archive is given"))?;
    Ok(StreamReader::new(BodyDataStream::new(body).map_err(io::Error::other)))
}

pub(crate) fn platform(call: &Call) -> Result<Platform, Error> {
    match call.query.text("platform") {
        None => Ok(Platform::host()),
        Some(text) => {
            text.parse().map_err(|error: image::InvalidPlatform| Error::of(Kind::Invalid, &error))
        }
    }
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
}
