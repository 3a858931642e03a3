//! What a request that failed is answered with.

use hyper::StatusCode;
use serde_json::{Value, json};
use spec::Kind;
use spec::fault::{self, Fault};

use crate::reply::{self, Reply};

/// A request that is answered with an error: its status, what a program can do about it, and the message
/// a user reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    status: StatusCode,
    kind: Kind,
    /// The page for whoever reads it.
    fault: &'static Fault,
    message: String,
    /// The status of a build's command that failed.
    code: Option<u8>,
}

impl Error {
    /// An error with this status, and of the kind that usually has it.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = kind(status);
        Self { status, kind, fault: fault::of_kind(kind), message: message.into(), code: None }
    }

    /// 400: the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// An error of one of the crates beneath, with its causes.
    pub(crate) fn of(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Self {
        let message = told(kind, spec::chain(error));
        Self { status: status(kind), kind, fault: fault::of(kind, error), message, code: None }
    }

    /// The same error, but 400 instead of 501: a field of a request that cannot be honoured is the
    /// request's fault, a page that does not exist is not.
    pub(crate) fn by_field(mut self) -> Self {
        if self.status == StatusCode::NOT_IMPLEMENTED {
            self.status = StatusCode::BAD_REQUEST;
        }
        self
    }

    /// The same error, but 500 instead of 503: a registry that does not answer is not this server's being
    /// unavailable.
    pub(crate) fn of_another(mut self) -> Self {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            self.status = StatusCode::INTERNAL_SERVER_ERROR;
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
        json!({ "errorDetail": detail, "error": text, "fault": self.fault.code })
    }

    /// The answer: Docker's clients read the message alone; the kind tells apart what has one status.
    pub(crate) fn reply(&self) -> Reply {
        reply::json(
            self.status,
            &json!({
                "kind": self.kind, "fault": self.fault.code, "message": self.message,
            }),
        )
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
        Self { code, fault: error.fault(), ..Self::of(error.kind(), &error) }
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

/// The kind that a status without one stands for.
fn kind(status: StatusCode) -> Kind {
    match status {
        StatusCode::NOT_IMPLEMENTED => Kind::Unsupported,
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::CONFLICT => Kind::Conflict,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
        StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
        status if status.is_client_error() => Kind::Invalid,
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_answer_names_the_kind_beside_the_message() {
        let missing = engine::Error::NoSuchImage("a".into());
        let no = "x is not supported by Hull yet";
        for (error, kind, fault, message) in [
            (Error::from(missing), "not-found", "H0101", "No such image: a"),
            (Error::unsupported("x"), "unsupported", "H0002", no),
            // Another status, and still what the host cannot do.
            (Error::unsupported("x").by_field(), "unsupported", "H0002", no),
            (Error::invalid("bad"), "invalid", "H0001", "bad"),
        ] {
            let body = error.reply().into_body().collect().await.expect("a body").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body, json!({ "kind": kind, "fault": fault, "message": message }));
        }
    }

    #[test]
    fn a_status_alone_stands_for_a_kind_that_has_it() {
        for kind_of_error in Kind::ALL {
            assert_eq!(
                status(kind(status(kind_of_error))),
                status(kind_of_error),
                "{kind_of_error}"
            );
        }
    }

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
    fn a_registry_out_of_reach_is_a_failure_with_its_page() {
        let host = "registry.invalid".to_owned();
        let source = image::registry::Cause::from("name not known");
        let error = image::registry::Error::Unreachable { host, source };
        let error = Error::from(engine::Error::from(error)).of_another();
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(error.message(), "connect to registry.invalid: name not known");
        assert_eq!(error.fault, &fault::NO_REGISTRY);
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
