//! Data that every part of Hull shares: ids, digests, OCI specs, states, error kinds. No I/O.
//!
//! Ids, digests and pids are parsed once, at the edge, and are types from there on.

pub mod annotation;
mod chain;
pub mod config;
pub mod digest;
pub mod exit;
pub mod fault;
pub mod files;
pub mod id;
pub mod isolation;
pub mod journal;
pub mod kernel;
pub mod kind;
pub mod modules;
pub mod names;
pub mod oci;
pub mod options;
pub mod pid;
pub mod process;
pub mod signal;
pub mod state;
pub mod sysctl;
pub mod usage;

pub use chain::chain;
pub use digest::Digest;
pub use exit::Exit;
pub use id::{ContainerId, ExecId, ProcessId};
pub use isolation::Isolation;
pub use kind::Kind;
pub use names::NAME_SERVER;
pub use pid::Pid;
pub use process::ProcessInfo;
pub use signal::Signal;
pub use state::State;
pub use usage::Usage;
