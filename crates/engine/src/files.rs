//! The files of containers, seen from outside.
//!
//! `cp`, `diff`, `export` and `commit` are asked of the container's shim, running or not; what the
//! container does to its own names meanwhile leads nowhere else, on its own side of the wall. New
//! volumes are filled here, from the image's layers.

pub(crate) mod fill;
mod gather;
pub(crate) mod reach;
mod verbs;

pub(crate) use gather::gather;
pub use spec::files::{Change, ChangeKind, PathStat};
pub use verbs::{Commit, Pieces, Put};
pub(crate) use verbs::{receive, taken};
