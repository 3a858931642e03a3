//! One running virtual machine.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use serde_json::json;
use spec::options::Accel;
use spec::{Kind, Pid};

use crate::boot::{self, Origin, Parts, Running};
use crate::command::NICS;
use crate::console::Follower;
use crate::qmp::{self, Qmp};
use crate::template::{self, Recipe, Template};
use crate::worker::Worker;
use crate::{Config, accel, command, disk, initramfs};

/// What the guest's kernel and agent need besides what a container may use, in MiB.
pub const OVERHEAD_MIB: u32 = 96;

/// How long the monitor may take for a command.
const PROMPTLY: Duration = Duration::from_secs(10);

/// How long a clone may take to run. Busy hosts are slow; a clone that hangs is a broken one.
const CLONING: Duration = Duration::from_secs(30);

/// The first set of descriptors of the disks that come later; the machine's own have those below.
const FIRST_SET: u32 = 3;

/// How many lines of the console are the tail.
const TAIL: usize = 20;

/// What one machine is made from. Every file is opened here, with the caller's rights, and passed to
/// the worker as a descriptor; the worker can open none of them itself.
#[derive(Debug)]
pub struct Request {
    /// Guest memory in MiB: a class as [`class`] gives it, since there is a template for each.
    pub memory_mib: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// The root image, an erofs made by [`crate::disk::make_erofs`]; the guest's `/dev/vda`, read-only.
    pub root: PathBuf,
    /// The writable layer, made by [`crate::disk::make_scratch`]; the guest's `/dev/vdb`.
    pub scratch: PathBuf,
    /// The host's sides of the guest's interfaces, made by [`crate::taps`] in the sandbox's network
    /// namespace. `None` are cables that lead nowhere. A clone's interfaces have the template's MAC
    /// addresses: the agent sets the right ones.
    pub taps: Option<[OwnedFd; NICS]>,
    /// The network namespace the worker runs in; `None` for an empty one of its own.
    pub netns: Option<PathBuf>,
}

/// A disk that a running machine gets: a file or a block device of the host, opened as it may be used.
#[derive(Debug)]
pub struct Disk {
    /// What is behind it.
    pub file: OwnedFd,
    /// Whether the guest may write it.
    pub writable: bool,
    /// What the guest knows it by; letters, digits and `-`, at most 20, none twice in a machine.
    pub serial: String,
}

/// How a machine comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// As a clone of its template, which is made first where it is missing.
    #[default]
    Template,
    /// By booting the kernel.
    Cold,
}

/// What runs a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// `Kvm` or `Tcg`, never `Auto`. Only `Kvm` is hardware isolation.
    pub accel: Accel,
    /// The hypervisor's version, `7.2.22`.
    pub qemu: String,
    /// Whether the machine is a clone of a template.
    pub template: bool,
}

/// The smallest class of guest memory that holds `mib` MiB: 256, 512, 1024, ... For a container's own
/// limit, add [`OVERHEAD_MIB`] first.
pub fn class(mib: u32) -> u32 {
    mib.checked_next_power_of_two().unwrap_or(1 << 31).max(256)
}

/// A running virtual machine. Dropping it kills the worker; there is nothing else to clean up.
#[derive(Debug)]
pub struct Machine {
    worker: Worker,
    monitor: Mutex<Monitor>,
    channel: UnixStream,
    backend: Backend,
    /// The modules of the guest's kernel.
    modules: PathBuf,
}

/// The monitor, and what was attached by it.
#[derive(Debug)]
struct Monitor {
    qmp: Qmp,
    /// The number of the next set of descriptors.
    next: u32,
    /// Disks by their serial numbers, with their sets.
    disks: HashMap<String, u32>,
}

impl Machine {
    /// Starts a machine whose agent listens on [`Machine::channel`].
    ///
    /// # Errors
    ///
    /// One that says which step did not work, with the guest's last console lines where there are
    /// any. Nothing is left behind: no process, no file.
    pub fn start(config: &Config, request: Request, start: Start) -> Result<Self, Error> {
        let accel = accel::accelerator(config)?;
        let Request { memory_mib, cpus, .. } = request;
        let machine = command::Machine { accel, memory_mib, cpus };
        let (parts, scratch_bytes) = open(request)?;
        let running = match start {
            Start::Cold => cold(config, &machine, parts)?,
            Start::Template => clone(config, &machine, parts, scratch_bytes)?,
        };
        let Running { worker, qmp, channel } = running;
        let backend =
            Backend { accel, qemu: qmp.version.clone(), template: start == Start::Template };
        let monitor = Mutex::new(Monitor { qmp, next: FIRST_SET, disks: HashMap::new() });
        Ok(Self { worker, monitor, channel, backend, modules: config.modules.clone() })
    }

    /// The byte stream to the agent's port: one more handle to the same stream. End of file when the
    /// worker is gone.
    pub fn channel(&self) -> Result<UnixStream, Error> {
        self.channel.try_clone().map_err(|source| Error::Channel { source })
    }

