//! The socket of the API.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::UnixListener;

use crate::error::Error;

/// Who may connect: root, and the group that the file is given.
const MODE: u32 = 0o660;

/// Listens at `path`, in place of what an earlier daemon left. The lock is held: nobody else listens.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, Error> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    // Under another name until its mode is right: nobody can connect in between.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let _ = std::fs::remove_file(new);
    let listener = UnixListener::bind(new).map_err(failed("listen on", path))?;
    std::fs::set_permissions(new, Permissions::from_mode(MODE)).map_err(failed("set mode", new))?;
    std::fs::rename(new, path).map_err(failed("rename", path))?;
    Ok(listener)
}

/// Removes the socket.
pub(crate) fn remove(path: &Path) {
    // It may be gone with its directory.
    let _ = std::fs::remove_file(path);
}
