//! Answers: JSON, nothing, or a stream.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// A response's body. An error ends the connection: nothing better can be said once a status was sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// A response.
pub(crate) type Reply = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn never<T>(never: Infallible) -> T {
    match never {}
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Empty::new().map_err(never).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

/// 204.
pub(crate) fn done() -> Reply {
    empty(StatusCode::NO_CONTENT)
}

/// One JSON value and a line feed, as Go's encoder ends it.
pub(crate) fn json(status: StatusCode, value: &Value) -> Reply {
    let body = Full::new(Bytes::from(format!("{value}\n"))).map_err(never).boxed_unsync();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// 200 and one JSON value.
pub(crate) fn ok(value: &Value) -> Reply {
    json(StatusCode::OK, value)
}

/// One object with the fields of both.
pub(crate) fn both(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

/// 200 and plain text.
pub(crate) fn text(text: &'static str) -> Reply {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(never).boxed_unsync();
    let mut reply = Response::new(body);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, plain);
    reply
}

/// 200 at once, and then whatever `stream` gives, each item in a chunk of its own.
pub(crate) fn stream<S>(content_type: &'static str, stream: S) -> Reply
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let mut reply = Response::new(StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// 200 at once, and then JSON values, a line each.
pub(crate) fn lines<S>(values: S) -> Reply
where
    S: Stream<Item = Value> + Send + 'static,
{
    stream("application/json", values.map(|value| Ok(Bytes::from(format!("{value}\r\n")))))
}
