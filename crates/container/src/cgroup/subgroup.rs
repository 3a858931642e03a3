//! Cgroups beneath the container's own, made by whoever is in it, for an exec to run in.

use std::io;
use std::path::{Component, Path};

use super::{Error, View};
use crate::exec::Subgroup;

/// What a caller passes them by.
const FIELD: &str = "--cgroup";

impl View {
    /// The same cgroups, those that `list` names replaced by the ones beneath.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a path that leads out and a controller that the container has not,
    /// [`Error::File`] for a cgroup that does not exist.
    pub(crate) fn beneath(&self, list: &[Subgroup]) -> Result<Self, Error> {
        let mut view = self.clone();
        for group in list {
            view.descend(group)?;
        }
        Ok(view)
    }

    fn descend(&mut self, group: &Subgroup) -> Result<(), Error> {
        let invalid = |reason| Err(Error::Invalid { field: FIELD, reason });
        let path = group.path.strip_prefix("/").unwrap_or(&group.path);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return invalid(format!(" {} is not a sub cgroup path", group.path.display()));
        }
        let directories = match (self, &group.controller) {
            (Self::V1(list), None) => list.iter_mut().map(|one| &mut one.directory).collect(),
            (Self::V1(list), Some(name)) => {
                let has = |one: &&mut super::Hierarchy| one.controllers.contains(name);
                list.iter_mut().filter(has).map(|one| &mut one.directory).take(1).collect()
            }
            (Self::V2 { directory, .. }, None) => vec![directory],
            (Self::V2 { .. }, Some(_)) => Vec::new(),
        };
        if directories.is_empty() {
            return invalid(format!("unknown controller {:?}", group.controller));
        }
        for directory in directories {
            // Two controllers of one hierarchy name the same cgroup twice.
            if !directory.ends_with(path) {
                directory.push(path);
            }
            exists(&directory.join("cgroup.procs"))?;
        }
        Ok(())
    }
}

fn exists(file: &Path) -> Result<(), Error> {
    match file.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::file("adding pid to", file)(io::ErrorKind::InvalidData.into())),
        Err(error) => Err(Error::file("adding pid to", file)(error)),
    }
}
