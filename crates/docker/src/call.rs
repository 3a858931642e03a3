//! One request on its way to a handler.

use std::sync::Arc;

use buildkit::Buildkit;
use dash::Dash;
use engine::Engine;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::body::Sent;
use crate::error::Error;
use crate::query::Query;
use crate::version::Version;

/// The largest JSON body that is read, in bytes.
const BODY_LIMIT: usize = 16 << 20;

/// One request on its way to a handler.
pub(crate) struct Call {
    /// Whom to ask.
    pub(crate) engine: Engine,
    /// The page that is opened for browsers.
    pub(crate) dash: Arc<Dash>,
    /// BuildKit's API.
    pub(crate) buildkit: Arc<Buildkit>,
    /// The version of the API that it speaks.
    pub(crate) version: Version,
    /// What stands behind the `?`.
    pub(crate) query: Query,
    /// The request itself.
    pub(crate) request: Request<()>,
    /// Its body, until someone takes it.
    pub(crate) body: Option<Sent>,
}

impl Call {
    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The body as JSON; `null` when there is none.
    ///
    /// # Errors
    ///
    /// 400 for a body that is something else than JSON, by its type or in fact; 413 for one that is longer
    /// than any of Docker's.
    pub(crate) async fn value(&mut self) -> Result<Value, Error> {
        let content_type = self.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
        let Some(body) = self.body.take() else { return Ok(Value::Null) };
        let read = Limited::new(body, BODY_LIMIT).collect().await;
        let bytes = read.map_err(|error| unreadable(&*error))?.to_bytes();
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            return Err(Error::invalid(format!(
                "unsupported Content-Type header ({content_type}): must be 'application/json'"
            )));
        }
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Value::Null),
            (Some(Err(error)), _) => Err(Error::invalid(misread(&bytes, &error))),
            (Some(Ok(value)), None) => Ok(value),
            (Some(Ok(_)), Some(_)) => Err(Error::invalid("unexpected content after JSON")),
        }
    }

    /// The body as JSON of a known shape; the default when there is none.
    pub(crate) async fn json<T: Default + for<'de> Deserialize<'de>>(
        &mut self,
    ) -> Result<T, Error> {
        match self.value().await? {
            Value::Null => Ok(T::default()),
            value => serde_json::from_value(value)
                .map_err(|error| Error::invalid(format!("invalid request body: {error}"))),
        }
    }
}

/// What is wrong with a body, in the words of Go's decoder: clients look for them. Where those depend on
/// how Go reads, serde's are told.
fn misread(body: &[u8], error: &serde_json::Error) -> String {
    let text = error.to_string();
    let wanted = match text.split(" at line ").next().unwrap_or_default() {
        _ if error.is_eof() => return "invalid JSON: unexpected EOF".to_owned(),
        "key must be a string" => "looking for beginning of object key string",
        "expected value" => "looking for beginning of value",
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        _ => return format!("invalid JSON: {text}"),
    };
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let at = line.and_then(|line| line.get(error.column().saturating_sub(1)));
    match at {
        Some(byte) if byte.is_ascii() && !byte.is_ascii_control() => {
            let character = char::from(*byte);
            format!("invalid JSON: invalid character '{character}' {wanted}")
        }
        _ => format!("invalid JSON: {text}"),
    }
}

fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if error.is::<LengthLimitError>() {
        let message = format!("the request's body is longer than {BODY_LIMIT} bytes");
        return Error::new(StatusCode::PAYLOAD_TOO_LARGE, message);
    }
    Error::invalid(format!("the request's body cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_body_is_told_in_the_words_of_gos_decoder() {
        for (body, want) in [
            ("{invalid json", "invalid character 'i' looking for beginning of object key string"),
            ("[1,\n x]", "invalid character 'x' looking for beginning of value"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, r#"invalid character '"' after object key:value pair"#),
            ("[1 2]", "invalid character '2' after array element"),
            (r#"{"a":"#, "unexpected EOF"),
            ("[01]", "invalid number at line 1 column 3"),
        ] {
            let error = serde_json::from_str::<Value>(body).expect_err(body);
            assert_eq!(misread(body.as_bytes(), &error), format!("invalid JSON: {want}"), "{body}");
        }
    }
}
