//! The harness that the whole-system suites share.
//!
//! A suite is a program of its own (`harness = false`) that starts one [`Host`], runs its cases on
//! it one after another, and compares what is on the machine before and after each.
//!
//! ```text
//!   Host: a network namespace { docker-registry on 127.0.0.1:5000, hulld with its own roots }
//!   case -> clean up -> leaks? -> next case
//! ```
//!
//! Programs come from `HULL_BIN_DIR` and the guest's kernel from `HULL_KERNEL_DIR`, as `make build`
//! and `make vm-kernel` left them.

#![allow(clippy::missing_panics_doc, reason = "to panic is how a test fails")]

pub mod browser;
pub mod command;
pub mod docs;
pub mod guest;
pub mod host;
pub mod leaks;
pub mod machine;
pub mod programs;
pub mod pty;
pub mod random;
pub mod registry;
pub mod relay;
pub mod suite;
pub mod wall;

pub use command::{Ran, Running};
pub use host::{Engine, Host};
pub use pty::Pty;
pub use suite::{Case, Suite};
