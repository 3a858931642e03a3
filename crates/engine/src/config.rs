//! What a client asks of a container.
//!
//! These hold only what Hull can do. A field of Docker's that is missing here is refused, by its name,
//! by the front that reads it; a value that cannot be honoured is refused by [`crate::Engine::create`].

mod attachment;
mod wall;

use std::collections::BTreeMap;

use network::marks::Marks;
use serde::{Deserialize, Serialize};
use spec::{Isolation, Signal};

use crate::health::Healthcheck;
use crate::logging::Logging;
use crate::restart::RestartPolicy;

pub use attachment::{Attachment, HostPort};
pub(crate) use attachment::{split_link, usual, wanted};
pub use wall::{Blkio, Device, OfDevice, Openings, Share};

/// A container to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    /// The name it shall have; `None` for one that the engine invents.
    pub name: Option<String>,
    /// The program and its surroundings.
    pub config: Config,
    /// Its walls, limits and connections.
    pub host: HostConfig,
}

/// The program and its surroundings. In a record, merged with the image's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The image's reference as the client wrote it: a name, a digest or a prefix of an id.
    pub image: String,
    /// Words in front of `cmd`. `None` takes the image's; empty (or one empty word) means none at all.
    /// If it is given, the image's `cmd` is not used.
    pub entrypoint: Option<Vec<String>>,
    /// The command's words. `None` or empty takes the image's.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`; `NAME` alone removes it from the image's.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers; empty takes the image's.
    pub user: String,
    /// Absolute; empty takes the image's, else `/`.
    pub working_dir: String,
    /// Empty for the first twelve digits of the id.
    pub hostname: String,
    /// The NIS domain name.
    pub domainname: String,
    /// Whether the program gets a terminal.
    pub tty: bool,
    /// Whether standard input is kept open.
    pub open_stdin: bool,
    /// Whether standard input ends with the first client that attached it.
    pub stdin_once: bool,
    /// What the creating client will attach; only shown.
    pub attach_stdin: bool,
    /// See `attach_stdin`.
    pub attach_stdout: bool,
    /// See `attach_stdin`.
    pub attach_stderr: bool,
    /// The client's labels over the image's.
    pub labels: BTreeMap<String, String>,
    /// What `stop` sends; `None` takes the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
    /// Seconds that `stop` waits before SIGKILL, -1 for ever; `None` means 10.
    pub stop_timeout: Option<i64>,
    /// Where anonymous volumes are to be; with the image's.
    pub volumes: Vec<String>,
    /// `80/tcp` and the like; only shown.
    pub exposed_ports: Vec<String>,
    /// How its health is checked; what is open in it, or `None`, takes the image's.
    pub healthcheck: Option<Healthcheck>,
    /// The words in front of a check's command line; empty takes the image's, else `/bin/sh -c`.
    pub shell: Vec<String>,
    /// The terminal's first size; `None` when the client does not know it.
    pub console_size: Option<Size>,
}

