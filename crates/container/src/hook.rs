//! Programs that the configuration wants run at points of a container's life.
//!
//! Spec: OCI runtime-spec, config.md "POSIX-platform Hooks", runtime.md "State".

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
use spec::oci::runtime::{Hook, Process};

/// The state document that a hook reads on its standard input, and that `state` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's name.
    pub id: String,
    /// `creating`, `created`, `running`, `paused` or `stopped`.
    pub status: String,
    /// The init process; absent when stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Annotations of the configuration.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
}

/// A hook failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run.
    #[error("run {kind} hook {}", path.display())]
    Run {
        /// Which list it is in.
        kind: &'static str,
        /// Its program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{kind} hook {}: {status}{output}", path.display())]
    Status {
        /// Which list it is in.
        kind: &'static str,
        /// Its program.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote on its standard error and output, after a colon.
        output: String,
    },
    /// It did not end in time, and was killed.
    #[error("{kind} hook {}: no end after {seconds} s", path.display())]
    Timeout {
        /// Which list it is in.
        kind: &'static str,
        /// Its program.
        path: PathBuf,
        /// The time it had.
        seconds: u64,
    },
}

/// Runs the hooks one after the other, up to the first that fails. Those without an environment of
/// their own get the caller's.
pub(crate) fn run_all(kind: &'static str, hooks: &[Hook], state: &State) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| run(kind, hook, hook.env().as_deref(), state))
}

/// Runs every hook, whatever the others do; gives what failed.
pub(crate) fn run_each(kind: &'static str, hooks: &[Hook], state: &State) -> Vec<Error> {
    let run = |hook: &Hook| run(kind, hook, hook.env().as_deref(), state).err();
    hooks.iter().filter_map(run).collect()
}

/// Runs `startContainer` hooks, as the container's process would be run: those without an environment
/// of their own get that of the process.
pub(crate) fn run_inside(hooks: &[Hook], process: &Process, state: &State) -> Result<(), Error> {
    let environment = |hook: &Hook| hook.env().clone().or_else(|| process.env().clone());
    hooks
        .iter()
        .try_for_each(|hook| run("startContainer", hook, environment(hook).as_deref(), state))
}

fn run(
    kind: &'static str,
    hook: &Hook,
    environment: Option<&[String]>,
    state: &State,
) -> Result<(), Error> {
    let failed = |source| Error::Run { kind, path: hook.path().clone(), source };
    let mut command = command(hook, environment);
    command.stdin(input(state).map_err(failed)?);
    let mut child = command.spawn().map_err(failed)?;
    let mut output = Output::of(&mut child);
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    let ended = wait(&child, limit.map(Duration::from_secs), &mut output).map_err(failed)?;
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::Timeout {
            kind,
            path: hook.path().clone(),
            seconds: limit.unwrap_or(0),
        });
    }
    let status = match child.wait() {
        Ok(status) => status,
        // A subreaper that waits for everything got it first: the status is lost.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if status.success() {
        return Ok(());
    }
    Err(Error::Status { kind, path: hook.path().clone(), status, output: output.text() })
}

fn command(hook: &Hook, environment: Option<&[String]>) -> Command {
    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    if let Some(environment) = environment {
        command.env_clear();
        for (name, value) in environment.iter().filter_map(|text| text.split_once('=')) {
            command.env(name, value);
        }
    }
    // The caller may hold signals back; that is not the hook's.
    sys::execute::with_default_signals(&mut command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The state as a file in memory: a hook need not read it, and nobody has to write meanwhile.
fn input(state: &State) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("state", flags)?);
    serde_json::to_writer(&file, state)?;
    file.rewind()?;
    Ok(file)
}

/// How much of each stream is kept, in bytes.
const KEPT: usize = 4096;

/// What a hook writes on its standard error and output: read as it comes, so that it never waits.
struct Output(Vec<(OwnedFd, Vec<u8>)>);

impl Output {
    fn of(child: &mut Child) -> Self {
        let streams = [child.stderr.take().map(Into::into), child.stdout.take().map(Into::into)];
        let open = |stream: OwnedFd| {
            // Whoever it left behind may keep the pipe open for ever.
            let _ = rustix::io::ioctl_fionbio(&stream, true);
            (stream, Vec::new())
        };
        Self(streams.into_iter().flatten().map(open).collect())
    }

    /// Reads what is there; a stream at its end is asked no more.
    fn take(&mut self, ended: &mut [bool; 2]) {
        let mut buffer = [0; KEPT];
        for ((stream, kept), ended) in self.0.iter_mut().zip(ended) {
            loop {
                match rustix::io::retry_on_intr(|| rustix::io::read(&*stream, &mut buffer)) {
                    Ok(got) if got > 0 => {
                        let room = KEPT.saturating_sub(kept.len());
                        kept.extend_from_slice(&buffer[..got.min(room)]);
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    _ => {
                        *ended = true;
                        break;
                    }
                }
            }
        }
    }

    /// What there was, after a colon.
    fn text(&self) -> String {
        let texts = self.0.iter().map(|(_, kept)| String::from_utf8_lossy(kept));
        texts.fold(String::new(), |all, text| match text.trim() {
            "" => all,
            text => all + ": " + text,
        })
    }
}

/// Waits for the end; false when `limit` passed first.
fn wait(child: &Child, limit: Option<Duration>, output: &mut Output) -> io::Result<bool> {
    let pidfd = match rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        // Reaped by somebody else already.
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        pidfd => pidfd?,
    };
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut ended = [false; 2];
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        let open = output.0.iter().zip(ended).filter(|(_, ended)| !ended);
        fds.extend(open.map(|((stream, _), _)| PollFd::new(stream, PollFlags::IN)));
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref()))?;
        let over = !fds[0].revents().is_empty();
        drop(fds);
        output.take(&mut ended);
        if over || ready == 0 {
            return Ok(over);
        }
    }
}

/// Hooks must be named by an absolute path.
pub(crate) fn is_valid(path: &Path) -> bool {
    path.is_absolute()
}
