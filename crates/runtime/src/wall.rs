//! The wall and the kernel that a configuration asks for. This program has one of each, the host's: it
//! refuses what asks for others, and never makes a container behind a weaker wall than was asked for.
//!
//! Spec: OCI runtime-spec, config-vm.md; [`spec::annotation`].

use spec::annotation::ISOLATION;
use spec::isolation::InvalidIsolation;
use spec::kernel::{self, Wish};
use spec::oci::runtime as oci;

/// Why the host's kernel will not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The annotation names no wall.
    #[error("annotation {ISOLATION}")]
    Isolation(#[source] InvalidIsolation),
    /// A VM is asked for.
    #[error(
        "{0} asks for a VM, and hull-runtime makes process containers only: use the shim \
         containerd-shim-hull-v2 (ctr run --runtime io.containerd.hull.v2 --annotation \
         {ISOLATION}=hyperv) or docker run --isolation=hyperv"
    )]
    Vm(&'static str),
    /// Another kernel is asked for.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// Checks `spec` against the host's kernel, of this release.
pub(crate) fn check(spec: &oci::Spec, release: &str) -> Result<(), Error> {
    if spec.vm().is_some() {
        return Err(Error::Vm("the section vm"));
    }
    let annotations = spec.annotations().as_ref();
    let wall = annotations.and_then(|all| all.get(ISOLATION));
    let wall = wall.map(|text| text.parse()).transpose().map_err(Error::Isolation)?;
    if !wall.unwrap_or(spec::Isolation::Process).shares_kernel() {
        return Err(Error::Vm("annotation dev.hull.isolation"));
    }
    Ok(Wish::of(annotations)?.check(release)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_another_kernel_is_refused() {
        let asked = |text: &str| {
            let spec = spec::config::spec(text.as_bytes()).expect("valid").value;
            check(&spec, "6.1.0-50-cloud-amd64").map_err(|error| error.to_string())
        };
        let label = |key: &str, value: &str| {
            asked(&format!(r#"{{"annotations": {{"{key}": "{value}"}}}}"#))
        };
        for (key, value) in [
            ("dev.hull.isolation", "process"),
            ("dev.hull.kernel.minimum", "6.1"),
            ("dev.hull.kernel", "6.1.0-50-cloud-amd64"),
        ] {
            assert_eq!(label(key, value), Ok(()), "{key}={value}");
        }
        for (key, value, said) in [
            ("dev.hull.isolation", "hyperv", "annotation dev.hull.isolation asks for a VM"),
            ("dev.hull.isolation", "vm", "annotation dev.hull.isolation asks for a VM"),
            ("dev.hull.isolation", "none", "annotation dev.hull.isolation"),
            ("dev.hull.kernel.minimum", "6.2", "Linux 6.2 or newer, and this kernel is 6.1.0-50"),
            ("dev.hull.kernel.minimum", "new", "is no version"),
            ("dev.hull.kernel", "6.1", "asks for Linux 6.1, and this kernel is 6.1.0-50"),
        ] {
            let error = label(key, value).expect_err("refused");
            assert!(error.contains(said), "{key}={value}: {error}");
        }
        let error = asked(r#"{"vm": {"kernel": {"path": "/k"}}}"#).expect_err("refused");
        assert!(error.starts_with("the section vm asks for a VM"), "{error}");
    }
}
