//! Starting and stopping the engine's program, `hulld`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::client::{Client, Page};
use crate::error::Error;

/// Where the engine's messages go when it is started from here.
const LOG: &str = "hulld.log";
/// How long the engine may take until it answers, or until it has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked in that time.
const BEAT: Duration = Duration::from_millis(20);

/// Starts the engine with these further arguments and waits until it answers.
pub(crate) async fn start(socket: &Path, arguments: &[String]) -> Result<(), Error> {
    let client = Client::of_running(socket.to_owned());
    let program = program();
    let log = directory(socket).join(LOG);
    let spawn = |source| Error::Spawn { program: program.clone(), source };
    fs::create_dir_all(directory(socket)).map_err(spawn)?;
    let messages = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(Error::file(log.display().to_string()))?;
    let before = messages.metadata().map_or(0, |file| file.len());
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
        if client.answers().await {
            return Ok(());
        }
        tokio::time::sleep(BEAT).await;
    }
    // Another `hull` may have been faster: then ours ended, but there is an engine.
    if client.answers().await {
        return Ok(());
    }
    let said = last_line(&log, before);
    Err(Error::Silent { program, log, said })
}

/// What a log ends with, if that was written after its first `before` bytes.
fn last_line(log: &Path, before: u64) -> String {
    let text = fs::read(log).unwrap_or_default();
    let new = text.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
    let new = String::from_utf8_lossy(new);
    new.lines().last().unwrap_or("it says nothing").trim_start_matches("hulld: ").to_owned()
}

/// Asks the engine that listens at the client's socket to end, and waits until it has. Containers go
/// on.
///
/// The socket may be systemd's: then it stays, and a connection to it would start the next engine. So
/// the engine tells its process number, and that process's end is what is waited for.
pub(crate) async fn stop(client: &Client) -> Result<(), Error> {
    let failed = |source| Error::Stop { source };
    let info = client.get(&Page::new(&["info"])).await?;
    let pid = info["Hull"]["Pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or_else(|| failed(io::Error::other("it does not tell its process number")))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    // The number is the engine's in its own namespace of processes, which need not be ours.
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    if name.map_err(failed)?.trim_end() != "hulld" {
        return Err(failed(io::Error::other(format!(
            "process {} is not hulld",
            pid.as_raw_nonzero()
        ))));
    }
    pidfd_send_signal(&process, Signal::TERM).map_err(|error| failed(error.into()))?;
    let ended = tokio::task::spawn_blocking(move || wait(&process)).await;
    ended.map_err(io::Error::other).and_then(|waited| waited).map_err(failed)
}

fn wait(process: &OwnedFd) -> io::Result<()> {
    let time = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    if poll(&mut ended, Some(&time))? == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

/// The directory of the engine's sockets.
fn directory(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// `hulld` beside this program, else in `PATH`.
pub(crate) fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("hulld"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "hulld".into())
}
