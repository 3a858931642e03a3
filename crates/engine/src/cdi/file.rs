//! A file that describes devices.
//!
//! Spec: Container Device Interface, SPEC.md, "CDI JSON Specification".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Versions whose fields these are.
const VERSIONS: [&str; 8] =
    ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
/// The hooks that there are. Spec: OCI runtime-spec, config.md "POSIX-platform Hooks".
const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    cdi_version: String,
    pub(super) kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: Option<Edits>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

/// What is changed of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<Node>,
    pub(super) mounts: Vec<Mount>,
    pub(super) hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    pub(super) groups: Vec<u32>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Node {
    pub(super) path: String,
    #[serde(default)]
    pub(super) host_path: Option<String>,
    #[serde(default)]
    pub(super) r#type: Option<String>,
    #[serde(default)]
    pub(super) major: Option<u32>,
    #[serde(default)]
    pub(super) minor: Option<u32>,
    #[serde(default)]
    pub(super) file_mode: Option<u32>,
    #[serde(default)]
    pub(super) permissions: Option<String>,
    #[serde(default)]
    pub(super) uid: Option<u32>,
    #[serde(default)]
    pub(super) gid: Option<u32>,
}

impl Node {
    /// Its path on the host.
    pub(super) fn on_host(&self) -> &str {
        self.host_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(&self.path)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) r#type: Option<String>,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    #[serde(rename = "hookName")]
    pub(super) stage: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) timeout: Option<i64>,
}

impl File {
    /// What the device of that name needs.
    pub(super) fn device(&self, name: &str) -> Option<&Edits> {
        let device = self.devices.iter().find(|device| device.name == name)?;
        Some(&device.container_edits)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let version = &self.cdi_version;
        if !VERSIONS.contains(&version.trim_start_matches('v')) {
            return Err(format!("cdiVersion {version:?}: want {} to {}", VERSIONS[0], VERSIONS[7]));
        }
        if !super::is_kind(&self.kind) {
            return Err(format!("kind {:?}: want VENDOR/CLASS", self.kind));
        }
        for (number, device) in self.devices.iter().enumerate() {
            let name = &device.name;
            if super::split(&format!("{}={name}", self.kind)).is_none() {
                return Err(format!("device {name:?}: it cannot be a name"));
            }
            if self.devices[..number].iter().any(|other| other.name == *name) {
                return Err(format!("device {name:?} is described twice"));
            }
            device.container_edits.check().map_err(|error| format!("device {name:?}: {error}"))?;
        }
        self.container_edits.as_ref().map_or(Ok(()), Edits::check)
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        let absolute = |what: &str, path: &str| {
            let problem = || format!("{what} {path:?}: want an absolute path");
            path.starts_with('/').then_some(()).ok_or_else(problem)
        };
        if self.intel_rdt.is_some() || !self.net_devices.is_empty() {
            return Err("intelRdt and netDevices are not supported".to_owned());
        }
        if let Some(entry) = self.env.iter().find(|entry| entry.find('=').unwrap_or(0) == 0) {
            return Err(format!("env {entry:?}: want NAME=VALUE"));
        }
        for node in &self.device_nodes {
            absolute("deviceNodes.path", &node.path)?;
            absolute("deviceNodes.hostPath", node.on_host())?;
            let kind = node.r#type.as_deref().unwrap_or_default();
            if !matches!(kind, "" | "b" | "c" | "u" | "p") {
                return Err(format!("deviceNodes.type {kind:?}: want b, c, u or p"));
            }
            let rights = node.permissions.as_deref().unwrap_or_default();
            if !crate::bundle::devices::is_access(rights) {
                return Err(format!("deviceNodes.permissions {rights:?}: want letters of rwm"));
            }
        }
        for mount in &self.mounts {
            absolute("mounts.containerPath", &mount.container_path)?;
            absolute("mounts.hostPath", &mount.host_path)?;
        }
        for hook in &self.hooks {
            absolute("hooks.path", &hook.path)?;
            if !HOOKS.contains(&hook.stage.as_str()) {
                return Err(format!("hookName {:?}: want one of {}", hook.stage, HOOKS.join(", ")));
            }
        }
        Ok(())
    }

    /// Paths of the host that it gives to a container.
    pub(super) fn paths(&self) -> Vec<String> {
        let nodes = self.device_nodes.iter().map(|node| node.on_host().to_owned());
        nodes.chain(self.mounts.iter().map(|mount| mount.host_path.clone())).collect()
    }
}
