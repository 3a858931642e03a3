//! What is written down of a container: everything that the kernel does not know.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use spec::oci::runtime as oci;
use spec::{ContainerId, Pid};

use crate::Error;
use crate::cgroup::View;
use crate::source::Layers;
use crate::systemd::Unit;

/// The record's file in the container's directory.
pub(crate) const RECORD: &str = "state.json";
/// What it is while it is being written.
pub(crate) const TEMPORARY: &str = ".state.json";

/// What is kept of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its name, unique in its store.
    pub id: ContainerId,
    /// Its init process; `None` while it is being made.
    pub init: Option<Init>,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem, absolute, as the creator saw it.
    pub rootfs: PathBuf,
    /// What is mounted there, unless it is a directory of the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Layers>,
    /// The number of the rootfs's mount, for a container in the creator's own mount namespace: all that
    /// is mounted for it lies on that mount.
    pub(crate) rootfs_mount: Option<u64>,
    /// When it was created.
    pub created: SystemTime,
    /// Annotations of the configuration.
    pub annotations: HashMap<String, String>,
    /// The version of the specification that its configuration names.
    pub oci_version: String,
    /// The configuration's process: what `exec` starts from when it names no other.
    pub process: Option<oci::Process>,
    /// Its cgroups.
    pub(crate) cgroup: View,
    /// The scope that systemd keeps them in.
    #[serde(default)]
    pub(crate) unit: Option<Unit>,
    /// The limits set there, for updates to go on from.
    #[serde(default)]
    pub(crate) resources: Option<oci::LinuxResources>,
    /// Its resctrl group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rdt: Option<crate::rdt::Group>,
    /// `CLONE_NEW*` of every namespace that the configuration names.
    pub(crate) namespaces: u32,
    /// Whether its pid namespace was made for it, and so ends with its init.
    pub(crate) own_pids: bool,
    /// Hooks for `start` to run afterwards.
    pub(crate) poststart: Vec<oci::Hook>,
    /// Hooks for `delete` to run afterwards.
    pub(crate) poststop: Vec<oci::Hook>,
    /// `linux.personality`, for exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) personality: Option<oci::LinuxPersonality>,
    /// `linux.memoryPolicy`, for exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_policy: Option<oci::LinuxMemoryPolicy>,
    /// Whether there is a seccomp filter.
    pub(crate) filtered: bool,
}

/// A process, told from a later one with the same number by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Its number in the creator's pid namespace.
    pub pid: Pid,
    /// Field 22 of `/proc/PID/stat`.
    pub started: u64,
}

impl Record {
    /// Reads the record in a container's directory.
    pub(crate) fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(RECORD);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::file("read", path)(error.into()))
    }

    /// Replaces the record in a container's directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(RECORD);
        let temporary = directory.join(TEMPORARY);
        let bytes =
            serde_json::to_vec(self).map_err(|error| Error::file("write", &path)(error.into()))?;
        // It holds the environment, and with it secrets.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&temporary).and_then(|mut file| file.write_all(&bytes));
        written.map_err(Error::file("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::file("write", path))
    }
}
