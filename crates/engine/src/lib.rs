//! Lifecycle, supervision, events, metadata: what a container engine does, with no HTTP in it.
//!
//! Fronts hold an [`Engine`] and translate. The engine talks to shims only, by containerd's task API,
//! and never knows which wall a container has: the wall is data in the bundle.

mod attach;
pub mod config;
pub mod container;
mod engine;
mod error;
pub mod event;
mod log;
mod request;
mod settings;

pub use attach::Attached;
pub use config::{Config, Create, HostConfig, NetworkMode, Resources, Size, Ulimit};
pub use container::{Container, Endpoint, Files, Status, Wall};
pub use engine::{Engine, Logs, Waiting};
pub use error::{Error, StateError};
pub use event::{Event, EventKind, Events};
pub use log::{LogLine, LogRequest};
pub use request::{
    Change, Condition, Created, Exec, ExecCreate, ExecStart, ExecState, Info, List, Remove, Stop,
    Streams, Top, Waited,
};
pub use settings::Settings;
