//! The wall and the kernel that a configuration asks for. A container is never made behind a weaker wall
//! than was asked for.
//!
//! Spec: OCI runtime-spec, config-vm.md; [`spec::annotation`].

use spec::Isolation;
use spec::annotation::ISOLATION;
use spec::isolation::InvalidIsolation;
use spec::kernel::{self, Wish};
use spec::oci::runtime as oci;

/// Why there is no wall or no kernel like that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The annotation names no wall.
    #[error("annotation {ISOLATION}")]
    Isolation(#[source] InvalidIsolation),
    /// Two walls are asked for.
    #[error("the section vm asks for a VM, and annotation {ISOLATION} for {0}: want one of them")]
    Both(Isolation),
    /// Another kernel is asked for.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// The wall that `spec` asks for: by a section `vm`, or by the annotation; else the usual.
pub(crate) fn of(spec: &oci::Spec, usual: Isolation) -> Result<Isolation, Error> {
    let wall = spec.annotations().as_ref().and_then(|all| all.get(ISOLATION));
    let wall = wall.map(|text| text.parse()).transpose().map_err(Error::Isolation)?;
    match (spec.vm(), wall) {
        (None, wall) => Ok(wall.unwrap_or(usual)),
        (Some(_), None | Some(Isolation::Vm)) => Ok(Isolation::Vm),
        (Some(_), Some(other)) => Err(Error::Both(other)),
    }
}

/// Checks `spec` against the host's kernel, of this release.
pub(crate) fn check_kernel(spec: &oci::Spec, release: &str) -> Result<(), Error> {
    Ok(Wish::of(spec.annotations().as_ref())?.check(release)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> oci::Spec {
        spec::config::spec(text.as_bytes()).expect("valid").value
    }

    #[test]
    fn a_section_or_an_annotation_asks_for_a_wall() {
        let isolation = |wall: &str, more: &str| {
            let text = format!(r#"{{"annotations": {{"dev.hull.isolation": "{wall}"}}{more}}}"#);
            of(&spec(&text), Isolation::Process).map_err(|error| error.to_string())
        };
        let section = r#", "vm": {"kernel": {"path": "/k"}}"#;
        for usual in [Isolation::Process, Isolation::Vm] {
            assert_eq!(of(&spec("{}"), usual).ok(), Some(usual));
            assert_eq!(of(&spec(r#"{"vm": {}}"#), usual).ok(), Some(Isolation::Vm));
        }
        assert_eq!(isolation("process", ""), Ok(Isolation::Process));
        assert_eq!(isolation("hyperv", ""), Ok(Isolation::Vm));
        assert_eq!(isolation("vm", section), Ok(Isolation::Vm));
        assert!(isolation("process", section).expect_err("two walls").contains("want one of them"));
        assert!(isolation("none", "").expect_err("no wall").contains("annotation dev.hull"));
    }

    #[test]
    fn what_asks_for_another_kernel_is_refused() {
        let asked = |key: &str, value: &str| {
            let spec = spec(&format!(r#"{{"annotations": {{"{key}": "{value}"}}}}"#));
            check_kernel(&spec, "6.1.0-50-cloud-amd64").map_err(|error| error.to_string())
        };
        assert_eq!(asked("dev.hull.kernel.minimum", "6.1"), Ok(()));
        assert_eq!(asked("dev.hull.kernel", "6.1.0-50-cloud-amd64"), Ok(()));
        for (key, value, said) in [
            ("dev.hull.kernel.minimum", "6.2", "Linux 6.2 or newer, and this kernel is 6.1.0-50"),
            ("dev.hull.kernel.minimum", "new", "is no version"),
            ("dev.hull.kernel", "6.1", "asks for Linux 6.1, and this kernel is 6.1.0-50"),
        ] {
            let error = asked(key, value).expect_err("refused");
            assert!(error.contains(said), "{key}={value}: {error}");
        }
    }
}
