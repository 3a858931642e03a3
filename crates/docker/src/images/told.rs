//! Answers that tell how far the work is, while it goes on.
//!
//! The work goes on as long as its answer is read. What fails before the first message is answered by a
//! status; later failures are the last message of the stream, whose status was sent long before.

use futures_util::stream::{self, StreamExt};
use hyper::StatusCode;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::reply::{self, Reply};
use crate::route::Answer;

/// Where work tells what it does.
#[derive(Debug, Clone)]
pub(crate) struct Tell(mpsc::UnboundedSender<Value>);

impl Tell {
    /// One message. Nobody listens any more when the client has gone; then the work ends too.
    pub(crate) fn send(&self, message: Value) {
        let _ = self.0.send(message);
    }
}

/// Does the work, and answers with what it tells.
pub(crate) async fn answer<W, F>(work: W) -> Answer
where
    W: FnOnce(Tell) -> F,
    F: Future<Output = Result<(), engine::Error>> + Send + 'static,
{
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut task = JoinSet::new();
    task.spawn(work(Tell(sender)));
    let Some(first) = messages.recv().await else {
        return outcome(&mut task).await.map(|()| reply::lines(stream::empty()));
    };
    let rest = stream::unfold(Some((messages, task)), |state| async move {
        let (mut messages, mut task) = state?;
        if let Some(message) = messages.recv().await {
            return Some((message, Some((messages, task))));
        }
        outcome(&mut task).await.err().map(|error| (error.in_stream(), None))
    });
    Ok(reply::lines(stream::once(async move { first }).chain(rest)))
}

/// The same where a failure is always told in the stream, which clients of `load` look for.
pub(crate) async fn in_stream<W, F>(work: W) -> Reply
where
    W: FnOnce(Tell) -> F,
    F: Future<Output = Result<(), engine::Error>> + Send + 'static,
{
    match answer(work).await {
        Ok(reply) => reply,
        Err(error) => reply::lines(stream::once(async move { error.in_stream() })),
    }
}

/// How the work ended.
async fn outcome(task: &mut JoinSet<Result<(), engine::Error>>) -> Result<(), Error> {
    match task.join_next().await {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(Error::from(error).of_another()),
        Some(Err(error)) => Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
