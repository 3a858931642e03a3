//! `containerd-shim-hull-v2` alone: asked as our engine asks it, and by a real containerd.
//!
//! Needs root, Debian's containerd and busybox-static, and the programs in `HULL_BIN_DIR`.

#![allow(missing_docs, clippy::missing_panics_doc)]

mod bench;
mod containerd;
mod engine;