    /// The worker's process on the host.
    pub fn pid(&self) -> Pid {
        self.worker.pid()
    }

    /// What runs it.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// What stands between the worker and the host besides the processor: `landlock` only where the kernel
    /// has it.
    pub fn walls(&self) -> Vec<&'static str> {
        let mut walls = vec!["user", "capabilities", "namespaces", "pivot_root", "seccomp"];
        walls.extend(self.worker.landlock().map(|_| "landlock"));
        walls
    }

    /// Gives the guest another disk, which it finds under its serial number a moment later.
    ///
    /// # Errors
    ///
    /// The monitor's, or that the guest's kernel would not find it. Nothing of the disk is left in the machine
    /// then.
    pub fn attach(&self, disk: &Disk) -> Result<(), Error> {
        let mut monitor = self.monitor();
        // One that has a disk already can have another.
        if monitor.disks.is_empty()
            && let Some(name) = initramfs::lacks_for_disks(&self.modules).map_err(Error::Modules)?
        {
            return Err(Error::NoLater { name, tree: self.modules.clone() });
        }
        let set = monitor.next;
        monitor.next += 1;
        let added = add(&mut monitor.qmp, set, disk);
        match added {
            Ok(()) => drop(monitor.disks.insert(disk.serial.clone(), set)),
            Err(_) => remove(&mut monitor.qmp, &disk.serial, set),
        }
        added.map_err(|source| Error::Monitor { source })
    }

    /// Takes a disk away, whether the guest lets go of it or not; one that there is not is none to take.
    ///
    /// # Errors
    ///
    /// The monitor's.
    pub fn detach(&self, serial: &str) -> Result<(), Error> {
        let mut monitor = self.monitor();
        let Monitor { qmp, disks, .. } = &mut *monitor;
        let Some(set) = disks.remove(serial) else { return Ok(()) };
        let deadline = Instant::now() + PROMPTLY;
        let gone = qmp.execute("device_del", &json!({ "id": serial }), deadline);
        let gone = gone
            .and_then(|_| qmp.wait("DEVICE_DELETED", |data| data["device"] == serial, deadline));
        remove(qmp, serial, set);
        gone.map(drop).map_err(|source| Error::Monitor { source })
    }

    /// Stops the virtual processors; the guest notices nothing but the time.
    pub fn pause(&self) -> Result<(), Error> {
        self.order("stop")
    }

    /// Lets them run again.
    pub fn resume(&self) -> Result<(), Error> {
        self.order("cont")
    }

    /// Kills the worker and waits for its end. Safe to call twice.
    pub fn kill(&self) {
        self.worker.kill();
    }

    /// Blocks until the worker has ended, by itself (the guest powered off or panicked) or killed.
    pub fn wait(&self) {
        self.worker.wait();
    }

    /// The last lines on the guest's console, for messages about its death.
    pub fn console_tail(&self) -> String {
        self.worker.console_tail(TAIL)
    }

    /// Reads the guest's console along, from what is kept of it to its end.
    pub fn follow_console(&self) -> Follower {
        self.worker.follow_console()
    }

    /// What the console has to say about the guest's end, in parentheses; empty when there is nothing.
    pub fn last_words(&self) -> String {
        boot::last_words(&self.worker.console_tail(boot::LINES))
    }

    fn order(&self, command: &'static str) -> Result<(), Error> {
        let done = self.monitor().qmp.execute(command, &json!({}), Instant::now() + PROMPTLY);
        done.map(drop).map_err(|source| Error::Monitor { source })
    }

    fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the hypervisor have the disk's descriptor, and the guest the disk.
fn add(qmp: &mut Qmp, set: u32, disk: &Disk) -> Result<(), qmp::Error> {
    let deadline = Instant::now() + PROMPTLY;
    let Disk { file, writable, serial } = disk;
    qmp.give("add-fd", &json!({ "fdset-id": set }), file.as_fd(), deadline)?;
    let driver = if is_block_device(file) { "host_device" } else { "file" };
    let node = json!({
        "driver": "raw", "node-name": serial, "read-only": !writable, "discard": "unmap",
        "file": { "driver": driver, "filename": format!("/dev/fdset/{set}") },
    });
    qmp.execute("blockdev-add", &node, deadline)?;
    let device = json!({
        "driver": "scsi-hd", "bus": command::BUS, "id": serial, "drive": serial, "serial": serial,
    });
    qmp.execute("device_add", &device, deadline).map(drop)
}

/// Takes back what [`add`] has come to do; what it has not cannot be taken back.
fn remove(qmp: &mut Qmp, serial: &str, set: u32) {
    let deadline = Instant::now() + PROMPTLY;
    let _ = qmp.execute("blockdev-del", &json!({ "node-name": serial }), deadline);
    let _ = qmp.execute("remove-fd", &json!({ "fdset-id": set }), deadline);
}

