//! Other processes in a running container.
//!
//! ```text
//!   created --start--> running --end--> exited, remembered until there are too many
//! ```

use std::sync::Arc;

use spec::{Exit, Kind, Signal};
use tokio::sync::watch;

use super::Owner;
use super::start::blocking;
use crate::attach::Attached;
use crate::bundle::{self, process};
use crate::config::Size;
use crate::error::{Error, StateError};
use crate::names;
use crate::request::{Exec, ExecCreate, ExecStart, ExecState};
use crate::shim::{self, Shim};

/// How many ended execs of a container are remembered, for clients that ask for an exit code.
const REMEMBERED: usize = 64;

/// An exec of this container.
#[derive(Debug)]
pub(super) struct Entry {
    request: ExecCreate,
    state: watch::Sender<ExecState>,
    /// Counts up, so that the oldest is forgotten first.
    number: u64,
}

impl Owner {
    /// Prepares an exec; gives its id. A user of its own must be known to the container by now.
    pub(crate) async fn exec_create(&mut self, request: ExecCreate) -> Result<String, Error> {
        self.running_shim()?;
        if request.cmd.first().is_none_or(String::is_empty) {
            let problem = "no exec command specified".to_owned();
            return Err(Error::Invalid { field: "Cmd", problem });
        }
        if !request.user.is_empty() {
            let snapshot = self.shared.images.snapshot(&self.container.id)?;
            let user = request.user.clone();
            blocking(move || Ok(bundle::accounts(&snapshot)?.resolve(&user, &[])?)).await?;
        }
        self.forget_old_execs();
        let id = names::fresh_id();
        self.tell(&format!("exec_create: {}", request.cmd.join(" ")), &[("execID", id.clone())]);
        let number = self.execs.values().map(|entry| entry.number + 1).max().unwrap_or_default();
        let state = watch::channel(ExecState::Created).0;
        self.execs.insert(id.clone(), Entry { request, state, number });
        self.shared.insert_exec(&id, self.id());
        Ok(id)
    }

    /// Starts it, and opens a line to its streams before, unless `detach`.
    pub(crate) async fn exec_start(
        &mut self,
        id: String,
        how: ExecStart,
    ) -> Result<Option<Attached>, Error> {
        self.running_shim()?;
        let entry = self.execs.get(&id).ok_or_else(|| Error::NoSuchExec(id.clone()))?;
        if *entry.state.borrow() != ExecState::Created {
            return Err(StateError::ExecStarted(id).into());
        }
        let request = entry.request.clone();
        entry.state.send_replace(ExecState::Running { pid: 0 });
        let started = self.exec_launch(&id, &request, how).await;
        if let Err(error) = &started {
            let code = match error.kind() {
                Kind::CommandNotFound => 127,
                Kind::CommandNotExecutable => 126,
                _ => 128,
            };
            self.set_exec(&id, ExecState::Exited { code });
        }
        started
    }

    async fn exec_launch(
        &mut self,
        id: &str,
        request: &ExecCreate,
        how: ExecStart,
    ) -> Result<Option<Attached>, Error> {
        let shim = self.running_shim()?.clone();
        let size = how.console_size.or(request.console_size);
        let process = self.exec_process(request, size).await?;
        let name = shim_name(id);
        let stdin = request.streams.stdin && !how.detach;
        let made = shim.exec(name, &process, &self.places.streams, stdin).await;
        made.map_err(|error| exec_refused(request, &error))?;
        let opened = self.exec_open(&shim, id, request, how).await;
        if opened.is_err()
            && let Err(error) = shim.delete(name).await
        {
            self.warn("delete of an exec", &error);
        }
        opened
    }

    /// Opens the line to an exec that waits at its gate, then the gate.
    async fn exec_open(
        &mut self,
        shim: &Shim,
        id: &str,
        request: &ExecCreate,
        how: ExecStart,
    ) -> Result<Option<Attached>, Error> {
        let name = shim_name(id);
        let line = if how.detach {
            None
        } else {
            let socket = self.places.streams.join(format!("exec-{name}.sock"));
            Some(shim::attach(&socket, request.streams).await?)
        };
        if let Some(gate) = how.gate
            && gate.await.is_err()
        {
            // The client has gone: it can still be started by another.
            shim.delete(name).await?;
            self.set_exec(id, ExecState::Created);
            return Ok(None);
        }
        let started = shim.start(name).await.map_err(|error| exec_refused(request, &error))?;
        self.set_exec(id, ExecState::Running { pid: started.map_or(0, spec::Pid::raw) });
        self.watch_exec(shim, id);
        self.tell(&format!("exec_start: {}", request.cmd.join(" ")), &[("execID", id.to_owned())]);
        let state = self.execs.get(id).map(|entry| entry.state.subscribe());
        let attached =
            |(line, state)| Attached::open(request.tty, !request.tty, line).of_exec(state);
        Ok(line.zip(state).map(attached))
    }

