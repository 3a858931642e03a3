//! Lifecycle, supervision, events, metadata: what a container engine does, with no HTTP in it.
//!
//! Fronts hold an [`Engine`] and translate. The engine talks to shims only, by containerd's task API,
//! and never knows which wall a container has: the wall is data in the bundle.

mod attach;
pub mod build;
mod bundle;
mod cdi;
pub mod clock;
pub mod config;
pub mod container;
mod create;
mod dns;
mod engine;
mod error;
pub mod event;
mod files;
mod health;
mod hidden;
mod images;
mod list;
mod log;
pub mod logging;
mod merge;
mod mountpoint;
mod names;
mod networks;
mod owner;
mod piercing;
mod recover;
mod reload;
mod request;
mod restart;
#[cfg(test)]
mod sample;
mod settings;
mod shared;
mod shim;
mod shm;
pub mod size;
mod staged;
mod stats;
mod store;
mod top;
mod update;
mod volume;
mod volumes;
mod walls;

pub use attach::Attached;
pub use bundle::user::Error as UserError;
pub use cdi::is_name as is_cdi_name;
pub use config::{
    Attachment, Blkio, Config, Create, Device, HostConfig, HostPort, NetworkMode, OfDevice,
    Openings, Resources, Share, Size, Ulimit,
};
pub use container::{Container, Files, Status, Wall};
pub use engine::{Engine, Logs, Waiting};
pub use error::{Error, NetworkError, StateError};
pub use event::{Event, EventKind, Events};
pub use files::{Change as FileChange, ChangeKind, Commit as FileCommit, PathStat, Pieces, Put};
pub use health::{Health, HealthStatus, Healthcheck, Probe};
pub use log::{LogLine, LogRequest};
pub use logging::{LogDriver, Logging};
pub use mountpoint::{
    BindOptions, DriverConfig, ImageOptions, Mount, MountKind, MountPoint, TmpfsOptions,
    VolumeOptions,
};
pub use network::egress::{Dropped, Invalid as InvalidEgress};
pub use network::macvlan::{InvalidMode, Mode as MacvlanMode};
pub use network::marks::{Invalid as InvalidMark, Marks};
pub use network::rate::{Invalid as InvalidRate, Rate, Rates};
pub use network::{
    Counters, Endpoint, Family, InvalidName as InvalidInterface, Layout, Plan, Protocol, Published,
    Subnet,
};
pub use networks::{AddressPool, Asked, InvalidPool, Network, NetworkCreate, builtin_id};
pub use owner::Bindings;
pub use owner::egress::Egress;
pub use piercing::{Piercing, PiercingKind, Reach};
pub use request::{
    Change, Condition, Created, Exec, ExecCreate, ExecStart, ExecState, Info, List, Remove, Stop,
    Streams, Top, Waited,
};
pub use restart::RestartPolicy;
pub use settings::Settings;
pub use shim::Error as ShimError;
pub use stats::Sample;
pub use store::Error as StoreError;
pub use update::{NewRate, Update};
pub use volume::{ANONYMOUS, DRIVER, Error as VolumeError, NewVolume, Volume, VolumeCopy};
pub use walls::{HostKind, HostProfile, Walls, Weakened};
