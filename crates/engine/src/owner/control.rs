//! What is done to a container besides starting and ending it.

use spec::{Kind, ProcessInfo, Signal};
use tokio::sync::oneshot;

use super::Owner;
use crate::attach::Attached;
use crate::config::Size;
use crate::container::{Container, Status};
use crate::error::{Error, StateError};
use crate::request::Streams;
use crate::shim::{self, Shim};

impl Owner {
    /// The shim of a container that runs, paused or not.
    pub(super) fn live(&self) -> Result<&Shim, Error> {
        let live = self.container.status.is_live();
        let shim = self.shim.as_ref().filter(|_| live);
        shim.ok_or_else(|| StateError::NotRunning(self.id().to_owned()).into())
    }

    /// The shim of a container that runs and is not paused.
    pub(super) fn running_shim(&self) -> Result<&Shim, Error> {
        match self.container.status {
            Status::Paused { .. } => Err(StateError::Paused(self.id().to_owned()).into()),
            Status::Restarting => Err(StateError::Restarting(self.id().to_owned()).into()),
            _ => self.live(),
        }
    }

    /// Delivers a signal to the program. A paused one is thawed so that it acts on SIGKILL; one that
    /// waits for its restart stays ended.
    pub(crate) async fn kill(&mut self, signal: Signal) -> Result<(), Error> {
        self.end_by_hand(signal).await;
        if self.container.status == Status::Restarting {
            self.stay_ended().await;
            return Ok(());
        }
        let sent = self.live()?.kill("", signal).await;
        match sent {
            // It ended just now; the news is in the queue.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {
                return Err(StateError::NotRunning(self.id().to_owned()).into());
            }
            sent => sent?,
        }
        self.tell("kill", &[("signal", signal.number().to_string())]);
        if signal == Signal::KILL
            && let Status::Paused { .. } = self.container.status
            && let Err(error) = self.freeze(false).await
        {
            // It may have ended already; if not, whoever waits for its end will say so.
            self.warn("thaw of a killed container", &error);
        }
        Ok(())
    }

    /// Freezes or thaws it.
    pub(crate) async fn freeze(&mut self, frozen: bool) -> Result<(), Error> {
        let id = self.id().to_owned();
        let status = match (self.container.status, frozen) {
            (Status::Running { pid }, true) => Status::Paused { pid },
            (Status::Paused { pid }, false) => Status::Running { pid },
            (Status::Paused { .. }, true) => return Err(StateError::AlreadyPaused(id).into()),
            (Status::Running { .. }, false) => return Err(StateError::NotPaused(id).into()),
            (Status::Restarting, _) => return Err(StateError::Restarting(id).into()),
            _ => return Err(StateError::NotRunning(id).into()),
        };
        match self.live()?.freeze(frozen).await {
            // A signal has thawed it already.
            Err(error) if !frozen && error.kind() == Kind::Conflict => {}
            done => done?,
        }
        self.container.status = status;
        if frozen {
            self.pause_checks();
        } else {
            self.continue_checks();
        }
        self.record();
        self.tell(if frozen { "pause" } else { "unpause" }, &[]);
        Ok(())
    }

    /// Takes a place at its streams, now or at its start.
    pub(crate) async fn attach(&mut self, streams: Streams) -> Result<Attached, Error> {
        if self.container.status == Status::Removing {
            return Err(StateError::Removing(self.id().to_owned()).into());
        }
        let tty = self.container.config.tty;
        let once = self.container.config.stdin_once && !tty;
        let attached = if self.container.status.is_live() {
            self.running_shim()?;
            let socket = self.places.streams.join("attach.sock");
            Attached::open(tty, once, shim::attach(&socket, streams).await?)
        } else {
            let (line, opened) = oneshot::channel();
            self.waiting.retain(|(_, client)| !client.is_closed());
            self.waiting.push((streams, line));
            Attached::later(tty, once, opened)
        };
        self.tell("attach", &[]);
        Ok(attached)
    }

    /// Sets the terminal's size, or that with which it will start.
    pub(crate) async fn resize(&mut self, size: Size) -> Result<(), Error> {
        if self.container.status == Status::Created {
            self.size = Some(size);
            return Ok(());
        }
        let shim = self.live()?;
        // What has no terminal has nothing to resize; Docker does not mind being asked.
        if self.container.config.tty {
            shim.resize("", size).await?;
        }
        let facts = [("height", size.rows.to_string()), ("width", size.columns.to_string())];
        self.tell("resize", &facts);
        Ok(())
    }

    /// Its processes.
    pub(crate) async fn processes(&mut self) -> Result<Vec<ProcessInfo>, Error> {
        let processes = self.live()?.processes().await?;
        self.tell("top", &[]);
        Ok(processes)
    }

    /// Gives it the name `new`, which is reserved for it, and gives the old one back.
    pub(crate) async fn rename(&mut self, new: String) -> Result<(), Error> {
        let old = std::mem::replace(&mut self.container.name, new);
        if let Err(error) = self.record().done().await {
            let new = std::mem::replace(&mut self.container.name, old);
            self.shared.release(&new);
            self.record();
            return Err(error.into());
        }
        self.shared.release(&old);
        self.tell("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// The record, with the execs that are there.
    pub(crate) fn describe(&self) -> Container {
        let mut container = self.container.clone();
        container.execs = self.execs.keys().cloned().collect();
        container
    }
}
