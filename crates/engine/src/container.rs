//! The record of a container: what `inspect` shows and what the database keeps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use network::{Endpoint, Published};
use serde::{Deserialize, Serialize};
use spec::{ContainerId, Isolation, Pid};

use crate::config::{Config, HostConfig};
use crate::health::Health;
use crate::hidden::Hidden;
use crate::logging::{LogDriver, Logging};

/// Everything known of a container at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// The id of its image: its configuration's digest, `sha256:…`.
    pub image: String,
    /// The Linux that its image was made for, by the image's `os.version`; an older one will not do.
    #[serde(default)]
    pub os_version: Option<String>,
    /// The program and its surroundings, merged with the image's.
    pub config: Config,
    /// Walls, limits and connections, as asked; the isolation is resolved.
    pub host: HostConfig,
    /// The wall it has.
    pub isolation: Isolation,
    /// First word of what is executed.
    pub path: String,
    /// The other words.
    pub args: Vec<String>,
    /// The container whose VM it is in, while it is in another's.
    #[serde(default)]
    pub vm_of: Option<ContainerId>,
    /// Where it is in its life.
    pub status: Status,
    /// Exit status of the last run; 0 before the first.
    pub exit_code: u8,
    /// Whether the kernel killed any of its processes in that run because memory was short.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why the last start did not succeed; empty if it did.
    pub error: String,
    /// How often it was restarted by itself since a client last started it.
    #[serde(default)]
    pub restarts: u32,
    /// Whether a client asked for its last end.
    #[serde(default)]
    pub stopped_by_hand: bool,
    /// Its health, if that is checked.
    #[serde(default)]
    pub health: Option<Health>,
    /// When it was last started.
    pub started: Option<SystemTime>,
    /// When it last ended.
    pub finished: Option<SystemTime>,
    /// Its places on networks while it is connected, by the networks' names.
    #[serde(default)]
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Its ports that the host has now.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// What its wall is made of, while there is one.
    pub wall: Option<Wall>,
    /// The socket of the shim that holds it.
    pub shim: Option<String>,
    /// Execs that are made or running; filled in by `inspect`, never stored.
    #[serde(skip)]
    pub execs: Vec<String>,
    /// What it is told besides, for as long as the engine runs; never stored.
    #[serde(skip)]
    pub hidden: Option<Hidden>,
    /// What it sees besides its image.
    #[serde(default)]
    pub mounts: Vec<crate::mountpoint::MountPoint>,
    /// Its files, for `inspect`.
    pub files: Files,
}

/// Where a container is in its life.
///
/// ```text
///   created --start--> running <--pause/unpause--> paused
///      |                  |                          |
///      |                  +-----------exit-----------+--> exited --start--> running
///      |                  +---the shim was killed----+--> dead   --start--> running
///      |                  +---and its policy says so-+--> restarting --wait--> running
///      +----------------remove, from every state-----------> removing
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum Status {
    /// Never started with success.
    Created,
    /// The program runs.
    Running {
        /// The init process, or the worker of the VM it is in.
        pid: Pid,
    },
    /// Its processes are frozen.
    Paused {
        /// As for `Running`.
        pid: Pid,
    },
    /// The program has ended, and will run again after a while.
    Restarting,
    /// The program has ended.
    Exited,
    /// It is being taken away.
    Removing,
    /// What held it was killed; whatever it had was cleaned up.
    Dead,
}

/// What a container's wall is made of: the shim's `isolation.json`, unknown keys kept.
pub type Wall = serde_json::Map<String, serde_json::Value>;

/// A container's files on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The newest file of its log; empty when none is kept.
    pub log: PathBuf,
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/hostname`.
    pub hostname: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// The writable layer.
    pub upper: PathBuf,
}

impl Status {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    /// The host's process to show, while it runs or is paused.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Self::Running { pid } | Self::Paused { pid } => Some(pid),
            Self::Created | Self::Restarting | Self::Exited | Self::Removing | Self::Dead => None,
        }
    }

    /// Whether its program is alive, paused or not.
    pub fn is_live(self) -> bool {
        self.pid().is_some()
    }

    /// Whether it counts as running: alive, or about to be again.
    pub fn is_up(self) -> bool {
        self.is_live() || self == Self::Restarting
    }
}

impl Container {
    /// How its output is kept.
    pub fn logging(&self) -> &Logging {
        static USUAL: Logging =
            Logging { driver: LogDriver::JsonFile, options: std::collections::BTreeMap::new() };
        self.host.logging.as_ref().unwrap_or(&USUAL)
    }

    /// The first twelve digits of its id.
    pub fn short_id(&self) -> &str {
        self.id.as_str().get(..12).unwrap_or(self.id.as_str())
    }
}
