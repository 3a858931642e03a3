//! Programs that the configuration wants run at points of a container's life.
//!
//! Spec: OCI runtime-spec, config.md "POSIX-platform Hooks", runtime.md "State".

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

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

/// Runs the hooks one after the other, up to the first that fails.
pub(crate) fn run_all(kind: &'static str, hooks: &[Hook], state: &State) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let input = serde_json::to_vec(state).unwrap_or_default();
    hooks.iter().try_for_each(|hook| run(kind, hook, &input))
}

fn run(kind: &'static str, hook: &Hook, input: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Run { kind, path: hook.path().clone(), source };
    let mut child = command(hook).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input; the state is far smaller than a pipe.
        let _ = stdin.write_all(input);
    }
    let stderr = child.stderr.take();
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    let Some(status) = wait(&mut child, limit.map(Duration::from_secs)).map_err(failed)? else {
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
    let mut output = String::new();
    if let Some(stderr) = stderr {
        let _ = stderr.take(4096).read_to_string(&mut output);
    }
    let output = match output.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    };
    Err(Error::Status { kind, path: hook.path().clone(), status, output })
}

fn command(hook: &Hook) -> Command {
    let args = hook.args().as_deref().unwrap_or_default();
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits for the end; `None` when `limit` passed first.
fn wait(child: &mut Child, limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
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
