//! `hull-runtime` keeps to the OCI runtime specification, and where that is silent does as runc does.
//!
//! Every case makes a bundle with a busybox root filesystem, drives the built program (from
//! `HULL_BIN_DIR`), and at its end looks for what was left: state, cgroups, mounts, processes.
//!
//! Without root the cases say so and pass.

mod bundle;
mod cgroups;
mod checkpoint;
mod cli;
mod escapes;
mod exec;
mod features;
mod guest;
mod hooks;
mod hostile;
mod layers;
mod life;
mod machines;
mod mounts;
mod namespaces;
mod netdevices;
mod process;
mod refusals;
mod rootfs;
mod rootless;
mod scheduler;
mod seccomp;
mod shared;
mod soak;
mod sysctl;
mod systemd;
mod terminal;
mod unified;
