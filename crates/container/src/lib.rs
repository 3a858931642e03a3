//! From a bundle to a process.
//!
//! ```text
//!   Store::create --> Container (created) --start--> running <--pause/resume--> paused
//!                        |   exec --> Exec --gate.open--> another process
//!                        +--delete--> nothing left
//! ```
//!
//! Used by `hull-runtime` (one call a program), by the shim (on the host) and by the guest agent (as
//! PID 1). Calls block and may come from any thread: the process that enters the namespaces is the
//! caller's own executable started again under the name `hull-init`, so **every program that uses
//! this crate calls [`init::dispatch`] as the first thing in `main`**.
//!
//! The new process is a child of the caller, who reaps it; this crate never waits for children that
//! it handed out.
//!
//! Spec: OCI runtime-spec 1.3, runtime.md, config.md, config-linux.md.

mod bitmap;
mod capability;
pub mod cgroup;
mod channel;
pub mod check;
pub mod checkpoint;
pub mod create;
pub mod error;
pub mod exec;
pub mod features;
pub mod hook;
pub mod init;
pub mod launch;
mod lsm;
pub mod mapping;
mod namespace;
pub mod netdevice;
pub mod node;
pub mod oom;
#[cfg(any(test, fuzzing))]
pub mod probe;
pub mod processes;
pub mod rdt;
pub mod record;
mod request;
mod rootfs;
pub mod seccomp;
pub mod source;
pub mod store;
pub mod systemd;
mod usage;

pub use create::CreateOptions;
pub use error::Error;
pub use exec::{Exec, ExecOptions, Subgroup, initial_affinity};
pub use launch::{Console, Gate, Launched, Stdio, Stream};
pub use record::{Init, Record};
pub use source::Layers;
pub use store::{Container, Recipients, Status, Store};
