//! Keys of the annotations through which Hull's engine tells Hull's shim what OCI has no field for.

use crate::oci::runtime::Spec;

/// The wall: a value of [`crate::Isolation`]. Absent means `process`.
pub const ISOLATION: &str = "dev.hull.isolation";

/// Destinations, separated by `:`, of bind mounts that the engine itself made of small files
/// (`/etc/hosts` and its like). A VM gets copies of these; every other bind mount is the user's.
pub const ENGINE_FILES: &str = "dev.hull.engine-files";

/// The destination of a bind mount of the container's init, `hull-agent`: each side of the wall has its
/// own.
pub const INIT: &str = "dev.hull.init";

/// The most that the container writes, in MiB: the size of a VM's scratch disk.
pub const SCRATCH_MIB: &str = "dev.hull.scratch-mib";

/// `all`: besides its own the container gets every device node of its side of the wall.
pub const HOST_DEVICES: &str = "dev.hull.host-devices";

/// Of an update of a task, with any value: something outside of the container has changed, interfaces of
/// its network namespace or small files of the engine's.
pub const REFRESH: &str = "dev.hull.refresh";

/// The oldest kernel that will do, as `6.1`; a label of the same name asks for it.
pub const KERNEL_MINIMUM: &str = "dev.hull.kernel.minimum";

/// The release of the one kernel that will do; a label of the same name asks for it.
pub const KERNEL: &str = "dev.hull.kernel";

/// [`RECLAIM`]: a pause gives memory back; a label of the same name asks for it.
pub const PAUSE: &str = "dev.hull.pause";

/// The one value of [`PAUSE`]: what a paused container can do without for now goes back to the host.
pub const RECLAIM: &str = "reclaim";

/// The container whose sandbox this one shares: its shim, and behind a VM's wall its VM.
pub const SANDBOX: &str = "dev.hull.sandbox";

/// Which namespaces of containers in the same sandbox it joins: `network=ID,pid=ID`.
pub const NAMESPACES: &str = "dev.hull.namespaces";

/// As [`SANDBOX`], of containerd's CRI plugin; its `sandbox-id` is a pod's first container, which has it too.
const CRI_SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
/// What of a pod a container is, of the same: `sandbox` for its first, else `container`.
const CRI_KIND: &str = "io.kubernetes.cri.container-type";

/// The container whose sandbox this one shares; `None` for one with a sandbox of its own.
pub fn sandbox(spec: &Spec) -> Option<&str> {
    get(spec, SANDBOX).or_else(|| pod(spec))
}

/// The first container of the pod that this one belongs to without being the first.
pub fn pod(spec: &Spec) -> Option<&str> {
    get(spec, CRI_SANDBOX).filter(|_| get(spec, CRI_KIND) == Some("container"))
}

fn get<'a>(spec: &'a Spec, key: &str) -> Option<&'a str> {
    spec.annotations().as_ref()?.get(key).map(String::as_str)
}

/// What every key of ours begins with.
pub const PREFIX: &str = "dev.hull.";
