//! `create-scratch`: makes a scratch space, see `layers`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;

use super::Error;
use crate::args::CreateScratch;
use crate::layers::LIMIT;

/// Makes the directory, and in it the note of a limit.
pub(super) fn create(flags: &CreateScratch) -> Result<u8, Error> {
    let path = &flags.path;
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::file("create-scratch: make", path))?;
    let Some(gib) = flags.gib else { return Ok(0) };
    let limit = path.join(LIMIT);
    if let Err(error) = fs::write(&limit, (u64::from(gib) << 10).to_string()) {
        // The failure is what is told.
        let _ = fs::remove_dir_all(path);
        return Err(Error::file("create-scratch: write", limit)(error));
    }
    Ok(0)
}
