//! Directory trees: written as archives, and made from archives.
//!
//! The one way in which files of images and containers are packed and unpacked: by `image` for layers, by
//! the host's side of the seam for its containers, and by the guest's agent for those in a VM. Whatever
//! an archive or a tree says, nothing outside the root that was given is read or written.

pub mod archive;
pub mod changes;
pub mod copy;
pub mod disk;
pub mod files;
pub mod graft;
pub mod image;
pub mod pack;
pub mod path;
pub mod unpack;
pub mod view;
