//! Debian's podman, dockerd and containerd with `hull-runtime` in the place of runc.
//!
//! Each case has an engine of its own, in mount and network namespaces of its own, offline: the image
//! is loaded from an archive. At its end it looks for what was left: mounts, cgroups, processes, state.
//!
//! Needs root, Debian's podman, docker.io and containerd, and `hull-runtime` in `HULL_BIN_DIR`. Without
//! root the cases say so and pass.

#![allow(missing_docs, clippy::missing_panics_doc)]

mod containerd;
mod dockerd;
mod podman;
