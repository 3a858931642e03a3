//! What an attacker writes, given to the code that reads it first: for `fuzz/` and for the tests here.
//!
//! Nothing is made or mounted. Each function panics when a promise is broken, and that is all it says.

use std::path::Path;

use spec::oci::runtime::{LinuxSeccomp, Spec};

use crate::seccomp::{self, Filter};
use crate::{Error, check, namespace, rootfs};

/// A `config.json`: it is taken, or refused with a line that names something.
///
/// # Panics
///
/// When it is refused without a reason.
pub fn config(bytes: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return };
    if let Err(error) = read(&spec) {
        let text = spec::chain(&error);
        assert!(!text.trim().is_empty(), "no reason given");
        assert!(!matches!(error, Error::Vanished), "{text}");
    }
}

/// Everything that `create` does before it makes something.
fn read(spec: &Spec) -> Result<(), Error> {
    check::spec(spec)?;
    let linux = spec.linux().as_ref();
    let list = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    // A path among them is opened; these inputs are not to reach the machine's files.
    if list.iter().all(|one| one.path().is_none()) {
        namespace::Namespaces::of(list)?;
    }
    for mount in spec.mounts().iter().flatten() {
        let options = mount.options().as_deref().unwrap_or_default();
        rootfs::probe_options(options, mount.destination());
    }
    if let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) {
        compile(profile)?;
    }
    Ok(())
}

/// Mount options, separated by commas.
pub fn mount_options(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let list: Vec<String> = text.split(',').map(str::to_owned).collect();
    rootfs::probe_options(&list, Path::new("/x"));
}

/// A seccomp profile, each byte of which means something: a program that the kernel takes, or a reason.
///
/// # Panics
///
/// When the kernel would not take the program.
pub fn seccomp(bytes: &[u8]) {
    let profile = seccomp::probe::profile(bytes);
    let profile: LinuxSeccomp = serde_json::from_value(profile).expect("made to be one");
    if let Err(error) = compile(&profile) {
        assert!(!spec::chain(&error).is_empty(), "no reason given");
    }
}

fn compile(profile: &LinuxSeccomp) -> Result<(), Error> {
    let filter = Filter::compile(profile, Path::new("/"))?;
    seccomp::probe::check(&filter);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// What `hull-runtime spec` writes.
    const TEMPLATE: &[u8] = include_bytes!("../../runtime/src/command/config.json");

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_damaged_configuration_is_taken_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = TEMPLATE.to_vec();
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            super::config(&bytes);
            super::config(&bytes[..cut.index(bytes.len())]);
        }

        #[test]
        fn every_profile_gives_a_program_that_the_kernel_takes(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            super::seccomp(&bytes);
        }

        #[test]
        fn no_mount_option_is_too_much(text in "[a-z=,:0-9\\-]{0,60}", bytes: Vec<u8>) {
            super::mount_options(text.as_bytes());
            super::mount_options(&bytes);
        }
    }

    #[test]
    fn the_template_is_taken() {
        let spec = serde_json::from_slice(TEMPLATE).expect("a configuration");
        super::read(&spec).expect("valid");
    }
}
