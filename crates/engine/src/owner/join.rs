//! Namespaces that a container joins: the host's, or those of another that runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Owner;
use crate::config::Share;
use crate::container::{Container, Files};
use crate::error::{Error, StateError};

/// What a wall is told to be made of when its processes are not the host's.
const WORKER: &str = "workerPid";

/// Where the namespaces of a container are.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// `None` for the host's.
    pub(super) network: Option<PathBuf>,
    /// `None` for the host's or its own.
    pub(super) pid: Option<PathBuf>,
    /// As for `pid`.
    pub(super) ipc: Option<PathBuf>,
    /// The shared memory that it offers, or that it is offered.
    pub(super) shm: Option<PathBuf>,
    /// Files that it has in place of its own.
    hosts: Vec<(PathBuf, PathBuf)>,
}

impl Owner {
    /// Finds them; who is joined must run.
    pub(super) fn joined(&self) -> Result<Joined, Error> {
        let openings = &self.container.host.openings;
        let mut joined = Joined { network: Some(self.places.netns.clone()), ..Joined::default() };
        let own = &self.container.files;
        match &openings.network {
            Share::Host => {
                joined.network = None;
                joined.hosts = vec![("/etc/hosts".into(), own.hosts.clone())];
            }
            Share::Container(name) => {
                let other = self.donor("network", name)?;
                joined.network = Some(self.shared.places(other.id.as_str()).netns);
                let Files { hosts, resolv_conf, .. } = &other.files;
                joined.hosts = vec![
                    (hosts.clone(), own.hosts.clone()),
                    (resolv_conf.clone(), own.resolv_conf.clone()),
                ];
            }
            _ => {}
        }
        if let Share::Container(name) = &openings.pid {
            let pid = self.donor("PID", name)?.status.pid().map_or(0, spec::Pid::raw);
            joined.pid = Some(Path::new("/proc").join(pid.to_string()).join("ns/pid"));
        }
        match &openings.ipc {
            Share::Shareable => joined.shm = Some(self.places.shm.clone()),
            Share::Container(name) => {
                let other = self.donor("IPC", name)?;
                if other.host.openings.ipc != Share::Shareable {
                    return Err(StateError::JoinPrivate(other.id.to_string()).into());
                }
                let pid = other.status.pid().map_or(0, spec::Pid::raw);
                joined.ipc = Some(Path::new("/proc").join(pid.to_string()).join("ns/ipc"));
                joined.shm = Some(self.shared.places(other.id.as_str()).shm);
            }
            _ => {}
        }
        Ok(joined)
    }

    fn donor(&self, what: &'static str, name: &str) -> Result<Arc<Container>, Error> {
        let other = self.shared.find(name)?.now().container;
        if !other.status.is_live() {
            let id = other.id.to_string();
            return Err(match what {
                "network" => StateError::JoinStopped(what, id),
                _ => StateError::JoinEnded(what, id),
            }
            .into());
        }
        if other.wall.as_ref().is_some_and(|wall| wall.contains_key(WORKER)) {
            let problem = format!("the {what} of container {name} is behind the wall of a VM");
            return Err(Error::Unsupported { field: "HostConfig", problem });
        }
        Ok(other)
    }
}

impl Joined {
    /// Puts the files of whose network it is in place of its own. Blocks.
    pub(super) fn copy_files(&self) -> Result<(), Error> {
        for (from, to) in &self.hosts {
            if from.exists() {
                std::fs::copy(from, to).map_err(|source| Error::File {
                    action: "copy",
                    path: from.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }
}
