//! What stands behind the wall, for `inspect`: written into the bundle by whichever side made it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::{Kind, Pid};

/// The file's name in the bundle.
pub const FILE: &str = "isolation.json";

/// How a container is isolated. Fields that do not exist for a wall are absent from the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// `namespaces`, `qemu-kvm` or `qemu-tcg`.
    pub backend: String,
    /// The hypervisor's accelerator, `kvm` or `tcg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// Whether the processor keeps the container's memory and instructions apart.
    pub hardware_isolation: bool,
    /// The VM's worker process on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_pid: Option<Pid>,
    /// What holds the worker, by the kernel's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub walls: Vec<String>,
    /// The guest's kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Whether the VM is a clone of a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<bool>,
    /// From the start of making the container until it was ready, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// How the wall came down, where that was what ended the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// The facts could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error("write {}", path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self.source.kind() {
            io::ErrorKind::StorageFull => Kind::Exhausted,
            _ => Kind::Internal,
        }
    }
}

impl Facts {
    /// The facts of a container that shares the host's kernel.
    pub fn namespaces() -> Self {
        Self {
            backend: "namespaces".into(),
            accelerator: None,
            hardware_isolation: false,
            worker_pid: None,
            walls: Vec::new(),
            kernel: None,
            template: None,
            start_ms: None,
            ended: None,
        }
    }

    /// Writes them to [`FILE`] in `bundle`, whole or not at all.
    pub fn write(&self, bundle: &Path) -> Result<(), Error> {
        let path = bundle.join(FILE);
        let new = bundle.join(format!(".{FILE}"));
        let text = serde_json::to_vec(self).map_err(io::Error::from);
        text.and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| Error { path, source })
    }

    /// Reads them from `bundle`; `None` when there are none, or none that can be read.
    pub fn read(bundle: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(bundle.join(FILE)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_kernel_has_no_worker_to_show() {
        let text = serde_json::to_string(&Facts::namespaces()).expect("json");
        assert_eq!(text, r#"{"backend":"namespaces","hardwareIsolation":false}"#);
    }
}
