//! Namespaces that a container joins: the host's, or those of another that runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spec::ContainerId;

use super::Owner;
use crate::config::Share;
use crate::container::{Container, Files};
use crate::error::{Error, StateError};

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
    /// The VM that it is in together with others; `None` for one that shares the host's kernel or has a VM
    /// of its own.
    pub(super) vm: Option<SharedVm>,
    /// Files that it has in place of its own.
    hosts: Vec<(PathBuf, PathBuf)>,
}

/// Another container's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedVm {
    /// Whose, by the first of its namespaces that is joined.
    pub(crate) of: ContainerId,
    /// Where its shim listens.
    pub(crate) address: String,
    /// Which namespaces in it are joined, and whose they are.
    pub(crate) namespaces: Vec<(&'static str, ContainerId)>,
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
                joined.enter(&other, "network")?;
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
            let other = self.donor("PID", name)?;
            joined.enter(&other, "pid")?;
            let pid = other.status.pid().map_or(0, spec::Pid::raw);
            joined.pid = Some(Path::new("/proc").join(pid.to_string()).join("ns/pid"));
        }
        match &openings.ipc {
            // In a VM it is the guest's, which those who join find there.
            Share::Shareable if self.container.isolation.shares_kernel() => {
                joined.shm = Some(self.places.shm.clone());
            }
            Share::Container(name) => {
                let other = self.donor("IPC", name)?;
                if other.host.openings.ipc != Share::Shareable {
                    return Err(StateError::JoinPrivate(other.id.to_string()).into());
                }
                let pid = other.status.pid().map_or(0, spec::Pid::raw);
                joined.ipc = Some(Path::new("/proc").join(pid.to_string()).join("ns/ipc"));
                joined.enter(&other, "ipc")?;
                if joined.vm.is_none() {
                    joined.shm = Some(self.shared.places(other.id.as_str()).shm);
                }
            }
            _ => {}
        }
        if joined.vm.is_some()
            && openings.network == Share::Own
            && !self.container.host.attachments.is_empty()
        {
            let problem = "a VM has one network: a container in another's VM joins that \
                           (--network container:NAME) or has none (--network none)";
            let field = "HostConfig.NetworkMode";
            return Err(Error::Unsupported { field, problem: problem.to_owned() });
        }
        Ok(joined)
    }

    /// Refuses the start of a VM whose disks are still in use by those that have joined its last one.
    pub(super) fn left_alone(&self) -> Result<(), Error> {
        let own = &self.container.id;
        let stays = |other: &&Arc<Container>| other.vm_of.as_ref() == Some(own);
        match self.shared.live().iter().find(stays) {
            Some(other) => {
                let (id, other) = (own.to_string(), other.name.clone());
                Err(StateError::VmShared { id, other }.into())
            }
            None => Ok(()),
        }
    }

    /// Whether others are in the same VM.
    pub(super) fn shares_vm(&self) -> bool {
        self.container.vm_of.is_some() || self.left_alone().is_err()
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
        let (own, its) = (self.container.isolation, other.isolation);
        let problem = match (own.shares_kernel(), its.shares_kernel()) {
            (true, false) => "is behind the wall of a VM",
            (false, true) => "is outside, and a VM has its own wall around it",
            _ => return Ok(other),
        };
        let problem = format!("the {what} of container {name} {problem}");
        Err(Error::Unsupported { field: "HostConfig", problem })
    }
}

impl Joined {
    /// Takes note that a namespace of `other` is joined, where that is in a VM: all must be in the same.
    fn enter(&mut self, other: &Container, namespace: &'static str) -> Result<(), Error> {
        let Some(address) = other.shim.clone().filter(|_| !other.isolation.shares_kernel()) else {
            return Ok(());
        };
        let of = other.vm_of.clone().unwrap_or_else(|| other.id.clone());
        let vm = self.vm.get_or_insert_with(|| SharedVm {
            of,
            address: address.clone(),
            namespaces: Vec::new(),
        });
        if vm.address != address {
            let problem = format!(
                "the {namespace} namespace of container {} is in another VM than that of {}",
                other.name, vm.of
            );
            return Err(Error::Unsupported { field: "HostConfig", problem });
        }
        vm.namespaces.push((namespace, other.id.clone()));
        Ok(())
    }

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
