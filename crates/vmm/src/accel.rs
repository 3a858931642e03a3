//! Which accelerator works on this host.
//!
//! `/dev/kvm` proves nothing: there are hosts where it opens, a VM can be made, and a kernel in it then
//! hangs. So a guest is booted, with a deadline, and the answer kept in `<exec_root>/vm/kvm.json` for as
//! long as host boot, hypervisor and guest kernel stay the same.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use spec::Kind;
use spec::options::Accel;

use crate::boot::{self, Origin, Parts};
use crate::command::Machine;
use crate::fingerprint::{self, Fingerprint};
use crate::{Config, disk, initramfs};

/// A guest under KVM says hello in about a second, nested and busy perhaps in five.
const PATIENCE: Duration = Duration::from_secs(12);

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    /// What it holds for.
    key: String,
    /// `None` when KVM works, else why not.
    trouble: Option<String>,
}

/// The accelerator that machines of this configuration run with: never `Auto`. The first call on a host
/// with `/dev/kvm` may take 12 s.
///
/// # Errors
///
/// When KVM was asked for and does not work, and when the probe itself cannot be made.
pub fn accelerator(config: &Config) -> Result<Accel, Error> {
    match config.accel {
        Accel::Tcg => Ok(Accel::Tcg),
        Accel::Auto => Ok(if trouble(config)?.is_none() { Accel::Kvm } else { Accel::Tcg }),
        Accel::Kvm => match trouble(config)? {
            None => Ok(Accel::Kvm),
            Some(reason) => Err(Error::NoKvm { reason }),
        },
    }
}

/// Why KVM does not work here; `None` when it does.
fn trouble(config: &Config) -> Result<Option<String>, Error> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
        return Ok(Some(format!("/dev/kvm: {error}")));
    }
    let path = config.exec_root.join("vm/kvm.json");
    let key = key(config)?;
    if let Some(answer) = known(&path, &key) {
        return Ok(answer.trouble);
    }
    let directory = config.exec_root.join("vm");
    crate::cache::make_directory(&directory)
        .map_err(|source| Error::Cache { path: path.clone(), source })?;
    let _lock = lock(&directory.join("kvm.lock"))?;
    if let Some(answer) = known(&path, &key) {
        return Ok(answer.trouble);
    }
    let trouble = probe(config)?;
    tracing::info!(works = trouble.is_none(), trouble = trouble.as_deref(), "kvm probed");
    let answer = Answer { key, trouble: trouble.clone() };
    let text = serde_json::to_vec(&answer).expect("answers are plain data");
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|source| Error::Cache { path, source })?;
    Ok(trouble)
}

fn key(config: &Config) -> Result<String, Error> {
    let identify = |path: &Path| {
        Fingerprint::of(path).map_err(|source| Error::Cache { path: path.to_owned(), source })
    };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(fingerprint::key(&(boot, identify(&config.qemu)?, identify(&config.kernel)?)))
}

fn known(path: &Path, key: &str) -> Option<Answer> {
    let answer: Answer = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (answer.key == key).then_some(answer)
}

fn lock(path: &Path) -> Result<File, Error> {
    let fail = |source| Error::Cache { path: path.to_owned(), source };
    let lock = File::create(path).map_err(fail)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|errno| fail(errno.into()))?;
    Ok(lock)
}

/// Boots a guest. That it does not come up is an answer; that it cannot be tried is an error.
fn probe(config: &Config) -> Result<Option<String>, Error> {
    let initramfs = initramfs::ensure(config)?;
    let machine = Machine { accel: Accel::Kvm, memory_mib: 256, cpus: 1 };
    let (netns, taps) = boot::unplugged()?;
    let disk =
        |size| disk::nameless(size).map_err(|source| Error::Cache { path: "memfd".into(), source });
    let (root, scratch) = (disk(disk::ROOT_BYTES)?.1, disk(1 << 30)?.0);
    let parts = Parts { root, scratch, taps, netns };
    let origin = Origin::Boot { initramfs: &initramfs, memory: None };
    match boot::bring_up(config, &machine, parts, &origin, PATIENCE) {
        Ok(_) => Ok(None),
        Err(error @ boot::Error::Guest { .. }) => Ok(Some(spec::chain(&error))),
        Err(error) => Err(error.into()),
    }
}

/// Why there is no accelerator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// KVM was asked for.
    #[error("kvm does not work on this host ({reason}): use --vm-accel=auto or tcg")]
    NoKvm {
        /// What the probe met.
        reason: String,
    },
    /// The initramfs for the probe could not be made.
    #[error("make the initramfs")]
    Initramfs(#[from] initramfs::Error),
    /// The probe's worker could not be started.
    #[error("probe kvm")]
    Probe(#[from] boot::Error),
    /// The answer cannot be kept.
    #[error("keep the kvm probe's answer at {}", path.display())]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoKvm { .. } => Kind::Unsupported,
            Self::Initramfs(error) => error.kind(),
            Self::Probe(error) => error.kind(),
            Self::Cache { .. } => Kind::Internal,
        }
    }
}
