//! System calls as safe functions; the one crate with `unsafe`. Knows nothing of containers.

#![allow(unsafe_code)]

pub mod bounding;
pub mod bpf;
pub mod broker;
pub mod conntrack;
pub mod execute;
pub mod heap;
pub mod inherit;
pub mod interface;
pub mod keyring;
pub mod landlock;
pub mod lock;
pub mod loopback;
pub mod memory;
pub mod mntns;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod pidfd;
pub mod random;
pub mod resolve;
pub mod schedule;
pub mod seccomp;
pub mod signalfd;
pub mod spawn;
pub mod tap;
pub mod tsc;
pub mod unread;
pub mod worker;
