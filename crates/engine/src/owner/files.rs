//! The way to a container's files.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::Owner;
use crate::container::Status;
use crate::error::{Error, StateError};
use crate::files::root::{Root, Still};
use crate::shim::TaskState;

impl Owner {
    /// Its root: the running program's, or its layers and volumes put together.
    pub(crate) async fn root(&mut self) -> Result<Root, Error> {
        self.reachable()?;
        if self.container.status.is_live() {
            return self.live_root().await.map(Root::Live);
        }
        if self.container.status == Status::Removing {
            return Err(StateError::Removing(self.id().to_owned()).into());
        }
        Ok(Root::Still(Still {
            snapshot: self.shared.images.snapshot(&self.container.id)?,
            target: self.places.file("rootfs"),
            container: Arc::new(self.container.clone()),
            shared: Arc::clone(&self.shared),
            _guard: Arc::clone(&self.still).read_owned().await,
        }))
    }

    /// Refuses where what the container writes is out of the engine's reach.
    pub(crate) fn reachable(&self) -> Result<(), Error> {
        if self.container.isolation.files_on_host() {
            return Ok(());
        }
        Err(Error::Unsupported {
            field: "access to the container's files",
            problem: "they lie on a disk inside its VM; use exec and pipes, or process isolation"
                .to_owned(),
        })
    }

    /// The root of the program that runs. It is its root indeed: the shim, which alone can reap it, says
    /// afterwards that it still runs, so nothing else had its number when it was opened.
    async fn live_root(&self) -> Result<OwnedFd, Error> {
        let gone = || Error::from(StateError::NotRunning(self.id().to_owned()));
        let pid = self.container.status.pid().ok_or_else(gone)?;
        let path = format!("/proc/{}/root", pid.raw());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path.as_str(), flags, Mode::empty()).map_err(|error| {
            Error::File { action: "open", path: path.clone().into(), source: error.into() }
        })?;
        match self.live()?.state("").await? {
            TaskState::Running(now) | TaskState::Paused(now)
                if now.is_none_or(|now| now == pid) =>
            {
                Ok(root)
            }
            _ => Err(gone()),
        }
    }
}
