//! Keys of the annotations through which Hull's engine tells Hull's shim what OCI has no field for.

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

/// What every key of ours begins with.
pub const PREFIX: &str = "dev.hull.";
