//! Directories for what is made once and kept.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes the directory, and those above it that are missing, for root alone: what is kept there holds the
/// files of images and the memory of guests.
///
/// # Errors
///
/// The kernel's, of mkdir(2).
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
