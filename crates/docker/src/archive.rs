//! `cp`, `export` and `diff`.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{ChangeKind, PathStat, Pieces, Put};
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyDataStream;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use spec::Kind;
use tokio_util::io::StreamReader;

use crate::call::Call;
use crate::clock;
use crate::error::Error;
use crate::reply::{self, Reply};
use crate::route::Answer;

/// Where a file's description is told.
const STAT: &str = "X-Docker-Container-Path-Stat";

/// `HEAD /containers/ID/archive`.
pub(crate) async fn stat(call: &mut Call, id: &str) -> Answer {
    let stat = call.engine.path_stat(id, path(call)?).await?;
    Ok(with_stat(reply::empty(StatusCode::OK), &stat))
}

/// `GET /containers/ID/archive`.
pub(crate) async fn get(call: &mut Call, id: &str) -> Answer {
    let (stat, pieces) = call.engine.archive(id, path(call)?).await?;
    Ok(with_stat(tar(pieces).await?, &stat))
}

/// `PUT /containers/ID/archive`.
pub(crate) async fn put(call: &mut Call, id: &str) -> Answer {
    let how = Put {
        path: path(call)?.to_owned(),
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        own: call.query.flag("copyUIDGID"),
    };
    let body = call.body.take().ok_or_else(|| Error::invalid("no archive is given"))?;
    let body = StreamReader::new(BodyDataStream::new(body).map_err(io::Error::other));
    call.engine.put_archive(id, how, body).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /containers/ID/export`.
pub(crate) async fn export(call: &mut Call, id: &str) -> Answer {
    let mut reply = tar(call.engine.export(id).await?).await?;
    let plain = HeaderValue::from_static("application/octet-stream");
    reply.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
    Ok(reply)
}

/// `GET /containers/ID/changes`.
pub(crate) async fn changes(call: &mut Call, id: &str) -> Answer {
    let changes = call.engine.changes(id).await?;
    let kind = |kind| match kind {
        ChangeKind::Modified => 0,
        ChangeKind::Added => 1,
        ChangeKind::Deleted => 2,
    };
    let rows = changes.iter().map(|c| json!({ "Path": c.path, "Kind": kind(c.kind) }));
    // Docker has no list where there is nothing to list, and clients tell by it.
    Ok(reply::ok(&if changes.is_empty() { Value::Null } else { rows.collect() }))
}

fn path(call: &Call) -> Result<&str, Error> {
    call.query.text("path").ok_or_else(|| Error::invalid("bad parameter: path cannot be empty"))
}

/// An archive in pieces. What fails before the first is an answer; later it can only cut the archive off.
async fn tar(mut pieces: Pieces) -> Answer {
    let first = pieces.recv().await.transpose();
    let failed = |error: io::Error| Error::of(Kind::Internal, &error);
    let first = first.map_err(failed)?.map(|piece| Ok(Bytes::from(piece)));
    let pieces = stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece.map(Bytes::from), pieces))
    });
    Ok(reply::stream("application/x-tar", stream::iter(first).chain(pieces)))
}

fn with_stat(mut reply: Reply, stat: &PathStat) -> Reply {
    let text = json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": clock::rfc3339(stat.mtime),
        "linkTarget": stat.link_target,
    });
    let text = STANDARD.encode(text.to_string());
    if let Ok(value) = HeaderValue::from_str(&text) {
        reply.headers_mut().insert(STAT, value);
    }
    reply
}

/// A mode with the bits of Go's `os.FileMode`, which clients expect.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 23), (0o2000, 22), (0o1000, 20)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0);
    special.fold(kind | (mode & 0o777), |all, (_, bit)| all | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o040_755), 0x8000_01ed);
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o120_777), 0x0800_01ff);
        assert_eq!(go_mode(0o041_777), 0x8010_01ff);
        assert_eq!(go_mode(0o104_755), 0x0080_01ed);
        assert_eq!(go_mode(0o020_600), 0x0420_0180);
    }
}
