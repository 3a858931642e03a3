//! A request's body, read to its end whatever becomes of the request.
//!
//! hyper closes a connection as soon as a body is dropped that is not at its end. A client that still
//! writes then sees a broken pipe and never the answer, in which the reason stands. So the rest of a body
//! that nobody wants any more is skipped beside the answer, until the client has sent it or gone.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::runtime::Handle;

/// How long a client may go on sending what nobody wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a request. Its rest is skipped when this is dropped.
#[derive(Debug)]
pub(crate) struct Sent(Option<Incoming>);

impl Sent {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let unread = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(mut body), Ok(runtime)) = (unread, Handle::try_current()) {
            let skip = async move { while let Some(Ok(_)) = body.frame().await {} };
            runtime.spawn(tokio::time::timeout(PATIENCE, skip));
        }
    }
}
