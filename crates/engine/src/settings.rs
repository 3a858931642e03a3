//! What the daemon tells the engine of its host.

use std::path::{Path, PathBuf};

use image::Registries;
use spec::options::{Options, Vm};

use crate::logging::Logging;
use crate::networks::AddressPool;
use crate::walls::Walls;

/// Where things are, and the defaults of what a container does not say itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What survives a reboot.
    pub data_root: PathBuf,
    /// What does not.
    pub exec_root: PathBuf,
    /// The shim's program.
    pub shim: PathBuf,
    /// The walls of containers.
    pub walls: Walls,
    /// Name of the bridge that containers are attached to.
    pub bridge: String,
    /// Its subnet, `ADDRESS/PREFIX`.
    pub subnet: String,
    /// Whether it has IPv6 addresses.
    pub ipv6: bool,
    /// Those, `ADDRESS/PREFIX`; `None` for a subnet of the engine's own.
    pub subnet6: Option<String>,
    /// Where networks' subnets are taken from that nobody asked for; none of a family for the usual ones.
    pub address_pools: Vec<AddressPool>,
    /// How the output of a container that does not say it is kept.
    pub logging: Logging,
    /// Where images come from, until a [reload](crate::Engine::reload).
    pub registries: Registries,
    /// What the engine is called by, `KEY=VALUE`, until a reload.
    pub labels: Vec<String>,
    /// Where files describe devices by name; of two that do, the one in the later directory counts.
    pub cdi_dirs: Vec<PathBuf>,
    /// The most bytes that builds may keep for the next ones; `None` for no limit.
    pub build_cache: Option<u64>,
    /// How virtual machines are made.
    pub vm: Vm,
}

impl Settings {
    /// What shims are told.
    pub fn shim_options(&self) -> Options {
        Options {
            data_root: self.data_root.clone(),
            exec_root: self.exec_root.clone(),
            vm: self.vm.clone(),
        }
    }

    /// The program that is PID 1 where a container asks for one: the guest's agent, which can be both.
    pub(crate) fn init(&self) -> PathBuf {
        self.vm.agent.clone().unwrap_or_else(|| self.shim.with_file_name("hull-agent"))
    }

    /// Where the records are.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_root.join("meta.redb")
    }

    /// The directory that holds one directory a container.
    pub(crate) fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }

    /// The directory that holds one directory a volume.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.data_root.join("volumes")
    }

    /// The directory of network namespaces.
    pub(crate) fn netns(&self) -> PathBuf {
        self.exec_root.join("netns")
    }

    /// The directory of shared memory that containers offer to others.
    pub(crate) fn shm(&self) -> PathBuf {
        self.exec_root.join("shm")
    }

    /// The directory of mounts that are put together for containers.
    pub(crate) fn mounts(&self) -> PathBuf {
        self.exec_root.join("mounts")
    }

    /// The directory that holds one directory of stream sockets a container.
    pub(crate) fn streams(&self) -> PathBuf {
        self.exec_root.join("io")
    }

    /// The shim's socket directory, which it is told as its address.
    pub(crate) fn shim_address(&self) -> PathBuf {
        self.exec_root.join("shim")
    }
}

/// The directories of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Its bundle; everything of it that survives a reboot.
    pub(crate) bundle: PathBuf,
    /// The sockets of its streams. Short, as a socket's path holds 107 bytes at most.
    pub(crate) streams: PathBuf,
    /// Its network namespace.
    pub(crate) netns: PathBuf,
    /// The shared memory that it offers to others.
    pub(crate) shm: PathBuf,
    /// The mounts that are put together for it.
    pub(crate) mounts: PathBuf,
}

impl Places {
    /// Those of the container with this 64-digit id.
    pub(crate) fn of(settings: &Settings, id: &str) -> Self {
        Self {
            bundle: settings.containers().join(id),
            streams: settings.streams().join(id.get(..16).unwrap_or(id)),
            netns: settings.netns().join(id),
            shm: settings.shm().join(id),
            mounts: settings.mounts().join(id),
        }
    }

    /// A file of the bundle.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.bundle.join(name)
    }
}
