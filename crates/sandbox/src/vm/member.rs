//! A container among those of a VM.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use spec::oci::runtime::LinuxResources;
use spec::{ContainerId, Usage, annotation};

use super::Error;
use super::refresh::{self, Outside};
use super::running::lock;
use crate::Bundle;

/// What of a VM is one container's.
pub(super) struct Member {
    pub(super) container: ContainerId,
    /// The directory of its bundle, for what is told of it.
    pub(super) bundle: PathBuf,
    /// What the engine may change of it.
    pub(super) outside: refresh::Shared,
    /// What serves the host's files to it.
    shares: Mutex<Option<share::Server>>,
    /// The serial numbers of its disks, those that were attached for it.
    disks: Vec<String>,
    /// What it had used when its init ended.
    used: Mutex<Option<Usage>>,
    /// Its limits.
    pub(super) limits: Mutex<LinuxResources>,
    over: AtomicBool,
    /// Whether a pause of it gives memory back.
    pub(super) reclaims: bool,
    /// Whether it is paused.
    pub(super) frozen: AtomicBool,
    /// Who holds the other end sees when this is gone.
    leash: Mutex<Option<OwnedFd>>,
    /// The leash's other end, until somebody takes it.
    leashed: Mutex<Option<OwnedFd>>,
}

impl Member {
    pub(super) fn new(
        container: ContainerId,
        bundle: &Bundle,
        outside: Outside,
        disks: &[vmm::Disk],
    ) -> Result<Self, Error> {
        let limits = bundle.spec.linux().as_ref().and_then(|linux| linux.resources().clone());
        let annotations = bundle.spec.annotations().as_ref();
        let (leashed, leash) = refresh::leash().map_err(Error::Watch)?;
        Ok(Self {
            container,
            bundle: bundle.path.clone(),
            outside: Mutex::new(outside),
            shares: Mutex::default(),
            disks: disks.iter().map(|disk| disk.serial.clone()).collect(),
            used: Mutex::default(),
            limits: Mutex::new(limits.unwrap_or_default()),
            over: AtomicBool::new(false),
            reclaims: annotations.is_some_and(|all| all.contains_key(annotation::PAUSE)),
            frozen: AtomicBool::new(false),
            leash: Mutex::new(Some(leash)),
            leashed: Mutex::new(Some(leashed)),
        })
    }

    /// Keeps the server of the host's files as long as the container.
    pub(super) fn keep(&self, server: share::Server) {
        *lock(&self.shares) = Some(server);
    }

    /// What follows the engine's files watches this; `None` the second time.
    pub(super) fn leashed(&self) -> Option<OwnedFd> {
        lock(&self.leashed).take()
    }

    pub(super) fn disks(&self) -> &[String] {
        &self.disks
    }

    /// Its init has ended, and this is what it had used.
    pub(super) fn ended(&self, used: Option<Usage>) {
        *lock(&self.used) = used;
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether its init has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// What it had used when its init ended.
    pub(super) fn used(&self) -> Option<Usage> {
        lock(&self.used).clone()
    }

    /// Whether it still counts: what ends with it is no reason to end the VM.
    pub(super) fn stays(&self) -> bool {
        lock(&self.leash).is_some()
    }

    /// Lets go of what it has on the host.
    pub(super) fn leave(&self) {
        drop(lock(&self.leash).take());
        drop(lock(&self.shares).take());
    }
}
