//! Kernel parameters must belong to a namespace that is the container's alone.
//!
//! Spec: OCI runtime-spec, config-linux.md "Sysctl"; runc's rules for which parameter is whose.

use std::collections::HashMap;
use std::path::Path;

use spec::oci::runtime::LinuxNamespaceType as Type;
use spec::sysctl::{name, owner, path};

use super::Error;

/// Checks `linux.sysctl`. `is_apart`: whether the container has a namespace of this type that is not
/// the launcher's.
pub(crate) fn sysctl(
    sysctl: &HashMap<String, String>,
    is_apart: impl Fn(Type) -> bool,
) -> Result<(), Error> {
    let invalid = |reason: String| Err(Error::invalid("linux.sysctl", reason));
    for key in sysctl.keys() {
        let Some(name) = name(key) else {
            return invalid(format!("{key:?} is not a parameter's name"));
        };
        if name == "kernel.hostname" {
            return invalid(format!("{key} conflicts with hostname, which sets it"));
        }
        let Some(kind) = owner(key) else {
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
