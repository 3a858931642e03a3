//! What a request that failed is answered with.

use hyper::StatusCode;
use serde_json::{Value, json};
use spec::Kind;

use crate::reply::{self, Reply};

/// A request that is answered with an error: its status, and the message a user reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    status: StatusCode,
    message: String,
    /// The status of a build's command that failed.
    code: Option<u8>,
}

impl Error {
    /// An error with this status.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None }
    }

    /// 400: the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// An error of one of the crates beneath, with its causes.
    pub(crate) fn of(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(status(kind), told(kind, spec::chain(error)))
    }

    /// The same error, but 400 instead of 501: a field of a request that cannot be honoured is the
    /// request's fault, a page that does not exist is not.
    pub(crate) fn by_field(mut self) -> Self {
        if self.status == StatusCode::NOT_IMPLEMENTED {
            self.status = StatusCode::BAD_REQUEST;
        }
        self
    }

    /// 501: Docker has it, Hull does not.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("{what} is not supported by Hull yet"))
    }

    /// 404: Docker has no such page either.
    pub(crate) fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// What the user reads.
    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The status alone.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The message that ends a stream which began well.
    pub(crate) fn in_stream(&self) -> Value {
        let text = &self.message;
        let mut detail = json!({ "message": text });
        if let Some(code) = self.code {
            detail["code"] = json!(code);
        }
        json!({ "errorDetail": detail, "error": text })
    }

    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        reply::json(self.status, &json!({ "message": self.message }))
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        let code = match &error {
            engine::Error::Build(build::Error::Run(build::run::Error::Failed { code, .. })) => {
                Some(*code)
            }
            _ => None,
        };
        Self { code, ..Self::of(error.kind(), &error) }
    }
}

/// The client ends with 127 or 126 when it reads these words, whatever they are about: only a program
/// that is missing or cannot be executed is told in them.
fn told(kind: Kind, text: String) -> String {
    if matches!(kind, Kind::CommandNotFound | Kind::CommandNotExecutable) {
        return text;
    }
    text.replace("no such file or directory", "No such file or directory")
        .replace("permission denied", "Permission denied")
}

/// The status for an error of `kind`.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid | Kind::CommandNotFound | Kind::CommandNotExecutable => {
            StatusCode::BAD_REQUEST
        }
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Exists | Kind::Conflict => StatusCode::CONFLICT,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Exhausted | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status_of_an_error() {
        for kind in Kind::ALL {
            assert!(status(kind).as_u16() >= 400, "{kind}");
        }
    }

    #[test]
    fn an_image_that_is_not_here_is_404_so_that_the_client_pulls_it() {
        let error = Error::from(engine::Error::NoSuchImage("alpine:3.10".into()));
        assert_eq!(error.status(), StatusCode::NOT_FOUND);
        assert_eq!(error.message(), "No such image: alpine:3.10");
    }

    #[test]
    fn causes_are_told_in_one_line() {
        let source = std::io::Error::from_raw_os_error(13);
        let path = "/x".into();
        let error = engine::Error::File { action: "open", path, source };
        assert_eq!(Error::from(error).message(), "open /x: Permission denied (os error 13)");
    }

    #[test]
    fn only_of_a_program_the_clients_words_for_one_are_used() {
        let text = || "exec /x: no such file or directory".to_owned();
        assert_eq!(told(Kind::CommandNotFound, text()), text());
        assert_eq!(told(Kind::Invalid, text()), "exec /x: No such file or directory");
    }
}
