//! Starting and stopping the engine's program, `hulld`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;

use crate::client::{Client, SOCKET};
use crate::error::Error;

/// Where the engine's messages go when it is started from here.
const LOG: &str = "hulld.log";
/// How long the engine may take until it answers, or until it has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked in that time.
const BEAT: Duration = Duration::from_millis(20);

/// Starts the engine when the socket is the default one and nobody listens there. An engine elsewhere
/// has roots of its own, which only whoever started it knows.
pub(crate) async fn ensure(socket: &Path) -> Result<(), Error> {
    if socket == Path::new(SOCKET) && !listens(socket) {
        start(socket, &[]).await?;
    }
    Ok(())
}

/// Starts the engine with these further arguments and waits until it answers.
pub(crate) async fn start(socket: &Path, arguments: &[String]) -> Result<(), Error> {
    let program = program();
    let log = directory(socket).join(LOG);
    let spawn = |source| Error::Spawn { program: program.clone(), source };
    fs::create_dir_all(directory(socket)).map_err(spawn)?;
    let messages = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(Error::file(log.display().to_string()))?;
    let copy = messages.try_clone().map_err(Error::file(log.display().to_string()))?;
    let mut child = Command::new(&program)
        .arg("--host")
        .arg(socket)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(messages)
        .stderr(copy)
        // Signals of this terminal are not the engine's.
        .process_group(0)
        .spawn()
        .map_err(spawn)?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        if Client::answers(socket).await {
            return Ok(());
        }
        tokio::time::sleep(BEAT).await;
    }
    // Another `hull` may have been faster: then ours ended, but there is an engine.
    if Client::answers(socket).await { Ok(()) } else { Err(Error::Silent { program, log }) }
}

/// Asks the engine that listens at `socket` to end, and waits until it has. Containers go on.
pub(crate) async fn stop(socket: &Path) -> Result<(), Error> {
    let failed = |source| Error::Stop { source };
    let connection = UnixStream::connect(socket).await;
    let connection =
        connection.map_err(|source| Error::Connect { socket: socket.to_owned(), source })?;
    let pid = connection.peer_cred().map_err(failed)?.pid().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound)))?;
    drop(connection);
    kill_process(pid, Signal::TERM).map_err(|error| failed(error.into()))?;
    let end = Instant::now() + PATIENCE;
    while listens(socket) {
        if Instant::now() > end {
            return Err(failed(io::Error::from(io::ErrorKind::TimedOut)));
        }
        tokio::time::sleep(BEAT).await;
    }
    Ok(())
}

/// True when someone accepts connections at `socket`.
fn listens(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// The directory of the engine's sockets.
fn directory(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// `hulld` beside this program, else in `PATH`.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("hulld"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "hulld".into())
}