    /// Its OCI `process`, in the user's terms of the image.
    async fn exec_process(
        &self,
        request: &ExecCreate,
        size: Option<Size>,
    ) -> Result<serde_json::Value, Error> {
        let snapshot = self.shared.images.snapshot(&self.container.id)?;
        let (container, request) = (self.container.clone(), request.clone());
        let links = self.shared.link_variables(&container);
        blocking(move || {
            let user = match request.user.as_str() {
                "" => &container.config.user,
                user => user,
            };
            let identity = bundle::accounts(&snapshot)?.resolve(user, &container.host.group_add)?;
            process::of_exec(&container, &request, &identity, size, &links)
        })
        .await
    }

    fn watch_exec(&self, shim: &Shim, id: &str) {
        let (shim, id, queue) = (shim.clone(), id.to_owned(), self.queue.clone());
        tokio::spawn(async move {
            let outcome = shim.wait(shim_name(&id)).await;
            Self::later(&queue, move |owner| Box::pin(owner.exec_ended(id, outcome)));
        });
    }

    async fn exec_ended(&mut self, id: String, outcome: Result<Exit, shim::Error>) {
        let code = outcome.map_or_else(|_| Exit::by(Signal::KILL).code, |exit| exit.code);
        self.tell("exec_die", &[("execID", id.clone()), ("exitCode", code.to_string())]);
        self.set_exec(&id, ExecState::Exited { code });
        if let Some(shim) = self.shim.clone() {
            match shim.delete(shim_name(&id)).await {
                Err(error) if error.kind() != Kind::NotFound => {
                    self.warn("delete of an exec", &error);
                }
                _ => {}
            }
        }
    }

    /// What became of it.
    pub(crate) fn exec_inspect(&self, id: &str) -> Result<Exec, Error> {
        let entry = self.execs.get(id).ok_or_else(|| Error::NoSuchExec(id.to_owned()))?;
        let state = *entry.state.borrow();
        Ok(Exec {
            id: id.to_owned(),
            container: self.id().to_owned(),
            request: entry.request.clone(),
            state,
        })
    }

    /// Sets its terminal's size.
    pub(crate) async fn exec_resize(&mut self, id: String, size: Size) -> Result<(), Error> {
        let entry = self.execs.get(&id).ok_or_else(|| Error::NoSuchExec(id.clone()))?;
        if !matches!(*entry.state.borrow(), ExecState::Running { .. }) {
            return Err(StateError::ExecNotRunning(id).into());
        }
        Ok(self.live()?.resize(shim_name(&id), size).await?)
    }

    /// Delivers a signal to it.
    pub(super) async fn exec_kill(&mut self, id: &str, signal: Signal) -> Result<(), Error> {
        Ok(self.live()?.kill(shim_name(id), signal).await?)
    }

    /// Remembers it no more.
    pub(super) fn exec_forget(&mut self, id: &str) {
        self.execs.remove(id);
        self.shared.forget_exec(id);
    }

    fn set_exec(&mut self, id: &str, state: ExecState) {
        if let Some(entry) = self.execs.get(id) {
            entry.state.send_replace(state);
        }
    }

    /// With the container all its execs have ended.
    pub(super) fn end_execs(&mut self) {
        let code = Exit::by(Signal::KILL).code;
        for entry in self.execs.values() {
            entry.state.send_if_modified(|state| {
                let running = matches!(state, ExecState::Running { .. });
                if running {
                    *state = ExecState::Exited { code };
                }
                running
            });
        }
    }

    fn forget_old_execs(&mut self) {
        let ended = |entry: &&Entry| matches!(*entry.state.borrow(), ExecState::Exited { .. });
        let mut numbers: Vec<_> = self.execs.values().filter(ended).map(|e| e.number).collect();
        numbers.sort_unstable();
        let Some(excess) = numbers.len().checked_sub(REMEMBERED) else { return };
        let old: std::collections::HashSet<_> = numbers.into_iter().take(excess + 1).collect();
        let shared = Arc::clone(&self.shared);
        self.execs.retain(|id, entry| {
            let keep = !old.contains(&entry.number);
            if !keep {
                shared.forget_exec(id);
            }
            keep
        });
    }
}

/// The name under which the shim knows an exec: short, as it becomes part of a socket's path.
fn shim_name(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

/// As for a container that does not start: clients read the exit code from the text.
fn exec_refused(request: &ExecCreate, error: &shim::Error) -> Error {
    let (kind, message) = (error.kind(), spec::chain(error));
    let known = match kind {
        Kind::CommandNotFound => "executable file not found in $PATH",
        Kind::CommandNotExecutable => "permission denied",
        _ => return Error::Exec { message, kind },
    };
    if message.contains(known) {
        return Error::Exec { message, kind };
    }
    let path = request.cmd.first().map_or("", String::as_str);
    Error::Exec { message: format!("exec: {path:?}: {known}: {message}"), kind }
}
