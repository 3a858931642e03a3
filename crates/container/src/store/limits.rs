//! Limits of a container that runs, and what it uses of them.

use spec::Usage;
use spec::oci::runtime as oci;

use super::{Container, Status};
use crate::cgroup::Stats;
use crate::oom::Watch;
use crate::{Error, check, usage};

impl Container {
    /// Changes limits; what `change` leaves out stays as it is. When one cannot be set none is, as
    /// far as the kernel lets them be set back. [`spec::Kind::Conflict`] for a stopped container.
    pub fn update(&mut self, change: &oci::LinuxResources) -> Result<(), Error> {
        let _lock = self.lock()?;
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => {}
            status => return Err(Error::State { action: "update", status }),
        }
        let old = self.record.resources.as_ref();
        if let Some(unit) = &self.record.unit {
            let devices = change.devices().is_some()
                && change.devices().as_ref() != old.and_then(|old| old.devices().as_ref());
            unit.update(&crate::cgroup::completed(old, change), devices)?;
        }
        let merged = self.record.cgroup.update(self.record.resources.as_ref(), change)?;
        self.record.resources = Some(merged);
        self.record.write(&self.directory)
    }

    /// Changes its shares of caches and memory bandwidth: [`spec::Kind::Invalid`] when it was made
    /// without `linux.intelRdt`, and so is in nobody's group or in all's.
    pub fn update_rdt(&self, change: &oci::LinuxIntelRdt) -> Result<(), Error> {
        let group = self.record.rdt.as_ref().ok_or_else(|| {
            let reason = "the container was made without it, and is in no group that could change";
            check::Error::invalid("linux.intelRdt", reason)
        })?;
        group.change(change)
    }

    /// What it uses now. [`spec::Kind::Conflict`] for a stopped container.
    pub fn stats(&self) -> Result<Stats, Error> {
        match self.status()? {
            status @ (Status::Stopped | Status::Creating) => {
                Err(Error::State { action: "read the usage of", status })
            }
            _ => Ok(self.record.cgroup.stats()?),
        }
    }

    /// What it uses now beside what the system does, as an engine tells it. Of a stopped container what
    /// its cgroups still count.
    pub fn usage(&self) -> Result<Usage, Error> {
        Ok(usage::of(self.record.cgroup.stats()?))
    }

    /// A watch over its memory. [`spec::Kind::Conflict`] for a stopped container.
    pub fn watch_memory(&self) -> Result<Watch, Error> {
        let init = self.init_pidfd()?.ok_or(Error::NotRunning)?;
        Ok(self.record.cgroup.watch(init)?)
    }
}
