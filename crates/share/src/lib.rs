//! Directories and files of the host for a guest: a FUSE server in a process of its own.
//!
//! ```text
//!   guest's kernel ─▶ /dev/fuse ─▶ agent ══channel══▶ shim ─▶ socket ─▶ hull-share ─▶ the host's files
//! ```
//!
//! The shim starts this program once a VM that is to see files of the host ([`start`]); it shuts itself
//! into a root that holds nothing but them ([`jail`]), and answers the guest's requests ([`server`]).
//! The guest is hostile: a request that is none ends the server, and with it the VM; every length,
//! name and number in one is checked; a name is one component beneath an open directory, never followed.
//!
//! Invariant: nothing but the shared trees can be named, by whatever request: they are mounts of their own
//! in an otherwise empty, read-only root, and the kernel lets nobody walk out of a mount.
//!
//! A server of our own, not `fuse-backend-rs`: that one brings vm-memory, mio, nix 0.24 and others for
//! transports that are not ours, into the process that a hostile guest talks to.
//!
//! Spec: linux/fuse.h 7.31, Documentation/filesystems/fuse.rst.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

mod attributes;
mod control;
mod directory;
mod file;
mod filter;
mod jail;
mod lock;
mod names;
mod node;
mod pipe;
mod request;
mod server;
mod start;
mod waits;

pub use control::Sockets;
pub use start::{Error, NAME, Server, dispatch, start};

/// A directory, file or socket that the guest is to see, as one name in the root of what is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// On the host; symlinks are followed.
    pub source: PathBuf,
    /// Whether what is mounted beneath it is seen too.
    pub recursive: bool,
    /// Whether it can only be read.
    pub readonly: bool,
}
