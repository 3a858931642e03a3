//! One running virtual machine.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::options::Accel;
use spec::{Kind, Pid};

use crate::Config;

/// What one machine is made from. Every file is opened by the caller's rights and passed to the worker
/// as a descriptor; the worker can open none of them itself.
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
    /// The host's side of the guest's `eth0`, made by `sys::tap::open` in the sandbox's network
    /// namespace. `None` is a cable that leads nowhere. A clone's `eth0` has the template's MAC
    /// address: the agent sets the right one.
    pub tap: Option<OwnedFd>,
    /// The network namespace the worker runs in; `None` for an empty one of its own.
    pub netns: Option<PathBuf>,
    /// A directory of this machine's own, for its console log. Made if missing; what the machine puts
    /// there is removed with it.
    pub dir: PathBuf,
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

/// The size of guest memory for a container that may use `mib`: guest overhead added, rounded up to a
/// class (256, 512, 1024, ... MiB).
pub fn class(mib: u32) -> u32 {
    mib.next_power_of_two().max(256)
}

/// A running virtual machine. Dropping it kills the worker and removes what it left.
#[derive(Debug)]
pub struct Machine {}

impl Machine {
    /// Starts a machine whose agent answers on [`Machine::channel`].
    ///
    /// # Errors
    ///
    /// One that says which step did not work, with the guest's last console lines where there are
    /// any. Nothing is left behind: no process, no file.
    pub fn start(_config: &Config, _request: Request, _start: Start) -> Result<Self, Error> {
        todo!()
    }

    /// The byte stream to the agent's port: one more handle to the same stream. End of file when the
    /// worker is gone.
    pub fn channel(&self) -> Result<UnixStream, Error> {
        todo!()
    }

    /// The worker's process on the host.
    pub fn pid(&self) -> Pid {
        todo!()
    }

    /// What runs it.
    pub fn backend(&self) -> &Backend {
        todo!()
    }

    /// Stops the virtual processors; the guest notices nothing but the time.
    pub fn pause(&self) -> Result<(), Error> {
        todo!()
    }

    /// Lets them run again.
    pub fn resume(&self) -> Result<(), Error> {
        todo!()
    }

    /// Kills the worker and waits for its end. Safe to call twice.
    pub fn kill(&self) {
        todo!()
    }

    /// Blocks until the worker has ended, by itself (the guest powered off or panicked) or killed.
    pub fn wait(&self) {
        todo!()
    }

    /// The last lines on the guest's console, for messages about its death.
    pub fn console_tail(&self) -> String {
        todo!()
    }
}

/// Why a machine did not start or could not be driven.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match *self {}
    }
}
