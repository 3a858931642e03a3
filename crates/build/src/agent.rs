//! The client's ssh agent as a socket that a command sees: `RUN --mount=type=ssh`.
//!
//! Message by message: what comes from the command is never more than one message of a bounded length, and
//! the client's side passes only on what lists keys and signs.
//!
//! Spec: draft-miller-ssh-agent, section 3 "Protocol Overview"; section 4 "Messages".

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::link::{Link, Question, decode, encode};

/// The longest message, in bytes, as OpenSSH's agent has it.
pub const LONGEST: u32 = 256 << 10;
/// Connections at a time.
const LINES: usize = 16;
/// `SSH_AGENT_FAILURE`: the agent will not.
const FAILURE: &[u8] = &[5];
/// What a command may ask: `SSH_AGENTC_REQUEST_IDENTITIES`, `SSH_AGENTC_SIGN_REQUEST`.
const ALLOWED: [u8; 2] = [11, 13];
/// `SSH_AGENTC_EXTENSION`, of which only this says where a key will be used.
const EXTENSION: (u8, &[u8]) = (27, b"\0\0\0\x18session-bind@openssh.com");

/// A socket behind which is the client's agent. It is deaf when this is dropped.
#[derive(Debug)]
pub(crate) struct Agent(JoinHandle<()>);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Agent {
    /// Listens at `path`, of which `owner` and `mode` say who may connect.
    pub(crate) fn listen(
        link: Arc<Link>,
        id: String,
        path: &Path,
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        chown(path, Some(owner.0), Some(owner.1))?;
        Ok(Self(tokio::spawn(serve(listener, link, id))))
    }
}

async fn serve(listener: UnixListener, link: Arc<Link>, id: String) {
    let (free, mut lines) = (Arc::new(Semaphore::new(LINES)), JoinSet::new());
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else { return };
        while lines.try_join_next().is_some() {}
        let (link, id) = (Arc::clone(&link), id.clone());
        lines.spawn(async move {
            let number = link.number();
            if let Err(error) = carry(stream, &link, &id, number).await {
                tracing::debug!(%error, "connection to an agent ended");
            }
            let _ = link.ask(Question::Close { line: number }).await;
            drop(permit);
        });
    }
}

/// Carries messages and replies until either side has no more.
async fn carry(mut stream: UnixStream, link: &Link, id: &str, number: u64) -> io::Result<()> {
    while let Some(message) = read(&mut stream).await? {
        let question =
            Question::Message { id: id.to_owned(), line: number, data: encode(&message) };
        let Some(reply) = link.ask(question).await? else { return Ok(()) };
        write(&mut stream, &reply).await?;
    }
    Ok(())
}

/// A message without its length; `None` at the end.
async fn read(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    if length == 0 || length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_u32(length).await?;
    stream.write_all(message).await
}

/// The reply of the agent behind `stream` to a message out of a question: what a command must not ask, such
/// as to add or remove keys, the agent is not asked.
pub async fn reply(stream: &mut UnixStream, data: &str) -> io::Result<Vec<u8>> {
    let message = decode(data)?;
    let is_allowed = message.first().is_some_and(|kind| {
        ALLOWED.contains(kind) || *kind == EXTENSION.0 && message[1..].starts_with(EXTENSION.1)
    });
    if !is_allowed {
        return Ok(FAILURE.to_vec());
    }
    write(stream, &message).await?;
    read(stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_agent_is_asked_for_keys_and_signatures_alone() {
        let (mut near, mut far) = UnixStream::pair().expect("a pair");
        let agent = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Some(message) = read(&mut far).await.expect("read") {
                write(&mut far, &[12, message[0]]).await.expect("written");
                heard.push(message[0]);
            }
            heard
        });
        let bind = [&[EXTENSION.0][..], EXTENSION.1, b"rest"].concat();
        let cases: [(&[u8], &[u8]); 7] = [
            (&[11], &[12, 11]),
            (&[13, 0], &[12, 13]),
            (&bind, &[12, 27]),
            (&[27, 0, 0, 0, 1, b'x'], FAILURE),
            (&[17, 0], FAILURE),
            (&[19], FAILURE),
            (&[], FAILURE),
        ];
        for (message, want) in cases {
            assert_eq!(reply(&mut near, &encode(message)).await.expect("a reply"), want);
        }
        drop(near);
        assert_eq!(agent.await.expect("the agent"), [11, 13, 27]);
    }
}
