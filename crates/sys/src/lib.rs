//! System calls as safe functions; the one crate with `unsafe`. Knows nothing of containers.

#![allow(unsafe_code)]

pub mod netlink;
pub mod netns;
pub mod execute;
pub mod interface;
pub mod keyring;
pub mod mount;
pub mod seccomp;
pub mod spawn;
pub mod namespace;
pub mod broker;
pub mod tap;
pub mod tsc;
pub mod worker;
pub mod pidfd;
pub mod random;
pub mod bpf;
pub mod mntns;
pub mod signalfd;
