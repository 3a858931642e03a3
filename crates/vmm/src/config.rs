//! Where the hypervisor, the guest's kernel, its modules and the agent are on this host.

use std::path::PathBuf;

use spec::Kind;
use spec::options::{Accel, Options};

/// Everything a machine is made from that is the same for all machines of a host.
#[derive(Debug, Clone)]
pub struct Config {
    /// The hypervisor's program, an absolute path.
    pub qemu: PathBuf,
    /// The guest's kernel image.
    pub kernel: PathBuf,
    /// The directory with its `modules.dep`.
    pub modules: PathBuf,
    /// The agent, a static program: the guest's `/init`.
    pub agent: PathBuf,
    /// The accelerator asked for.
    pub accel: Accel,
    /// Caches live beneath: `vm/` and `templates/`.
    pub data_root: PathBuf,
    /// The probe's answer lives beneath: `vm/accel.json`.
    pub exec_root: PathBuf,
}

impl Config {
    /// Finds the parts that `options` leaves open.
    ///
    /// # Errors
    ///
    /// One that names the part that is missing on this host and what to do about it.
    pub fn locate(_options: &Options) -> Result<Self, Error> {
        todo!()
    }
}

/// What is missing on this host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No hypervisor.
    #[error("no {} in PATH: install qemu-system-x86 or set --vm-qemu", name.display())]
    NoQemu {
        /// The program that was looked for.
        name: PathBuf,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoQemu { .. } => Kind::Unsupported,
        }
    }
}
