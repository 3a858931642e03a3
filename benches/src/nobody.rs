//! A daemon that takes a build's context in and builds nothing: what is left is the stock client's own time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

/// What every answer begins with. The client goes by these to choose the API and the builder.
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nBuilder-Version: 1\r\nOstype: linux\r\n";
/// What a build that says nothing but its image's name answers.
const BUILT: &str = "{\"stream\":\"sha256:0\\n\"}\n";

/// It listens until the program ends.
pub(crate) struct Nobody {
    dir: TempDir,
}

impl Nobody {
    pub(crate) fn start() -> Self {
        let nobody = Self { dir: TempDir::with_prefix("hull-nobody-").expect("a directory") };
        let listener = UnixListener::bind(nobody.socket()).expect("a socket");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that goes away has all it wanted.
                thread::spawn(move || drop(serve(&client)));
            }
        });
        nobody
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// The stock client, told to talk to it.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.dir.path())
            .env_remove("DOCKER_CONTEXT");
        docker
    }
}

/// Answers a client's requests, one after the other.
fn serve(client: &UnixStream) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::with_capacity(256 << 10, client), client);
    loop {
        let request = line(&mut from)?;
        let mut has_body = false;
        loop {
            let header = line(&mut from)?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            has_body |= header == "transfer-encoding: chunked";
        }
        if has_body {
            take_chunks(&mut from)?;
        }
        let answer = if request.contains("/build?") { BUILT } else { "" };
        let length = if request.starts_with("HEAD") { 0 } else { answer.len() };
        write!(to, "{HEAD}Content-Length: {length}\r\n\r\n{answer}")?;
    }
}

/// Reads a body to its end. Spec: RFC 9112, section 7.1.
fn take_chunks(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let length = u64::from_str_radix(&line(from)?, 16).map_err(io::Error::other)?;
        io::copy(&mut from.take(length), &mut io::sink())?;
        line(from)?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// A line without its end; at the end of all an error.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match from.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
