//! The files behind a machine's disks.
//!
//! Sizes are fixed, since a clone's disks stand in for the template's placeholders: a root image is
//! padded, sparsely, to the size of the template's placeholder.

use std::path::Path;

use spec::Kind;

/// The size of every root disk in bytes, 64 GiB; images are padded to it with a hole.
pub const ROOT_BYTES: u64 = 64 << 30;

/// Makes a read-only image of the tree at `source`, uncompressed, ownership and extended attributes
/// kept. `out` appears complete or not at all.
pub fn make_erofs(_source: &Path, _out: &Path) -> Result<(), Error> {
    todo!()
}

/// Makes an empty ext4 of `mib` MiB in a sparse file at `path`. `cache` is a directory in which an empty
/// one of each size is kept to copy from.
pub fn make_scratch(_path: &Path, _mib: u32, _cache: &Path) -> Result<(), Error> {
    todo!()
}

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match *self {}
    }
}
