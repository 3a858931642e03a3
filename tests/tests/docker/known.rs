//! Flaws that let containers out of other engines, tried on this one. runc's are in `tests/oci`.
//!
//! What other cases already show is not shown again: archives whose links lead out (CVE-2014-6407,
//! CVE-2021-32760) in `hostile_images`, a name server that asks the world for a network that has none
//! (CVE-2024-29018) in `networks`, a guest's file server in `parts` and `sockets`.

pub(crate) mod accounts;
pub(crate) mod appetite;
pub(crate) mod files;
pub(crate) mod guests;
