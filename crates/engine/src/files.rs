//! The files of containers, seen from outside.
//!
//! A container's tree is reached by a descriptor of its root, and names are resolved beneath it by the
//! kernel: what the container does to its own names meanwhile cannot lead anywhere else.
//!
//! ```text
//!   runs           the root of its program                            cp
//!   does not run   layers and volumes, mounted in a namespace of      cp
//!                  one thread's own
//!   either         its layers as a tree that is mounted nowhere       export, diff, commit
//! ```
//!
//! All of these block; [`verbs`] calls them where that is allowed.

mod archive;
mod changes;
pub(crate) mod fill;
pub(crate) mod root;
mod verbs;
pub(crate) mod view;

pub use archive::{PathStat, Put};
pub use changes::{Change, ChangeKind};
pub use verbs::{Commit, Pieces};
