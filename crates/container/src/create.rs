//! Making a container.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use spec::oci::runtime as oci;

use crate::{Console, Stdio};

/// What a container is made from. `CreateOptions::new(bundle, spec)` and then the fields that differ.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// The directory to which relative paths in the configuration refer; reported by `state`.
    pub bundle: &'a Path,
    /// Its `config.json`.
    pub spec: &'a oci::Spec,
    /// The root filesystem, absolute; `None` for `root.path` in the configuration.
    pub rootfs: Option<PathBuf>,
    /// Standard streams, when there is no terminal.
    pub stdio: Stdio,
    /// Where the terminal's master goes, when there is one.
    pub console: Console,
    /// File to write the new pid to, atomically, before `create` returns.
    pub pid_file: Option<&'a Path>,
    /// Descriptors that the user's program inherits as 3, 4, …, in order.
    pub preserve_fds: Vec<OwnedFd>,
    /// chroot instead of pivot_root, for a rootfs on the initial ramfs. Weaker: see pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
}

impl<'a> CreateOptions<'a> {
    /// Inherited streams, pivot_root, a new session keyring.
    pub fn new(bundle: &'a Path, spec: &'a oci::Spec) -> Self {
        Self {
            bundle,
            spec,
            rootfs: None,
            stdio: Stdio::default(),
            console: Console::default(),
            pid_file: None,
            preserve_fds: Vec::new(),
            no_pivot: false,
            no_new_keyring: false,
        }
    }
}
