//! `--secret` and `--ssh`: what a build's commands may ask us for while it goes on.
//!
//! Nothing is sent before it is asked for, see [`build::link`].

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::build::link::{self, Answer, Asked, LARGEST_SECRET, Question};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::client::{Client, Page};
use crate::error::Error;

/// Where our ssh agent is.
const AGENT: &str = "SSH_AUTH_SOCK";

/// Secrets and agents by their ids.
#[derive(Default)]
pub(super) struct Given {
    secrets: BTreeMap<String, Vec<u8>>,
    agents: BTreeMap<String, PathBuf>,
}

impl Given {
    /// What the options name: `id=ID,src=FILE` or `env=NAME`; `ID[=SOCKET]`.
    pub(super) fn read(secrets: &[String], agents: &[String]) -> Result<Self, Error> {
        let secrets = secrets.iter().map(|text| secret(text)).collect::<Result<_, _>>()?;
        let agents = agents.iter().map(|text| agent(text)).collect::<Result<_, _>>()?;
        Ok(Self { secrets, agents })
    }

    /// Connects to the engine, so that a build can ask; gives the link's name. `None` if there is nothing.
    pub(super) async fn offer(self, client: &Client) -> Result<Option<Offered>, Error> {
        if self.secrets.is_empty() && self.agents.is_empty() {
            return Ok(None);
        }
        let failed = || Error::file("offer secrets to the engine");
        let mut random = [0; 16];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut random))
            .map_err(failed())?;
        let name = format!("{:032x}", u128::from_ne_bytes(random));
        let page = Page::new(&["build", "link"]).query(&[("id", &name)]);
        let taken = client.hijack(&page, &serde_json::Value::Null).await?;
        let (from, mut to) = taken.stream.into_split();
        let mut from = AsyncReadExt::chain(Cursor::new(taken.early), from);
        let ready = link::read::<Asked>(&mut from).await.map_err(failed())?;
        let Some(Asked { number, question: Question::Ready }) = ready else {
            return Err(failed()(io::ErrorKind::ConnectionRefused.into()));
        };
        link::write(&mut to, &Answer::new(number, None)).await.map_err(failed())?;
        let mut work = JoinSet::new();
        work.spawn(async move {
            let given = Arc::new(Serving { given: self, lines: Mutex::default() });
            let to = Arc::new(Mutex::new(to));
            let mut answers = JoinSet::new();
            while let Ok(Some(asked)) = link::read::<Asked>(&mut from).await {
                answers.spawn(answer(Arc::clone(&given), asked, Arc::clone(&to)));
                while answers.try_join_next().is_some() {}
            }
        });
        Ok(Some(Offered { name, _work: work }))
    }
}

/// A link to the engine; nobody answers when this is dropped.
pub(super) struct Offered {
    /// By which a build names it.
    pub(super) name: String,
    _work: JoinSet<()>,
}

struct Serving {
    given: Given,
    /// Connections to agents, by the commands' own.
    lines: Mutex<HashMap<u64, Arc<Mutex<UnixStream>>>>,
}

async fn answer(serving: Arc<Serving>, asked: Asked, to: Arc<Mutex<impl AsyncWrite + Unpin>>) {
    let data = serving.data(asked.question).await;
    // An engine that has gone tells the build's own connection so.
    let _ = link::write(&mut *to.lock().await, &Answer::new(asked.number, data.as_deref())).await;
}

impl Serving {
    async fn data(&self, question: Question) -> Option<Vec<u8>> {
        match question {
            Question::Ready => None,
            Question::Secret { id } => self.given.secrets.get(&id).cloned(),
            Question::Agent { id } => self.given.agents.get(&id).map(|_| Vec::new()),
            Question::Message { id, line, data } => match self.message(&id, line, &data).await {
                Ok(reply) => Some(reply),
                Err(error) => {
                    eprintln!("ssh agent {id}: {error}");
                    None
                }
            },
            Question::Close { line } => {
                self.lines.lock().await.remove(&line);
                None
            }
        }
    }

