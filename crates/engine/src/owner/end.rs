//! Ending: how a run's end is recorded, and how a container goes away.

use std::sync::Arc;

use spec::{Exit, Signal};

use super::{Owner, blocking};
use crate::container::Status;
use crate::error::{Error, StateError};
use crate::shim;

impl Owner {
    /// Records the end of run number `run`; a shim that is gone has taken the program with it.
    pub(super) async fn ended(&mut self, run: u64, outcome: Result<Exit, shim::Error>) {
        if run != self.run {
            return;
        }
        let (exit, status) = match outcome {
            Ok(exit) => (exit, Status::Exited),
            Err(error) => {
                self.warn("wait", &error);
                self.shim = None;
                let exit = self.bury().await.unwrap_or_else(|| Exit::by(Signal::KILL));
                (exit, Status::Dead)
            }
        };
        self.finish(exit, status).await;
    }

    /// Frees what the run held and records how it ended.
    pub(super) async fn finish(&mut self, exit: Exit, status: Status) {
        self.run += 1;
        self.end_checks();
        self.container.exit_code = exit.code;
        self.container.finished = Some(exit.at);
        self.container.status = status;
        self.container.error = self.fall(exit);
        self.container.oom_killed = self.ran_out_of_memory().await;
        if self.container.oom_killed {
            self.tell("oom", &[]);
        }
        let facts = [
            ("exitCode", exit.code.to_string()),
            ("execDuration", self.ran_for().as_secs().to_string()),
        ];
        self.tell("die", &facts);
        let restarts = self.restarts();
        if restarts {
            self.container.status = Status::Restarting;
        }
        let goes = self.container.host.auto_remove && !self.keep && !restarts;
        if !goes {
            // Before the shim forgets it: an end that anyone saw outlives the engine.
            self.on_disk(self.shared.store.put(&self.container)).await;
        }
        self.tear_down().await;
        self.end_execs();
        self.waiting.clear();
        tracing::info!(container = %self.container.id, code = exit.code, "container ended");
        if restarts {
            self.restart_later();
        } else if goes {
            // Its end is seen at once, its removal when it is done; the disk need not know.
            self.show(1);
            if let Err(error) = self.remove(true).await {
                self.warn("removal", &error);
            }
        } else {
            self.show(1);
            self.shared.store.put(&self.container);
        }
        self.shared.introduce(&self.container).await;
    }

    /// Why its wall came down, if that ended it: such an end looks like one by a signal.
    fn fall(&mut self, exit: Exit) -> String {
        if exit.code == Exit::by(Signal::KILL).code {
            self.read_wall();
        }
        let told = self.container.wall.as_ref().and_then(|wall| wall.get("ended")?.as_str());
        told.unwrap_or_default().to_owned()
    }

    /// Whether the kernel killed a process of the run that just ended. Asked where it can have: a limit
    /// was set, or all memory of a VM was used and the program killed for it.
    async fn ran_out_of_memory(&self) -> bool {
        let (limit, code) = (self.container.host.resources.memory, self.container.exit_code);
        let Some(shim) = &self.shim else { return false };
        let can_have = limit.is_some() || code == Exit::by(Signal::KILL).code;
        if !can_have {
            return false;
        }
        match shim.usage().await {
            Ok(usage) => usage.memory.killed > 0,
            Err(error) => {
                self.warn("usage at its end", &error);
                false
            }
        }
    }

    /// Keeps an `auto_remove` container over its next end, or does so no more.
    pub(crate) fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Removes it unless it runs; with `volumes` those that nobody named as well.
    pub(crate) async fn remove(&mut self, volumes: bool) -> Result<(), Error> {
        let id = self.id().to_owned();
        match self.container.status {
            Status::Running { .. } => return Err(StateError::RemoveRunning(id).into()),
            Status::Paused { .. } => return Err(StateError::RemovePaused(id).into()),
            Status::Removing => return Err(StateError::Removing(id).into()),
            Status::Restarting => return Err(StateError::RemoveRestarting(id).into()),
            Status::Created | Status::Exited | Status::Dead => {}
        }
        drop(Arc::clone(&self.still).write_owned().await);
        let before = self.container.status;
        self.container.status = Status::Removing;
        self.show(0);
        match self.take_away(volumes).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // Nothing is lost: it can be tried again.
                self.container.status = before;
                self.container.error = spec::chain(&error);
                self.record();
                Err(error)
            }
        }
    }

    /// Removes the record, then everything it has on disk: what a crash leaves in between has no
    /// record, and is collected by the next start.
    async fn take_away(&mut self, volumes: bool) -> Result<(), Error> {
        self.shared.store.delete(self.id()).done().await?;
        if let Err(error) = self.shared.images.release(&self.container.id).await {
            self.warn("removal of its directory", &error);
        }
        if !self.container.mounts.is_empty() {
            let (shared, container) = (Arc::clone(&self.shared), self.container.clone());
            blocking(move || {
                shared.drop_volumes(&container, volumes);
                Ok(())
            })
            .await?;
        }
        self.waiting.clear();
        self.shared.forget(&self.container);
        self.tell("destroy", &[]);
        self.life.send_modify(|life| life.gone = true);
        Ok(())
    }
}
