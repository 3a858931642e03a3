//! Taking up a container that an earlier engine left.

use std::time::SystemTime;

use spec::{Exit, Signal};

use super::Owner;
use super::start::WALL;
use crate::container::Status;
use crate::error::Error;
use crate::shim::{self, Shim, TaskState};

impl Owner {
    /// Finds out what became of it since its record was written.
    pub(crate) async fn take_up(&mut self) -> Result<(), Error> {
        match self.container.shim.clone() {
            Some(address) => self.reconnect(&address).await,
            None => self.free_leftovers().await,
        }
        Ok(())
    }

    async fn reconnect(&mut self, address: &str) {
        let found = match Shim::connect(self.id(), address).await {
            Ok(shim) => shim.state("").await.map(|state| (shim, state)),
            Err(error) => Err(error),
        };
        match found {
            Ok((shim, state)) => {
                self.shim = Some(shim.clone());
                self.resume(&shim, state).await;
            }
            Err(error) => {
                tracing::warn!(container = %self.container.id, error = %spec::chain(&error), "shim is gone");
                let exit = self.bury().await.unwrap_or_else(|| Exit::by(Signal::KILL));
                if self.container.status.is_live() {
                    self.finish(exit, Status::Exited).await;
                } else {
                    self.free_run().await;
                }
            }
        }
    }

    async fn resume(&mut self, shim: &Shim, state: TaskState) {
        let before = self.container.status.pid();
        let status = match state {
            // The engine died while it freed what the run had held.
            TaskState::Stopped(exit) if self.container.finished == Some(exit.at) => None,
            // The engine died in its start, which nobody was told the success of.
            TaskState::Created => None,
            TaskState::Stopped(exit) => {
                self.began_unseen();
                return self.finish(exit, Status::Exited).await;
            }
            TaskState::Running(pid) => pid.or(before).map(|pid| Status::Running { pid }),
            TaskState::Paused(pid) => pid.or(before).map(|pid| Status::Paused { pid }),
        };
        let Some(status) = status else { return self.free_run().await };
        self.began_unseen();
        self.container.status = status;
        self.read_wall();
        self.end_waiting_execs(shim).await;
        self.serve_names().await;
        self.watch_end(shim);
        if let Status::Running { .. } = status {
            self.continue_checks();
        }
        self.record();
        tracing::info!(container = %self.container.id, "container taken up");
    }

    /// Records the begin of a run whose start the engine did not live to record: when its shim told of
    /// the wall, which is the last thing before the container is made.
    fn began_unseen(&mut self) {
        if self.container.status.is_live() {
            return;
        }
        let told = std::fs::metadata(self.places.file(WALL)).and_then(|file| file.modified());
        self.container.started = Some(told.unwrap_or_else(|_| SystemTime::now()));
        self.container.exit_code = 0;
        self.container.oom_killed = false;
        self.container.error.clear();
    }

    /// Ends the execs that an engine made and did not live to start. Those that run go on, as nobody
    /// knows any more whether they are to.
    async fn end_waiting_execs(&self, shim: &Shim) {
        let entries = std::fs::read_dir(&self.places.streams).into_iter().flatten().flatten();
        for file in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let Some(exec) = file.strip_prefix("exec-").and_then(|name| name.strip_suffix(".sock"))
            else {
                continue;
            };
            if let Ok(TaskState::Created) = shim.state(exec).await
                && let Err(error) = shim.delete(exec).await
            {
                self.warn("delete of an exec", &error);
            }
        }
    }

    /// Frees what is left of a run whose end is on record, or that never began.
    async fn free_run(&mut self) {
        self.tear_down().await;
        self.record();
    }

    /// What a crash in the middle of a start or end may have left.
    async fn free_leftovers(&mut self) {
        if shim::left(&self.places.bundle) {
            self.bury().await;
        }
        self.free_host().await;
        if self.container.status.is_live() {
            self.finish(Exit::by(Signal::KILL), Status::Exited).await;
        }
    }
}
