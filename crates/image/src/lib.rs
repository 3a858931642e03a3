//! Images: from a registry or an archive to layers that a container can stand on.
//!
//! Called by the engine, in one process (`hulld`) only; every method may be called at any time from
//! any thread. Methods that are not `async` do little or no I/O.
//!
//! ```text
//!   pull / import  ->  blobs (content/)  ->  layers (snapshots/)  ->  name (content/index.json)
//!   name  ->  image  ->  prepare(container)  ->  lower, upper, work  ->  release(container)
//! ```
//!
//! Invariant: whatever a name leads to is complete, verified and on disk. A crash at any instant leaves
//! the old or the new state and garbage, which the next [`Images::open`] collects.
//!
//! Spec: OCI image-spec; OCI distribution-spec.

pub mod platform;
pub mod progress;
pub mod reference;

mod api;

pub use platform::{InvalidPlatform, Platform};
pub use progress::{Bytes, Progress, Status};
pub use reference::{InvalidReference, Reference};
pub use api::*;
