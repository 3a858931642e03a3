//! Where a server can be found: its socket, and the files in the bundle that name it.
//!
//! ```text
//!   <exec root>/shim/<16 hex digits>.sock   the task API
//!   <bundle>/address                        unix://PATH of it
//!   <bundle>/shim.pid                       the server's process
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use spec::options::{InvalidVariable, Options};
use spec::{ContainerId, annotation};

use crate::args::Target;
use crate::record;

/// The environment variable with the directory for what does not survive a reboot.
const EXEC_ROOT: &str = "HULL_EXEC_ROOT";

/// The working directory or the one that the caller named, absolute.
pub(crate) fn bundle(target: &Target) -> io::Result<PathBuf> {
    match &target.bundle {
        Some(path) => std::path::absolute(path),
        None => std::env::current_dir(),
    }
}

/// The first container of the pod that the bundle's belongs to without being the first.
pub(crate) fn pod(bundle: &Path) -> Option<ContainerId> {
    let text = fs::read(bundle.join("config.json")).ok()?;
    let spec = spec::config::spec(&text).ok()?.value;
    annotation::pod(&spec)?.parse().ok()
}

/// Keeps `start` and `delete` for the same bundle apart until the file is dropped.
pub(crate) fn lock(bundle: &Path) -> io::Result<File> {
    let directory = File::open(bundle)?;
    directory.lock()?;
    Ok(directory)
}

/// What holds where no request says more.
pub(crate) fn default_options() -> Result<Options, InvalidVariable> {
    Options::from_variables(|name| std::env::var_os(name))
}

/// The directory for what does not survive a reboot.
fn exec_root() -> PathBuf {
    match std::env::var_os(EXEC_ROOT).filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => Options::default().exec_root,
    }
}

/// The socket of the server for `target`. Its name is short and the same for the same container of
/// the same caller.
pub(crate) fn socket(target: &Target) -> PathBuf {
    let mut hash = Sha256::new();
    for part in [&target.address, &target.namespace, target.id.as_str()] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let (head, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
    exec_root().join("shim").join(format!("{:016x}.sock", u64::from_be_bytes(*head)))
}

/// The address as containerd writes it.
pub(crate) fn address(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

/// Leaves the server's address and pid in the bundle.
pub(crate) fn write(bundle: &Path, address: &str, pid: u32) -> Result<(), record::Error> {
    record::replace(&bundle.join("shim.pid"), pid.to_string().as_bytes())?;
    record::replace(&bundle.join("address"), address.as_bytes())
}

/// The pid that [`write`] left in the bundle.
pub(crate) fn pid(bundle: &Path) -> Option<i32> {
    fs::read_to_string(bundle.join("shim.pid")).ok()?.trim().parse().ok()
}

/// Removes what [`write`] left, and the socket.
pub(crate) fn remove(bundle: &Path, socket: &Path) {
    for path in [socket, &bundle.join("shim.pid"), &bundle.join("address")] {
        // What is not there need not go.
        let _ = fs::remove_file(path);
    }
}
