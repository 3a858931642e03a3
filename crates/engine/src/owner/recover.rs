//! Taking up a container that an earlier engine left.

use std::time::SystemTime;

use spec::{Exit, Signal};

use super::Owner;
use crate::container::Status;
use crate::error::Error;
use crate::shim::{Shim, TaskState};

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
            Ok(shim) => shim.state().await.map(|state| (shim, state)),
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
                    self.tear_down().await;
                    self.record();
                }
            }
        }
    }

    async fn resume(&mut self, shim: &Shim, state: TaskState) {
        let before = self.container.status.pid();
        let status = match state {
            TaskState::Stopped(exit) => return self.finish(exit, Status::Exited).await,
            TaskState::Running(pid) => pid.or(before).map(|pid| Status::Running { pid }),
            TaskState::Paused(pid) => pid.or(before).map(|pid| Status::Paused { pid }),
            // The engine died in its start, which nobody was told the success of.
            TaskState::Created => None,
        };
        let Some(status) = status else {
            self.tear_down().await;
            self.record();
            return;
        };
        self.container.status = status;
        self.container.started.get_or_insert_with(SystemTime::now);
        self.read_wall();
        self.watch_end(shim);
        if let Status::Running { .. } = status {
            self.continue_checks();
        }
        self.record();
        tracing::info!(container = %self.container.id, "container taken up");
    }

    /// What a crash in the middle of a start or end may have left.
    async fn free_leftovers(&mut self) {
        if self.places.file("shim.json").exists() {
            self.bury().await;
        }
        self.free_host().await;
        if self.container.status.is_live() {
            self.finish(Exit::by(Signal::KILL), Status::Exited).await;
        }
    }
}