/// Walls, limits and connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// `None` takes the engine's default.
    pub isolation: Option<Isolation>,
    /// How it is connected.
    pub network: NetworkMode,
    /// The networks it is on, by name; where that is its own to say, and a request says nothing, the
    /// one of `network`.
    pub attachments: BTreeMap<String, Attachment>,
    /// What its sockets are known by to the host's own rules; requests say it by the options of a place.
    #[serde(skip_serializing_if = "Marks::is_none")]
    pub marks: Marks,
    /// `CONTAINER[:NAME]`: names by which it finds others on the default network.
    pub links: Vec<String>,
    /// Its ports that the host has: `80/tcp` to the host's.
    pub ports: BTreeMap<String, Vec<HostPort>>,
    /// Whether all that it exposes are published.
    pub publish_all: bool,
    /// Memory, processors, processes.
    pub resources: Resources,
    /// Capabilities added to the default ones; `ALL`, with or without `CAP_`, any case.
    pub cap_add: Vec<String>,
    /// Capabilities taken away.
    pub cap_drop: Vec<String>,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// `SOURCE:DESTINATION[:OPTIONS]`; a source is a path, or a volume's name.
    pub binds: Vec<String>,
    /// The same by fields, and more.
    pub mounts: Vec<crate::mountpoint::Mount>,
    /// `CONTAINER[:ro]`, whose volumes and binds are to be here too.
    pub volumes_from: Vec<String>,
    /// What makes volumes of which nothing else is said; empty for the local one.
    pub volume_driver: String,
    /// Destination to options, as `mount -t tmpfs -o`.
    pub tmpfs: BTreeMap<String, String>,
    /// Name servers; empty takes the host's.
    pub dns: Vec<String>,
    /// Domains that names are looked up in; empty takes the host's.
    pub dns_search: Vec<String>,
    /// Options of `resolv.conf`; empty takes the host's.
    pub dns_options: Vec<String>,
    /// `NAME:ADDRESS` for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Supplementary groups, names or numbers.
    pub group_add: Vec<String>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `no-new-privileges[:true|false]`, `seccomp=unconfined`.
    pub security_opt: Vec<String>,
    /// Size of `/dev/shm` in bytes; `None` means 64 MiB.
    pub shm_size: Option<u64>,
    /// What it shares, and what of the host it may use.
    pub openings: Openings,
    /// How its output is kept; `None` takes the engine's default.
    pub logging: Option<Logging>,
    /// The most that it writes, in MiB; `None` for the wall's own limit.
    pub storage_mib: Option<u32>,
    /// Whether a program of Hull's is PID 1, which reaps and passes signals on.
    pub init: bool,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Whether it runs again when it has ended.
    pub restart: RestartPolicy,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// An address on the engine's bridge.
    #[default]
    Bridge,
    /// A loopback interface only.
    None,
    /// An address on a network that a user made, by its name or id.
    Named(String),
}

/// Limits on a container as a whole; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes, at least [`MEMORY_MIN`].
    pub memory: Option<i64>,
    /// Memory and swap together in bytes; -1 for unlimited swap.
    pub memory_swap: Option<i64>,
    /// Bytes that it is pushed back to under pressure.
    pub memory_reservation: Option<i64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Microseconds of a processor in each period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Weight against other containers, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Processors it may use, `0-2,4`; empty for all.
    pub cpuset_cpus: String,
    /// Memory nodes it may use; empty for all.
    pub cpuset_mems: String,
    /// Processes and threads; -1 for no limit.
    pub pids_limit: Option<i64>,
    /// Microseconds of real time in each period, and the period.
    pub cpu_realtime: Option<i64>,
    /// See `cpu_realtime`.
    pub cpu_realtime_period: Option<u64>,
    /// 0 to 100: how readily memory is swapped out.
    pub swappiness: Option<u64>,
    /// Whether it waits for memory in place of being killed.
    pub oom_kill_off: bool,
    /// Bytes of network buffers.
    pub kernel_tcp: Option<i64>,
    /// Block devices.
    pub blkio: Blkio,
}

impl Resources {
    /// As much swap as memory, unless told otherwise: the sum of both is what is limited.
    pub(crate) fn complete(&mut self) {
        if let (Some(memory), None) = (self.memory, self.memory_swap) {
            self.memory_swap = Some(memory.saturating_mul(2));
        }
    }
}

/// The least memory that a container can be limited to: 6 MiB, as Docker's.
pub const MEMORY_MIN: i64 = 6 << 20;

/// A limit of each process, setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `core`…; lower case without `RLIMIT_`.
    pub name: String,
    /// -1 for unlimited.
    pub soft: i64,
    /// -1 for unlimited.
    pub hard: i64,
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The text names no network that Hull has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("NetworkMode {0:?} is not supported: want default, bridge, none or a network's name")]
pub struct UnsupportedNetwork(pub String);

impl std::str::FromStr for NetworkMode {
    type Err = UnsupportedNetwork;

    /// `default` and the empty string mean [`Self::Bridge`].
    fn from_str(text: &str) -> Result<Self, UnsupportedNetwork> {
        match text {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "none" => Ok(Self::None),
            text if text == "host" || text.contains(':') => {
                Err(UnsupportedNetwork(text.to_owned()))
            }
            name => Ok(Self::Named(name.to_owned())),
        }
    }
}

impl std::fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::None => "none",
            Self::Named(name) => name,
        })
    }
}
