//! Another process in a running container.

use std::os::fd::OwnedFd;
use std::path::Path;

use spec::oci::runtime as oci;

use crate::{Console, Gate, Launched, Stdio};

/// What is executed in a running container. `ExecOptions::new(process)` and then what differs.
#[derive(Debug)]
pub struct ExecOptions<'a> {
    /// The program. Absent fields stay absent (no capabilities means none); nothing is taken from
    /// the container's own process but the seccomp filter.
    pub process: &'a oci::Process,
    /// Standard streams, when there is no terminal.
    pub stdio: Stdio,
    /// Where the terminal's master goes, when there is one.
    pub console: Console,
    /// File to write the new pid to, atomically, before `exec` returns.
    pub pid_file: Option<&'a Path>,
    /// Descriptors that the user's program inherits as 3, 4, …, in order.
    pub preserve_fds: Vec<OwnedFd>,
}

impl<'a> ExecOptions<'a> {
    /// Inherited streams.
    pub fn new(process: &'a oci::Process) -> Self {
        Self {
            process,
            stdio: Stdio::default(),
            console: Console::default(),
            pid_file: None,
            preserve_fds: Vec::new(),
        }
    }
}

/// A process that was made by [`crate::Container::exec`] and waits at its gate.
#[derive(Debug)]
pub struct Exec {
    /// The process.
    pub process: Launched,
    /// Opens its way to the user's program.
    pub gate: Gate,
}
