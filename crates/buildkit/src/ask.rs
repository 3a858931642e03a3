//! What a build asks of its client: credentials, secrets, its ssh agent, what comes by its standard input.
//!
//! Secrets and agents go by [`build::link`], whose far end is here and passes the questions on.
//!
//! Spec: github.com/moby/buildkit `session/{auth,secrets,sshforward,upload}/*.proto`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use build::Link;
use build::link::{self, Answer, Asked, LARGEST_SECRET, Question};
use engine::build::Ask;
use futures_util::{StreamExt, TryStreamExt};
use image::Auth;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status, Streaming};

use crate::messages::session::{
    BytesMessage, CheckAgentRequest, CheckAgentResponse, CredentialsRequest, CredentialsResponse,
    SecretRequest, SecretResponse,
};
use crate::session::Session;

const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
const PULL: &str = "/moby.upload.v1.Upload/Pull";
/// Docker Hub, as the client knows its registry.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// Bytes between the two ends of a link.
const PIPE: usize = 64 << 10;
/// Messages that wait to be said.
const QUEUE: usize = 4;
/// Bytes of an agent's that are said at a time.
const CHUNK: usize = 32 << 10;

/// Asks a client as whom images of a registry are fetched.
pub(crate) fn credentials(session: Session) -> Ask {
    Arc::new(move |registry| {
        let session = session.clone();
        Box::pin(async move {
            let host = if registry == HUB.0 { HUB.1.to_owned() } else { registry };
            let asked = session.ask(CREDENTIALS, CredentialsRequest { host }).await;
            let CredentialsResponse { username, secret } = match asked {
                Ok(response) => response,
                Err(error) => {
                    tracing::debug!(%error, "client has no credentials");
                    return None;
                }
            };
            match (username.is_empty(), secret.is_empty()) {
                (_, true) => None,
                (true, false) => Some(Auth::Identity(secret)),
                (false, false) => Some(Auth::Basic { username, password: secret }),
            }
        })
    })
}

/// What a client has of its standard input: the archive that `named` names as `HOST/PATH`.
pub(crate) async fn upload(
    session: &Session,
    named: &str,
) -> Result<impl AsyncRead + Send + Unpin + 'static, Status> {
    let (host, path) = named.split_once('/').unwrap_or((named, ""));
    let mut metadata = MetadataMap::new();
    for (key, value) in [("urlhost", host.to_owned()), ("urlpath", format!("/{path}"))] {
        let value = MetadataValue::try_from(value);
        metadata.insert(key, value.map_err(|_| Status::invalid_argument("the context's address"))?);
    }
    let nothing = futures_util::stream::empty::<BytesMessage>();
    let pieces: Streaming<BytesMessage> = session.talk(PULL, metadata, nothing).await?;
    let bytes = pieces.map_ok(|piece| io::Cursor::new(piece.data)).map_err(io::Error::other);
    Ok(StreamReader::new(Box::pin(bytes)))
}

/// A link whose questions `session`'s client answers, as long as the other is not dropped.
pub(crate) fn link(session: Session) -> (Link, JoinSet<()>) {
    let (near, far) = tokio::io::duplex(PIPE);
    let (from, to) = tokio::io::split(near);
    let mut answering = JoinSet::new();
    answering.spawn(async move {
        let (mut from, to) = tokio::io::split(far);
        let (client, to) =
            (Arc::new(Client { session, lines: Mutex::default() }), Arc::new(Mutex::new(to)));
        let mut answers = JoinSet::new();
        while let Ok(Some(asked)) = link::read::<Asked>(&mut from).await {
            answers.spawn(answer(Arc::clone(&client), asked, Arc::clone(&to)));
            while answers.try_join_next().is_some() {}
        }
    });
    (Link::new(from, to), answering)
}

/// A client, and the connections to its agents by the commands' own.
struct Client {
    session: Session,
    lines: Mutex<HashMap<u64, Arc<Mutex<Line>>>>,
}

/// A connection to an agent; what carries it ends with it.
struct Line {
    stream: UnixStream,
    _carrying: JoinSet<()>,
}

async fn answer(client: Arc<Client>, asked: Asked, to: Arc<Mutex<impl AsyncWrite + Unpin>>) {
    let data = client.data(asked.question).await;
    let data = data.unwrap_or_else(|error| {
        if error.code() != Code::NotFound {
            tracing::debug!(%error, "client of a build could not answer");
        }
        None
    });
    // Where the build has gone, nobody waits.
    let _ = link::write(&mut *to.lock().await, &Answer::new(asked.number, data.as_deref())).await;
}

impl Client {
    async fn data(&self, question: Question) -> Result<Option<Vec<u8>>, Status> {
        match question {
            Question::Ready => Ok(None),
            Question::Secret { id } => {
                let SecretResponse { data } =
                    self.session.ask(SECRET, SecretRequest { id }).await?;
                if data.len() > LARGEST_SECRET {
                    let text = format!("a secret of more than {LARGEST_SECRET} bytes");
                    return Err(Status::out_of_range(text));
                }
                Ok(Some(data))
            }
            Question::Agent { id } => {
                let _: CheckAgentResponse =
                    self.session.ask(CHECK_AGENT, CheckAgentRequest { id }).await?;
                Ok(Some(Vec::new()))
            }
            Question::Message { id, line, data } => {
                let line = self.line(&id, line).await?;
                let reply = build::agent::reply(&mut line.lock().await.stream, &data).await;
                reply
                    .map(Some)
                    .map_err(|error| Status::unavailable(format!("ssh agent {id}: {error}")))
            }
            Question::Close { line } => {
                self.lines.lock().await.remove(&line);
                Ok(None)
            }
        }
    }

    /// The connection to an agent, made where there is none.
    async fn line(&self, id: &str, number: u64) -> Result<Arc<Mutex<Line>>, Status> {
        let mut lines = self.lines.lock().await;
        if let Some(line) = lines.get(&number) {
            return Ok(Arc::clone(line));
        }
        let mut metadata = MetadataMap::new();
        let value = MetadataValue::try_from(id);
        let value = value.map_err(|_| Status::invalid_argument(format!("ssh agent {id:?}")))?;
        metadata.insert("buildkit.ssh.id", value);
        let (stream, far) =
            UnixStream::pair().map_err(|error| Status::internal(error.to_string()))?;
        let mut carrying = JoinSet::new();
        carrying.spawn(carry(far, self.session.clone(), metadata));
        let line = Arc::new(Mutex::new(Line { stream, _carrying: carrying }));
        lines.insert(number, Arc::clone(&line));
        Ok(line)
    }
}

/// Carries bytes between a socket and an agent, until either ends.
async fn carry(socket: UnixStream, session: Session, metadata: MetadataMap) {
    let (mut from, mut to) = socket.into_split();
    let (say, said) = mpsc::channel(QUEUE);
    let out = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            if say.send(BytesMessage { data: chunk[..length].to_vec() }).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let talked = session.talk(FORWARD_AGENT, metadata, ReceiverStream::new(said)).await;
        let mut heard: Streaming<BytesMessage> = match talked {
            Ok(heard) => heard,
            Err(error) => return tracing::debug!(%error, "client's agent does not talk"),
        };
        while let Some(Ok(message)) = heard.next().await {
            if to.write_all(&message.data).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}
