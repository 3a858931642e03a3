//! The OCI runtime and image specifications' types.
//!
//! They are those of `oci-spec`, but for the root of a configuration and its process: its own link an
//! engine for regular expressions (for one list of processors) and the sections of five platforms,
//! together more than a fifth of `hull-runtime`. The names and accessors are the same.

mod document;
mod process;

pub use oci_spec::image;

/// Types of the runtime specification.
pub mod runtime {
    pub use oci_spec::runtime::*;

    pub use super::document::{Foreign, Spec};
    pub use super::process::{ExecCPUAffinity, Process};
}
