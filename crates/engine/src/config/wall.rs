//! What a container shares with the host and with others, and what of the host it may use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bundle::defaults;

/// Openings in a container's wall; by default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Openings {
    /// All capabilities and devices, nothing masked, no filter of system calls.
    pub privileged: bool,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// `VENDOR/CLASS=NAME`: devices that files of the host describe.
    pub cdi: Vec<String>,
    /// `TYPE MAJOR:MINOR ACCESS`: devices that it may use if it can name them.
    pub device_rules: Vec<String>,
    /// Paths that are seen as empty; `None` for the default ones.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that are not written; `None` for the default ones.
    pub readonly_paths: Option<Vec<String>>,
    /// Its network: `Own` is as [`super::NetworkMode`] says.
    pub network: Share,
    /// Its interprocess communication.
    pub ipc: Share,
    /// Its processes.
    pub pid: Share,
    /// Its name.
    pub uts: Share,
    /// Its view of control groups.
    pub cgroup: Share,
    /// Whether its user ids are asked to be the host's; they always are.
    pub userns_host: bool,
    /// The control group that its own is made in; empty for the engine's.
    pub cgroup_parent: String,
    /// Annotations of its OCI configuration.
    pub annotations: BTreeMap<String, String>,
}

impl Openings {
    /// Paths that its programs see as empty; `None` for a privileged container's.
    pub fn masked(&self) -> Option<Vec<String>> {
        self.covered(self.masked_paths.as_ref(), &defaults::MASKED)
    }

    /// Paths that its programs see and cannot write; as with the masked ones.
    pub fn readonly(&self) -> Option<Vec<String>> {
        self.covered(self.readonly_paths.as_ref(), &defaults::READONLY)
    }

    fn covered(&self, own: Option<&Vec<String>>, default: &[&str]) -> Option<Vec<String>> {
        match own {
            Some(own) => Some(own.clone()),
            None if self.privileged => None,
            None => Some(default.iter().map(|&path| path.to_owned()).collect()),
        }
    }
}

/// Whose namespace of a kind a container is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// One of its own.
    #[default]
    Own,
    /// One of its own that others may join.
    Shareable,
    /// One of its own without shared memory; of interprocess communication only.
    None,
    /// The host's.
    Host,
    /// That of the container with this name or id.
    Container(String),
}

/// A device of the host in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its path on the host; of a directory all devices beneath.
    pub host: String,
    /// Its path in the container; empty for the same.
    pub container: String,
    /// Of `r`, `w` and `m`; empty for all.
    pub access: String,
}

impl Share {
    /// Reads a mode as Docker spells it; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "private" => Self::Own,
            "shareable" => Self::Shareable,
            "none" => Self::None,
            "host" => Self::Host,
            _ => Self::Container(text.strip_prefix("container:")?.to_owned()),
        })
    }
}

impl std::fmt::Display for Share {
    /// As Docker spells it; nothing for its own.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => Ok(()),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

/// Weights and rates of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blkio {
    /// 10 to 1000.
    pub weight: Option<u64>,
    /// Weights by device.
    pub weight_device: Vec<OfDevice>,
    /// Bytes a second.
    pub read_bps: Vec<OfDevice>,
    /// Bytes a second.
    pub write_bps: Vec<OfDevice>,
    /// Operations a second.
    pub read_iops: Vec<OfDevice>,
    /// Operations a second.
    pub write_iops: Vec<OfDevice>,
}

/// A number for one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfDevice {
    /// The device on the host.
    pub path: String,
    /// The number.
    pub value: u64,
}
