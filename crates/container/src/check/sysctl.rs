//! Kernel parameters must belong to a namespace that is the container's alone.
//!
//! Spec: OCI runtime-spec, config-linux.md "Sysctl"; runc's rules for which parameter is whose.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use spec::oci::runtime::LinuxNamespaceType as Type;

use super::Error;

/// The parameters of a System V IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks `linux.sysctl`. `is_apart`: whether the container has a namespace of this type that is not
/// the launcher's.
pub(crate) fn sysctl(
    sysctl: &HashMap<String, String>,
    is_apart: impl Fn(Type) -> bool,
) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::invalid("linux.sysctl", reason));
    for key in sysctl.keys() {
        let path = path(key);
        let names = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !names || key.contains('\0') {
            return invalid(format!("{key:?} is not a parameter's name"));
        }
        // The parameter's name as the tables have it.
        let name = path.to_string_lossy().replace('/', ".");
        if name == "kernel.hostname" {
            return invalid(format!("{key} conflicts with hostname, which sets it"));
        }
        let Some(kind) = owner(&name) else {
            return invalid(format!("{key} is not in a separate kernel namespace"));
        };
        if !is_apart(kind) {
            return invalid(format!("{key} is not allowed in the host's {kind} namespace"));
        }
    }
    Ok(())
}

/// The domain's name has a field of its own; both may say the same.
pub(crate) fn agrees(sysctl: &HashMap<String, String>, domainname: &str) -> Result<(), Error> {
    let is_domain = |key: &&String| path(key) == Path::new("kernel/domainname");
    match sysctl.keys().find(is_domain).map(|key| &sysctl[key]) {
        Some(value) if !domainname.is_empty() && value != domainname => {
            let reason = format!("kernel.domainname is {value:?} but domainname {domainname:?}");
            Err(Error::invalid("linux.sysctl", reason))
        }
        _ => Ok(()),
    }
}

/// The type of namespace that a parameter belongs to.
fn owner(name: &str) -> Option<Type> {
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Some(Type::Ipc)
    } else if name.starts_with("net.") {
        Some(Type::Network)
    } else if name == "kernel.domainname" {
        Some(Type::Uts)
    } else if name.starts_with("user.") {
        Some(Type::User)
    } else {
        None
    }
}

/// The file beneath `/proc/sys`: dots separate names, unless a slash comes first, see sysctl(8).
pub(crate) fn path(key: &str) -> PathBuf {
    let slash_first = key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('/'));
    if slash_first {
        return key.into();
    }
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    Path::new(&key.chars().map(swap).collect::<String>()).to_owned()
}
