//! Where the hypervisor, the guest's kernel, its modules and the agent are on this host.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    /// The probe's answer lives beneath: `vm/`.
    pub exec_root: PathBuf,
}

impl Config {
    /// Finds the parts that `options` leaves open.
    ///
    /// # Errors
    ///
    /// One that names the part that is missing on this host and what to do about it.
    pub fn locate(options: &Options) -> Result<Self, Error> {
        let vm = &options.vm;
        let search = std::env::var_os("PATH").unwrap_or_default();
        let qemu =
            program(&vm.qemu, &search).ok_or_else(|| Error::NoQemu { name: vm.qemu.clone() })?;
        let kernel = match &vm.kernel {
            Some(kernel) => {
                existing(kernel, "kernel", "set --vm-kernel or HULL_VM_KERNEL to another")?
            }
            None => newest_kernel(&options.kernel_dir().join("boot"))?,
        };
        let modules = match &vm.modules {
            Some(modules) => modules.clone(),
            None => modules_beside(&kernel)?,
        };
        existing(
            &modules.join("modules.dep"),
            "module list",
            "run depmod, or set --vm-modules or HULL_VM_MODULES",
        )?;
        let agent = vm.agent.clone().map_or_else(sibling_agent, Ok)?;
        let agent =
            existing(&agent, "guest agent", "install hull-agent beside the other programs")?;
        Ok(Self {
            qemu,
            kernel,
            modules,
            agent,
            accel: vm.accel,
            data_root: options.data_root.clone(),
            exec_root: options.exec_root.clone(),
        })
    }
}

/// `name` itself when it holds a slash, else the first executable of that name in `search`; links are
/// resolved.
fn program(name: &Path, search: &OsStr) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = if name.components().count() > 1 {
        Some(name.to_owned()).filter(executable)
    } else {
        std::env::split_paths(search).map(|directory| directory.join(name)).find(executable)
    };
    found?.canonicalize().ok()
}

fn existing(path: &Path, what: &'static str, remedy: &'static str) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|source| Error::Missing {
        what,
        path: path.to_owned(),
        remedy,
        source,
    })
}

/// The `vmlinuz-RELEASE` of the highest release in `boot`.
fn newest_kernel(boot: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(boot).into_iter().flatten().flatten();
    let kernels = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some((release_order(name.strip_prefix("vmlinuz-")?), entry.path()))
    });
    let newest = kernels.max().ok_or_else(|| Error::NoKernel { boot: boot.to_owned() })?;
    Ok(newest.1)
}

/// Orders releases by their numbers: `6.1.0-56` after `6.1.0-9`.
fn release_order(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// For `X/boot/vmlinuz-R`, `X/lib/modules/R`, and the same beneath `usr`.
fn modules_beside(kernel: &Path) -> Result<PathBuf, Error> {
    let unknown = || Error::NoModules { kernel: kernel.to_owned() };
    let name = kernel.file_name().map(OsStr::to_string_lossy).ok_or_else(unknown)?;
    let release = OsString::from(name.strip_prefix("vmlinuz-").ok_or_else(unknown)?);
    let root = kernel.parent().and_then(Path::parent).ok_or_else(unknown)?;
    ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|place| root.join(place).join(&release))
        .find(|directory| directory.is_dir())
        .ok_or_else(unknown)
}

fn sibling_agent() -> Result<PathBuf, Error> {
    let program = std::env::current_exe().map_err(|source| Error::Missing {
        what: "running program",
        path: "/proc/self/exe".into(),
        remedy: "mount proc",
        source,
    })?;
    Ok(program.with_file_name("hull-agent"))
}

/// What is missing on this host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No hypervisor.
    #[error("no hypervisor {}: install qemu-system-x86 or set --vm-qemu or HULL_VM_QEMU", name.display())]
    NoQemu {
        /// The program that was looked for.
        name: PathBuf,
    },
    /// No kernel was named, and none is in the place where they are unpacked.
    #[error("no guest kernel in {}: run `make vm-kernel` or set --vm-kernel or HULL_VM_KERNEL", boot.display())]
    NoKernel {
        /// Where it was looked for.
        boot: PathBuf,
    },
    /// The kernel's modules are not where its name says.
    #[error("no modules for guest kernel {}: set --vm-modules or HULL_VM_MODULES", kernel.display())]
    NoModules {
        /// The kernel.
        kernel: PathBuf,
    },
    /// A named file cannot be reached.
    #[error("{what} {}: {remedy}", path.display())]
    Missing {
        /// What the file is.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
        /// Why it cannot be reached.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        Kind::Unsupported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_highest_numbers() {
        let mut releases = ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "5.10.0-99-cloud-amd64"];
        releases.sort_by_key(|release| release_order(release));
        assert_eq!(
            releases,
            ["5.10.0-99-cloud-amd64", "6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64"]
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let mut options = Options { data_root: "/nowhere".into(), ..Options::default() };
        options.vm.qemu = "no-such-qemu".into();
        let message = Config::locate(&options).unwrap_err().to_string();
        assert_eq!(
            message,
            "no hypervisor no-such-qemu: install qemu-system-x86 or set --vm-qemu or HULL_VM_QEMU"
        );
        options.vm.qemu = "/bin/sh".into();
        let message = Config::locate(&options).unwrap_err().to_string();
        assert_eq!(
            message,
            "no guest kernel in /nowhere/vm/kernel/boot: run `make vm-kernel` or set --vm-kernel or HULL_VM_KERNEL"
        );
        options.vm.kernel = Some("/bin/sh".into());
        let message = Config::locate(&options).unwrap_err().to_string();
        assert!(message.starts_with("no modules for guest kernel /"), "{message}");
    }
}
