//! What a build asks of its client while it goes on: secrets, and messages for its ssh agent.
//!
//! A connection of its own beside the request: neither the context, which lies on disk, nor a parameter,
//! which may be logged, holds a secret, and what no command asks for is never sent. It goes wherever the API
//! goes, so that a client on another machine has its own agent asked.
//!
//! ```text
//!   client                                      engine
//!     │── POST /build/link?id=L, upgraded ───────▶│
//!     │◀─ 0: ready ───────────────────────────────│
//!     │── POST /build?link=L, the context ───────▶│
//!     │◀─ 1: a secret? ───────────────────────────│   RUN --mount=type=secret
//!     │── 1: its bytes, or none ─────────────────▶│
//!     │◀─ 2: a message for agent A on line 7 ─────│   RUN --mount=type=ssh, each connection is a line
//!     │── 2: the agent's reply ──────────────────▶│
//! ```
//!
//! Each frame is a length of four bytes, the highest first, and JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest frame, in bytes.
const LONGEST: u32 = 1 << 20;
/// The largest secret, in bytes, as BuildKit has it.
pub const LARGEST_SECRET: usize = 500 << 10;

/// What the engine asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// Nothing: from now on the build may name the link.
    Ready,
    /// A secret's bytes.
    Secret {
        /// By which it is asked for.
        id: String,
    },
    /// Whether there is an ssh agent.
    Agent {
        /// By which it is asked for.
        id: String,
    },
    /// The reply to a message of the agent's protocol, without its length.
    Message {
        /// Whose agent.
        id: String,
        /// The connection that it came on.
        line: u64,
        /// The message in base64.
        data: String,
    },
    /// A connection has ended.
    Close {
        /// Which.
        line: u64,
    },
}

/// A question on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// By which the answer is known.
    pub number: u64,
    /// What is asked.
    pub question: Question,
}

/// What the client says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's.
    pub number: u64,
    /// In base64; nothing where there is none.
    data: Option<String>,
}

impl Answer {
    /// The answer to question `number`.
    pub fn new(number: u64, data: Option<&[u8]>) -> Self {
        Self { number, data: data.map(encode) }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Bytes as they stand in a frame.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes out of a frame.
pub fn decode(text: &str) -> io::Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads a frame; `None` at the end.
pub async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let length = match from.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    if length > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut frame = vec![0; length as usize];
    from.read_exact(&mut frame).await?;
    Ok(Some(serde_json::from_slice(&frame)?))
}

/// Writes a frame.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &impl Serialize) -> io::Result<()> {
    let frame = serde_json::to_vec(frame)?;
    let length = u32::try_from(frame.len()).ok().filter(|length| *length <= LONGEST);
    to.write_u32(length.ok_or(io::ErrorKind::FileTooLarge)?).await?;
    to.write_all(&frame).await?;
    to.flush().await
}

/// Whoever waits for answers; `None` when there will be no more.
type Waiting = Arc<Mutex<Option<BTreeMap<u64, oneshot::Sender<Option<Vec<u8>>>>>>>;

/// A build's client, as the engine sees it. Nobody is asked any more when this is dropped.
pub struct Link {
    to: tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    waiting: Waiting,
    next: AtomicU64,
    reader: JoinHandle<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Link {
    /// Over a connection to a client.
    pub fn new(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let waiting = Waiting::new(Mutex::new(Some(BTreeMap::new())));
        let reader = tokio::spawn(listen(from, Arc::clone(&waiting)));
        let to: Box<dyn AsyncWrite + Send + Unpin> = Box::new(to);
        Self { to: to.into(), waiting, next: AtomicU64::new(1), reader }
    }

    /// Whether the client has gone.
    pub fn is_closed(&self) -> bool {
        self.reader.is_finished()
    }

    /// The client's answer to a question.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the client has gone.
    pub async fn ask(&self, question: Question) -> io::Result<Option<Vec<u8>>> {
        let number = self.number();
        let (give, answer) = oneshot::channel();
        self.expect(number, give)?;
        write(&mut *self.to.lock().await, &Asked { number, question }).await?;
        answer.await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn expect(&self, number: u64, asker: oneshot::Sender<Option<Vec<u8>>>) -> io::Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.insert(number, asker);
        Ok(())
    }

    /// A number that nothing else on this link has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Takes the answers in.
async fn listen(mut from: impl AsyncRead + Unpin, waiting: Waiting) {
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let answer = match read::<Answer>(&mut from).await {
            Ok(Some(answer)) => answer,
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "link of a build ended");
                break;
            }
        };
        let asker = lock().as_mut().and_then(|waiting| waiting.remove(&answer.number));
        let data = answer.data.as_deref().map(decode).transpose();
        if let (Some(asker), Ok(data)) = (asker, data) {
            // Who asked may have gone.
            let _ = asker.send(data);
        }
    }
    *lock() = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_question_gets_its_own_answer() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (from, to) = tokio::io::split(near);
        let link = Link::new(from, to);
        let (mut from, mut to) = tokio::io::split(far);
        let client = tokio::spawn(async move {
            let first: Asked = read(&mut from).await.expect("read").expect("a question");
            let second: Asked = read(&mut from).await.expect("read").expect("a question");
            for asked in [second, first] {
                let Question::Secret { id } = asked.question else { panic!("{asked:?}") };
                let data = (id != "absent").then(|| id.repeat(2).into_bytes());
                let answer = Answer::new(asked.number, data.as_deref());
                write(&mut to, &answer).await.expect("written");
            }
        });
        let ask = |id: &str| link.ask(Question::Secret { id: id.to_owned() });
        let (one, absent) = tokio::join!(ask("one"), ask("absent"));
        assert_eq!(one.expect("an answer").as_deref(), Some(&b"oneone"[..]));
        assert_eq!(absent.expect("an answer"), None);
        client.await.expect("the client");
        let gone = ask("one").await.expect_err("nobody answers");
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_frame_has_a_length_that_fits() {
        let long = [&u32::MAX.to_be_bytes()[..], b"{}"].concat();
        let error = read::<Answer>(&mut &long[..]).await.expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(!format!("{:?}", Answer::new(1, Some(b"secret"))).contains(&encode(b"secret")));
    }
}