fn is_block_device(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice)
}

/// Opens everything behind the devices; also gives the scratch disk's size.
fn open(request: Request) -> Result<(Parts, u64), Error> {
    let root = opened(&request.root, false)?;
    let scratch = opened(&request.scratch, true)?;
    let sizes = [(&request.root, &root), (&request.scratch, &scratch)].map(|(path, file)| {
        let size = file.metadata().map(|found| found.len());
        size.map_err(|source| Error::Open { path: path.clone(), source })
    });
    let [root_bytes, scratch_bytes] = sizes;
    if root_bytes? != disk::ROOT_BYTES {
        return Err(Error::RootSize { path: request.root });
    }
    let netns = request.netns.as_deref().map(|path| opened(path, false)).transpose()?;
    let (netns, taps) = match (netns, request.taps) {
        (Some(netns), Some(taps)) => (netns.into(), taps),
        (netns, taps) => {
            let (empty, loose) = boot::unplugged()?;
            (netns.map_or(empty, OwnedFd::from), taps.unwrap_or(loose))
        }
    };
    let (root, scratch) = (root.into(), scratch.into());
    Ok((Parts { root, scratch, taps, netns }, scratch_bytes?))
}

fn opened(path: &Path, write: bool) -> Result<File, Error> {
    let file = File::options().read(true).write(write).open(path);
    file.map_err(|source| Error::Open { path: path.to_owned(), source })
}

fn cold(config: &Config, machine: &command::Machine, parts: Parts) -> Result<Running, Error> {
    let initramfs = initramfs::ensure(config).map_err(template::Error::from)?;
    let origin = Origin::Boot { initramfs: &initramfs, memory: None };
    Ok(boot::bring_up(config, machine, parts, &origin, boot::patience(machine.accel))?)
}

/// Starts from the template. When that does not work, the template may be broken in a way that does
/// not show on its files: it is made again, once.
fn clone(
    config: &Config,
    machine: &command::Machine,
    parts: Parts,
    scratch_bytes: u64,
) -> Result<Running, Error> {
    let recipe = Recipe::new(config, machine, scratch_bytes)?;
    let template = recipe.ensure()?;
    let again = parts.duplicate()?;
    match from_template(config, machine, parts, &template) {
        Err(error @ boot::Error::Guest { .. }) if error.kind() != Kind::Exhausted => {
            tracing::warn!(error = %error, "template does not start, making it again");
            let template = recipe.replace(&template)?;
            Ok(from_template(config, machine, again, &template)?)
        }
        done => Ok(done?),
    }
}

fn from_template(
    config: &Config,
    machine: &command::Machine,
    parts: Parts,
    template: &Template,
) -> Result<Running, boot::Error> {
    let origin = Origin::Clone { memory: &template.memory, state: &template.state };
    boot::bring_up(config, machine, parts, &origin, CLONING)
}

/// Why a machine did not start or could not be driven.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No accelerator.
    #[error("choose the accelerator")]
    Accel(#[from] accel::Error),
    /// No template.
    #[error("make the VM's template")]
    Template(#[from] template::Error),
    /// The guest does not run.
    #[error("start the VM")]
    Boot(#[from] boot::Error),
    /// A file behind a device cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root image was not made by [`crate::disk::make_erofs`].
    #[error("root image {} is not padded to {} bytes", path.display(), disk::ROOT_BYTES)]
    RootSize {
        /// The image.
        path: PathBuf,
    },
    /// No more descriptors.
    #[error("duplicate the agent's channel")]
    Channel {
        /// Why.
        source: io::Error,
    },
    /// The modules of the guest's kernel are not there any more.
    #[error("look for what further disks need")]
    Modules(#[source] initramfs::Error),
    /// The guest's kernel knows no disks but those that it was started with.
    #[error(
        "the VM can have no further disk, and so no second container: guest kernel modules in {} lack \
         {name}: hulld --vm-kernel names another kernel",
        tree.display()
    )]
    NoLater {
        /// The module.
        name: &'static str,
        /// The module tree.
        tree: PathBuf,
    },
    /// The hypervisor does not do what it is told.
    #[error("drive the VM")]
    Monitor {
        /// Why.
        source: qmp::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Accel(error) => error.kind(),
            Self::Template(error) => error.kind(),
            Self::Boot(error) => error.kind(),
            Self::Modules(error) => error.kind(),
            Self::NoLater { .. } => Kind::Unsupported,
            Self::Open { .. } | Self::RootSize { .. } => Kind::Internal,
            Self::Channel { .. } => Kind::Exhausted,
            Self::Monitor { .. } => Kind::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_double_from_256() {
        for (mib, want) in [(0, 256), (256, 256), (257, 512), (1024, 1024), (u32::MAX, 1 << 31)] {
            assert_eq!(class(mib), want, "{mib}");
        }
    }
}
