//! What the matrix is made from: this host, as the probes find it, and the policy of its engine.

use serde_json::Value;
use spec::options::Accel;

use super::super::{Finding, ask, host, options, vm};
use crate::client::Client;
use crate::system::ARCHITECTURE;

/// What was found out about a host.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) architecture: &'static str,
    /// The release of its kernel.
    pub(super) release: String,
    /// The releases of the kernels that guests can have, the usual one first.
    pub(super) guests: Vec<String>,
    /// What process isolation needs.
    pub(super) process: Vec<(&'static str, Finding)>,
    /// What every VM needs.
    pub(super) vm: Vec<(&'static str, Finding)>,
    /// Whether a guest gets disks while it runs.
    pub(super) modules: Finding,
    /// Whether KVM boots a guest.
    pub(super) boot: Finding,
    /// The accelerator that the engine was told to use.
    pub(super) accel: Accel,
    /// The walls that the engine allows; `None` where none answers.
    pub(super) policy: Option<Vec<String>>,
}

/// Probes this host.
pub(super) async fn look(client: &Client) -> Facts {
    let info = ask(client).await.unwrap_or(Value::Null);
    let host = &options(&info);
    Facts {
        architecture: ARCHITECTURE,
        release: host::release(),
        guests: vm::releases(host),
        process: vec![
            ("kernel", host::kernel(host)),
            ("namespaces", host::namespaces(host)),
            ("control groups", host::cgroups(host)),
            ("seccomp", host::seccomp(host)),
            ("overlayfs", host::overlay(host)),
        ],
        vm: vec![
            ("disk images", vm::tools(host)),
            ("hypervisor", vm::qemu(host)),
            ("guest kernel", vm::kernel(host)),
        ],
        modules: vm::modules(host),
        boot: vm::boot(host),
        accel: host.vm.accel,
        policy: allowed(&info),
    }
}

fn allowed(info: &Value) -> Option<Vec<String>> {
    let walls = info["Hull"]["AllowedIsolation"].as_array()?;
    Some(walls.iter().filter_map(|wall| wall.as_str().map(str::to_owned)).collect())
}
