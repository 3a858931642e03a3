//! Running again: by its policy after an end, and with the engine's start.

use std::time::{Duration, SystemTime};

use spec::Signal;

use super::Owner;
use crate::container::Status;
use crate::error::Error;
use crate::restart::{self, Ending, RestartPolicy};

impl Owner {
    /// A client starts it: what went before counts no more.
    pub(super) fn start_counting(&mut self) {
        self.container.restarts = 0;
        self.container.stopped_by_hand = false;
        self.waited = None;
    }

    /// Notes that a client ends it, so that it stays ended. As with Docker every signal is meant so,
    /// unless the container names the signal that stops it.
    pub(super) async fn end_by_hand(&mut self, signal: Signal) {
        let meant = signal == Signal::KILL
            || self.container.config.stop_signal.is_none_or(|stop| stop == signal);
        if meant && self.container.status.is_up() && !self.container.stopped_by_hand {
            self.container.stopped_by_hand = true;
            if self.container.host.restart != RestartPolicy::No {
                self.on_disk(self.record()).await;
            }
        }
    }

    /// Ends the wait for its restart without one.
    pub(super) async fn stay_ended(&mut self) {
        self.run += 1;
        self.container.status = Status::Exited;
        self.on_disk(self.record()).await;
    }

    /// How long the run that ended was.
    pub(super) fn ran_for(&self) -> Duration {
        let run = self.container.started.zip(self.container.finished);
        run.and_then(|(from, to)| to.duration_since(from).ok()).unwrap_or_default()
    }

    /// Whether the run that ended is followed by another.
    pub(super) fn restarts(&self) -> bool {
        // A client that restarts it starts it itself.
        !self.keep && self.container.host.restart.restarts(self.ending())
    }

    fn ending(&self) -> Ending {
        Ending {
            code: self.container.exit_code,
            by_hand: self.container.stopped_by_hand,
            restarts: self.container.restarts,
        }
    }

    /// Shows the end of the run, and starts the next after a while. Its status says so already.
    pub(super) fn restart_later(&mut self) {
        let wait = restart::wait_after(self.ran_for(), self.waited);
        self.waited = Some(wait);
        self.show(1);
        self.shared.store.put(&self.container);
        self.restart_after(wait);
    }

    /// Starts a container that waits for its restart, unless it stopped waiting.
    fn restart_after(&self, wait: Duration) {
        let (run, queue) = (self.run, self.queue.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            Self::later(&queue, move |owner| Box::pin(owner.restart_now(run)));
        });
    }

    async fn restart_now(&mut self, run: u64) {
        if run != self.run || self.container.status != Status::Restarting {
            return;
        }
        self.container.restarts += 1;
        // What it is if it does not start.
        self.container.status = Status::Exited;
        if let Err(error) = self.try_launch().await {
            self.warn("restart", &error);
        }
    }

    /// Starts it again if the engine's start is a reason to.
    pub(crate) async fn resume_by_policy(&mut self) -> Result<(), Error> {
        let ended = match self.container.status {
            Status::Restarting => true,
            Status::Exited | Status::Dead => self.container.started.is_some(),
            _ => false,
        };
        if !ended || !self.container.host.restart.resumes(self.ending()) {
            if self.container.status == Status::Restarting {
                self.stay_ended().await;
            }
            return Ok(());
        }
        self.container.status = Status::Restarting;
        self.container.finished.get_or_insert_with(SystemTime::now);
        self.record();
        let run = self.run;
        self.restart_now(run).await;
        Ok(())
    }
}
