//! Suspending a container's processes.

use spec::annotation::PAUSE;

use super::{Container, Status};
use crate::Error;

impl Container {
    /// Freezes every process; returns when all are frozen, and have given back memory where the
    /// configuration says so. One that cannot is not paused.
    pub fn pause(&self) -> Result<(), Error> {
        match self.status()? {
            Status::Created | Status::Running => {}
            status => return Err(Error::State { action: "pause", status }),
        }
        let cgroup = &self.record.cgroup;
        cgroup.freeze(true)?;
        if self.record.annotations.contains_key(PAUSE) {
            cgroup.reclaim().or_else(|error| cgroup.freeze(false).and(Err(error)))?;
        }
        Ok(())
    }

    /// Thaws every process.
    pub fn resume(&self) -> Result<(), Error> {
        match self.status()? {
            Status::Paused => Ok(self.record.cgroup.freeze(false)?),
            status => Err(Error::State { action: "resume", status }),
        }
    }
}
