//! What the launcher asks of init. See `channel.rs` for the order of messages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::Kind;
use spec::oci::runtime as oci;

use crate::seccomp::Filter;
use crate::source::Layers;

/// Everything init needs; its descriptors are inherited, see [`Layout`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request<'a> {
    /// The program to become.
    pub(crate) process: Cow<'a, oci::Process>,
    /// `tasks` files of the cgroups to join, for cgroup v1.
    pub(crate) tasks: Vec<PathBuf>,
    /// The compiled seccomp profile.
    pub(crate) filter: Option<Cow<'a, Filter>>,
    /// `linux.personality`, of an exec too.
    pub(crate) personality: Option<Cow<'a, oci::LinuxPersonality>>,
    /// `linux.memoryPolicy`, of an exec too.
    pub(crate) memory_policy: Option<Cow<'a, oci::LinuxMemoryPolicy>>,
    /// Which descriptors it was started with.
    pub(crate) layout: Layout,
    /// The container to build around it; `None` to enter one that exists.
    pub(crate) plan: Option<Plan<'a>>,
}

/// Init's descriptors: 0, 1, 2, `preserved` more, the channel, then the gate and the rest in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// `CLONE_NEW*` of each namespace to enter, one descriptor each; for an exec one pidfd with all.
    pub(crate) namespaces: Vec<u32>,
    /// Whether the start gate's listening socket follows; without it the channel is the gate.
    pub(crate) gate: bool,
    /// Whether the root filesystem's mount follows; for an exec, the root directory.
    pub(crate) rootfs: bool,
    /// The places in [`Plan::mounts`] whose sources follow.
    pub(crate) mounts: Vec<usize>,
    /// The places in [`Plan::devices`] whose nodes follow.
    pub(crate) devices: Vec<usize>,
}

/// A container to build.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan<'a> {
    /// The root filesystem, absolute, on the launcher's side.
    pub(crate) rootfs: Cow<'a, Path>,
    /// What is mounted there instead of what is there.
    pub(crate) layers: Option<Cow<'a, Layers>>,
    /// Whether it is read-only in the end.
    pub(crate) readonly: bool,
    /// chroot instead of pivot_root.
    pub(crate) no_pivot: bool,
    /// Whether the mounts are not the launcher's.
    pub(crate) mount_namespace: bool,
    /// Name of the new session keyring.
    pub(crate) keyring: Option<Cow<'a, str>>,
    /// Whether a network namespace was made, whose `lo` is to be brought up.
    pub(crate) loopback: bool,
    /// Whether to make a cgroup namespace, once the cgroups are joined.
    pub(crate) cgroup_namespace: bool,
    /// Offsets of the clocks in a time namespace to make, see [`sys::namespace::make_time`].
    pub(crate) clocks: Option<String>,
    /// Whether the container's users are not the host's.
    pub(crate) user_namespace: bool,
    /// How this host's cgroups are laid out, for mounts of type `cgroup`.
    pub(crate) cgroups: crate::cgroup::View,
    /// `linux.rootfsPropagation`.
    pub(crate) propagation: Option<Cow<'a, str>>,
    /// `linux.mountLabel`.
    pub(crate) mount_label: Option<Cow<'a, str>>,
    /// The mounts, in order.
    pub(crate) mounts: Cow<'a, [oci::Mount]>,
    /// Devices beyond the default ones.
    pub(crate) devices: Cow<'a, [oci::LinuxDevice]>,
    /// Paths to hide.
    pub(crate) masked: Cow<'a, [String]>,
    /// Paths to make read-only.
    pub(crate) readonly_paths: Cow<'a, [String]>,
    /// Kernel parameters, checked to be namespaced.
    pub(crate) sysctl: Option<Cow<'a, HashMap<String, String>>>,
    /// Host name.
    pub(crate) hostname: Option<Cow<'a, str>>,
    /// NIS domain name.
    pub(crate) domainname: Option<Cow<'a, str>>,
    /// Whether the launcher has hooks to run before the pivot.
    pub(crate) launcher_hooks: bool,
    /// Hooks to run in the container before the pivot.
    pub(crate) create_container: Cow<'a, [oci::Hook]>,
    /// Hooks to run in the container before the program.
    pub(crate) start_container: Cow<'a, [oci::Hook]>,
    /// What hooks read on their standard input.
    pub(crate) state: Option<crate::hook::State>,
}

/// What init tells the launcher or the starter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The rootfs stands; the launcher's hooks may run.
    Hooks,
    /// Only the gate is left. The terminal's master travels with it.
    Ready {
        /// What could not be done in full on this host.
        warnings: Vec<String>,
    },
    /// This process is under a filter with a listener, its descriptor of this number. After `Ready`.
    Listener {
        /// The descriptor.
        fd: i32,
    },
    /// It cannot be done; init has ended.
    Failed {
        /// The class of the failure.
        kind: Kind,
        /// The chain of what failed.
        message: String,
    },
}
