//! Programs that the configuration wants run at points of a container's life.
//!
//! Spec: OCI runtime-spec, config.md "POSIX-platform Hooks", runtime.md "State".

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use spec::oci::runtime::Hook;

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
        /// What it wrote on its standard error, after a colon.
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

/// Runs the hooks one after the other, up to the first that fails. One without an environment of its
/// own gets `inherited`, or this program's where that is `None`.
pub(crate) fn run_all(
    kind: &'static str,
    hooks: &[Hook],
    state: &State,
    inherited: Option<&[String]>,
) -> Result<(), Error> {
    let input = input(hooks, state);
    hooks.iter().try_for_each(|hook| run(kind, hook, &input, inherited))
}

/// Runs all hooks whatever becomes of them; gives the failures.
pub(crate) fn run_each(kind: &'static str, hooks: &[Hook], state: &State) -> Vec<Error> {
    let input = input(hooks, state);
    hooks.iter().filter_map(|hook| run(kind, hook, &input, None).err()).collect()
}

fn input(hooks: &[Hook], state: &State) -> Vec<u8> {
    if hooks.is_empty() { Vec::new() } else { serde_json::to_vec(state).unwrap_or_default() }
}

fn run(
    kind: &'static str,
    hook: &Hook,
    input: &[u8],
    inherited: Option<&[String]>,
) -> Result<(), Error> {
    let failed = |source| Error::Run { kind, path: hook.path().clone(), source };
    let mut child = spawn(hook, input, inherited).map_err(failed)?;
    let mut said = Said::of(child.stderr.take()).map_err(failed)?;
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    let ended = wait(&mut child, &mut said, limit.map(Duration::from_secs)).map_err(failed)?;
    let Some(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::Timeout {
            kind,
            path: hook.path().clone(),
            seconds: limit.unwrap_or(0),
        });
    };
    if status.success() {
        return Ok(());
    }
    let output = said.after_a_colon();
    Err(Error::Status { kind, path: hook.path().clone(), status, output })
}

fn spawn(hook: &Hook, input: &[u8], inherited: Option<&[String]>) -> io::Result<Child> {
    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    if let Some(variables) = hook.env().as_deref().or(inherited) {
        command.env_clear();
        command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    }
    command.stdin(document(input)?).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn()
}

/// A file in memory: a hook need not read its input, and no size of it makes a writer wait.
fn document(text: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("state", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}

/// What a hook writes on its standard error: its beginning is kept, all of it is read.
struct Said {
    from: Option<ChildStderr>,
    text: Vec<u8>,
}

impl Said {
    fn of(from: Option<ChildStderr>) -> io::Result<Self> {
        if let Some(pipe) = &from {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { from, text: Vec::new() })
    }

    /// Takes over what is there by now. A program that the hook left behind may keep the pipe open.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.from {
            match pipe.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    let kept = length.min(buffer.len() - self.text.len());
                    self.text.extend_from_slice(buffer.get(..kept).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => self.from = None,
            }
        }
    }

    fn after_a_colon(mut self) -> String {
        self.read();
        match String::from_utf8_lossy(&self.text).trim() {
            "" => String::new(),
            text => format!(": {text}"),
        }
    }
}

/// Waits for the end; `None` when `limit` passed first.
fn wait(
    child: &mut Child,
    said: &mut Said,
    limit: Option<Duration>,
) -> io::Result<Option<ExitStatus>> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        said.read();
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) => {}
            // A subreaper that waits for everything got it first: the status is lost.
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                return Ok(Some(ExitStatus::from_raw(0)));
            }
            Err(error) => return Err(error),
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Hooks must be named by an absolute path.
pub(crate) fn is_valid(path: &Path) -> bool {
    path.is_absolute()
}
