//! What the engine tells its shims of the host's set-up.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod variables;

pub use variables::InvalidVariable;

/// The type URL under which [`Options`] travel, as JSON, in containerd's `CreateTaskRequest.options`.
pub const TYPE_URL: &str = "dev.hull.Options";

/// What a stream of a process is called, in containerd's requests, that is a descriptor of the caller's
/// own: this, its process's number, `/`, and the descriptor's.
pub const LENT: &str = "fd:///";

/// Where things are and how virtual machines are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What survives a reboot.
    pub data_root: PathBuf,
    /// What does not.
    pub exec_root: PathBuf,
    /// Virtual machines.
    pub vm: Vm,
}

/// How virtual machines are made on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vm {
    /// Which accelerator the hypervisor uses.
    pub accel: Accel,
    /// The hypervisor's program, looked up in `PATH` unless it holds a slash.
    pub qemu: PathBuf,
    /// The guest's kernel; `None` for the newest `vmlinuz` beneath `<data_root>/vm/kernel/boot`.
    pub kernel: Option<PathBuf>,
    /// Its module tree, the directory that holds `modules.dep`; `None` for the one beside the kernel.
    pub modules: Option<PathBuf>,
    /// The agent's program; `None` for `hull-agent` beside the running program.
    pub agent: Option<PathBuf>,
    /// Memory of a VM whose container has no limit, in MiB.
    pub memory_mib: u32,
    /// Size of a container's writable layer in a VM, in MiB; the file behind it is sparse.
    pub scratch_mib: u32,
    /// Virtual processors; `None` for as many as the container's quota can use, two where it has none.
    pub cpus: Option<u32>,
    /// Where a unix socket is made on which the VM's console can be read; `None` for none. Said for one VM, not
    /// for a host.
    pub console: Option<PathBuf>,
}

/// The hypervisor's accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// `Kvm` where a probe boot succeeds, else `Tcg`.
    #[default]
    Auto,
    /// Hardware virtualisation.
    Kvm,
    /// Software emulation: no hardware isolation, about ten times slower.
    Tcg,
}

impl Default for Options {
    fn default() -> Self {
        Self { data_root: "/var/lib/hull".into(), exec_root: "/run/hull".into(), vm: Vm::default() }
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self {
            accel: Accel::Auto,
            qemu: "qemu-system-x86_64".into(),
            kernel: None,
            modules: None,
            agent: None,
            memory_mib: 256,
            scratch_mib: 10_240,
            cpus: None,
            console: None,
        }
    }
}

impl Options {
    /// The state directory of the containers that shims make; `hull-runtime --root` reads it too.
    pub fn runtime_root(&self) -> PathBuf {
        self.exec_root.join("runtime")
    }

    /// Where the guest's kernel and modules are unpacked by `make vm-kernel`.
    pub fn kernel_dir(&self) -> PathBuf {
        self.data_root.join("vm/kernel")
    }

    /// A directory beneath the data root.
    pub fn data(&self, name: impl AsRef<Path>) -> PathBuf {
        self.data_root.join(name)
    }
}