    async fn message(&self, id: &str, line: u64, data: &str) -> io::Result<Vec<u8>> {
        let known = self.lines.lock().await.get(&line).cloned();
        let stream = if let Some(stream) = known {
            stream
        } else {
            let path = self.given.agents.get(id).ok_or(io::ErrorKind::NotFound)?;
            let stream = Arc::new(Mutex::new(UnixStream::connect(path).await?));
            self.lines.lock().await.insert(line, Arc::clone(&stream));
            stream
        };
        ::build::agent::reply(&mut *stream.lock().await, data).await
    }
}

fn wrong(option: &'static str, value: &str, want: impl Into<String>) -> Error {
    Error::Argument { option, value: value.to_owned(), want: want.into() }
}

/// A secret's id and bytes. Spec: docker buildx build, "--secret".
fn secret(text: &str) -> Result<(String, Vec<u8>), Error> {
    let wrong = |want: &str| wrong("--secret", text, want);
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            _ => return Err(wrong("id=ID and src=FILE or env=NAME")),
        }
    }
    // With type=env, a source is a variable.
    if kind == Some("env") {
        variable = variable.or(file.take());
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("an id: id=ID"))?;
    let content = match (file, variable) {
        (Some(_), Some(_)) => return Err(wrong("src=FILE or env=NAME, not both")),
        (Some(path), None) => contents(path)?,
        (None, Some(name)) => value(name).ok_or_else(|| wrong("a variable that is set"))?,
        // The id says which.
        (None, None) if kind != Some("file") && value(id).is_some() => {
            value(id).unwrap_or_default()
        }
        (None, None) => contents(id)?,
    };
    if content.len() > LARGEST_SECRET {
        return Err(wrong("at most 500 KiB"));
    }
    Ok((id.to_owned(), content))
}

fn value(name: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(name).map(OsStringExt::into_vec)
}

fn contents(path: &str) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(Error::file(path))?;
    file.take(LARGEST_SECRET as u64 + 1).read_to_end(&mut content).map_err(Error::file(path))?;
    Ok(content)
}

/// An agent's id and socket.
fn agent(text: &str) -> Result<(String, PathBuf), Error> {
    let (id, path) = text.split_once('=').map_or((text, None), |(id, path)| (id, Some(path)));
    let own = std::env::var(AGENT).ok().filter(|path| !path.is_empty());
    let path = path.map(str::to_owned).or(own);
    let path =
        path.ok_or_else(|| wrong("--ssh", text, format!("ID=SOCKET: {AGENT} is not set")))?;
    let found = Path::new(&path).metadata().map_err(Error::file(&path))?;
    if !found.file_type().is_socket() {
        let want =
            format!("an agent's socket, which {path} is not: add keys to an agent by ssh-add");
        return Err(wrong("--ssh", text, want));
    }
    Ok((id.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("token");
        std::fs::write(&path, "hidden").expect("a file");
        let from = |text: &str| secret(&text.replace("FILE", &path.to_string_lossy())).ok();
        let given = |id: &str, content: &[u8]| Some((id.to_owned(), content.to_vec()));
        let home = value("PATH").expect("set");
        assert_eq!(from("id=a,src=FILE"), given("a", b"hidden"));
        assert_eq!(from("type=file,id=a,source=FILE"), given("a", b"hidden"));
        assert_eq!(from("id=FILE"), given(&path.to_string_lossy(), b"hidden"));
        assert_eq!(from("id=a,env=PATH"), given("a", &home));
        assert_eq!(from("type=env,id=a,src=PATH"), given("a", &home));
        assert_eq!(from("id=PATH"), given("PATH", &home));
        for text in
            ["src=FILE", "id=a,src=FILE,env=PATH", "id=a,env=NO_SUCH", "id=a,src=/none", "a"]
        {
            assert_eq!(from(text), None, "{text}");
        }
        assert!(agent(&format!("default={}", path.display())).is_err(), "no socket");
    }
}
