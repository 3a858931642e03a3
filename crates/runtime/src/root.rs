//! Where the containers' state is unless `--root` says: `/run/hull/runtime`, or for a user other than
//! the machine's root a directory of the user's own.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::command::Error;

/// Root's.
const SYSTEM: &str = "/run/hull/runtime";

/// The default place; the user's own is made. Sticky, so that nobody clears it away for its age: XDG
/// base directory specification.
pub(crate) fn default() -> Result<PathBuf, Error> {
    let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let Some(directory) = user.filter(|_| !is_system()) else { return Ok(SYSTEM.into()) };
    let path = Path::new(&directory).join("hull-runtime");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(Error::file("make", &path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o1700))
        .map_err(Error::file("set the mode of", &path))?;
    Ok(path)
}

/// Whether this is the machine's root, or root in a user namespace who calls itself so, as runc has it.
fn is_system() -> bool {
    rustix::process::geteuid().is_root()
        && (sys::namespace::in_first_user()
            || std::env::var_os("USER").is_some_and(|user| user == "root"))
}
