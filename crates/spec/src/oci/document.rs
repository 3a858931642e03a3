//! The root of a configuration.
//!
//! Spec: OCI runtime-spec, config.md.

use std::collections::HashMap;

use getset::{Getters, MutGetters, Setters};
use oci_spec::runtime::{Hooks, Linux, Mount, Root, get_default_mounts};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::process::Process;

/// `config.json`.
#[derive(Clone, Debug, Deserialize, Eq, Getters, MutGetters, PartialEq, Serialize, Setters)]
#[serde(rename_all = "camelCase")]
#[getset(get = "pub", get_mut = "pub", set = "pub")]
pub struct Spec {
    /// The version of the specification that it was written for.
    #[serde(default, rename = "ociVersion")]
    version: String,
    /// The root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Root>,
    /// Mounts beyond the root filesystem, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mounts: Option<Vec<Mount>>,
    /// The container's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    /// The name of the host that the container sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    /// And its domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domainname: Option<String>,
    /// Programs that run at points of the container's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hooks: Option<Hooks>,
    /// What engines note for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<HashMap<String, String>>,
    /// What is Linux's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linux: Option<Linux>,
    /// Another platform's section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    solaris: Option<Foreign>,
    /// Another platform's section, of which a runtime reads the layers' directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    windows: Option<Value>,
    /// The section of containers that are machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vm: Option<Value>,
    /// Another platform's section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zos: Option<Foreign>,
}

/// A shell in namespaces of its own: the specification has no defaults, tests like some.
impl Default for Spec {
    fn default() -> Self {
        Self {
            version: "1.3.0".to_owned(),
            root: Some(Root::default()),
            mounts: Some(get_default_mounts()),
            process: Some(Process::default()),
            hostname: None,
            domainname: None,
            hooks: None,
            annotations: None,
            linux: Some(Linux::default()),
            solaris: None,
            windows: None,
            vm: None,
            zos: None,
        }
    }
}

/// A section that Hull refuses, whatever is in it; only that it is there is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Foreign;

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl Serialize for Foreign {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(std::iter::empty::<((), ())>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_writes_what_oci_spec_does() {
        let theirs = oci_spec::runtime::Spec::default();
        let text = serde_json::to_value(&theirs).expect("json");
        let ours: Spec = serde_json::from_value(text).expect("the same members");
        let text = serde_json::to_value(&ours).expect("json");
        let back: oci_spec::runtime::Spec = serde_json::from_value(text).expect("the same members");
        assert_eq!(back, theirs);
    }

    #[test]
    fn another_platform_s_section_is_only_noticed() {
        let text = r#"{"ociVersion": "1.3.0", "solaris": {"milestone": "a"}, "vm": null}"#;
        let spec: Spec = serde_json::from_str(text).expect("valid");
        assert_eq!((spec.solaris(), spec.vm()), (&Some(Foreign), &None));
    }
}
