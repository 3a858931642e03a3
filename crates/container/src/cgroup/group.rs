//! Control groups for processes that stand for a container of another kernel.

use std::fs;
use std::path::Path;

use spec::oci::runtime::LinuxResources;

use super::{Error, View, merge};

/// Control groups with limits. Dropping it removes them, once their members have ended.
#[derive(Debug)]
pub struct Group {
    view: View,
    limits: LinuxResources,
}

impl Group {
    /// Makes those at `path` from the root of each hierarchy or, where it is not absolute (systemd's slices are
    /// not), `id` beneath the caller's own.
    ///
    /// # Errors
    ///
    /// As for a container; nothing is left then.
    pub fn make(path: Option<&Path>, id: &str, limits: LinuxResources) -> Result<Self, Error> {
        let view = plan(path, id, Some(&limits))?;
        let group = Self { view, limits };
        group.view.make(Some(&group.limits), None)?;
        Ok(group)
    }

    /// Moves a process in.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn admit(&self, process: i32) -> Result<(), Error> {
        for directory in self.view.directories() {
            let file = directory.join("cgroup.procs");
            fs::write(&file, process.to_string()).map_err(Error::file("write", file))?;
        }
        Ok(())
    }

    /// Sets limits; what is left out stays as it is.
    ///
    /// # Errors
    ///
    /// As for a container; then all is as far as possible as it was.
    pub fn limit(&mut self, limits: &LinuxResources) -> Result<(), Error> {
        self.limits = self.view.update(Some(&self.limits), limits)?;
        Ok(())
    }

    /// Removes those that a killed program made.
    ///
    /// # Errors
    ///
    /// [`Error::File`]; there being none is not an error.
    pub fn clean(path: Option<&Path>, id: &str) -> Result<(), Error> {
        plan(path, id, None)?.remove()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // There is nobody to tell; who makes them again is told.
        let _ = self.view.remove();
    }
}

/// The limits that there are after a change was made to `old` ones.
pub fn changed(old: &LinuxResources, change: &LinuxResources) -> LinuxResources {
    merge::merged(Some(old), change)
}

fn plan(path: Option<&Path>, id: &str, limits: Option<&LinuxResources>) -> Result<View, Error> {
    View::plan(path.filter(|path| path.is_absolute()), id, limits)
}
