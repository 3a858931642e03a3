//! The seam: containers behind one isolation boundary, of either kind.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use spec::oci::runtime as oci;
use spec::{ContainerId, Exit, Pid, ProcessId, ProcessInfo, Signal};

/// Containers behind one isolation boundary.
///
/// Callers name ids, never pids or paths inside: those mean nothing on the far side of a VM. Calls
/// block. The same failure has the same `Kind` in both modes.
pub trait Sandbox: Send + Sync {
    /// Makes the container; its init waits at the start gate. Gives the host's process to show for
    /// it: the init itself, or the VM's worker.
    fn create(&self, container: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Pid, Error>;
    /// Makes another process in a running container; it waits at its gate as init does.
    fn exec(&self, process: &ProcessId, program: &oci::Process, io: Stdio) -> Result<Pid, Error>;
    /// Opens the gate: the user's program is executed.
    fn start(&self, process: &ProcessId) -> Result<(), Error>;
    /// Delivers a signal; does not wait for its effect.
    fn signal(&self, process: &ProcessId, signal: Signal, to: Recipients) -> Result<(), Error>;
    /// Blocks until the process ends; every later call returns the same answer.
    fn wait(&self, process: &ProcessId) -> Result<Exit, Error>;
    /// Sets the size of the process's terminal.
    fn resize(&self, process: &ProcessId, size: WindowSize) -> Result<(), Error>;
    /// Ends the process's standard input once what was written has been read.
    fn close_stdin(&self, process: &ProcessId) -> Result<(), Error>;
    /// The container's processes, with pids of their own side.
    fn processes(&self, container: &ContainerId) -> Result<Vec<ProcessInfo>, Error>;
    /// Suspends or resumes all processes of the container.
    fn freeze(&self, container: &ContainerId, frozen: bool) -> Result<(), Error>;
    /// Forgets an ended process and frees what it held; for an init, the whole container.
    fn delete(&self, process: &ProcessId) -> Result<Exit, Error>;
    /// Ends everything behind the boundary and the boundary itself.
    fn shutdown(&self) -> Result<(), Error>;
}

/// What a container is made from, the same for both walls.
#[derive(Debug)]
pub struct Bundle {
    /// The directory that holds it; the mount point `rootfs` is made there.
    pub path: PathBuf,
    /// Its `config.json`.
    pub spec: oci::Spec,
    /// Its root filesystem.
    pub rootfs: Rootfs,
}

/// A container's root filesystem as data; each wall translates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// A finished directory tree.
    Directory(PathBuf),
    /// Read-only layers beneath a writable one.
    Overlay {
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// What the container writes.
        upper: PathBuf,
        /// Overlayfs's own, on the filesystem of `upper`.
        work: PathBuf,
    },
}

/// The process's ends of its standard streams.
#[derive(Debug, Default)]
pub struct Stdio {
    /// What it reads; `None` is `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Where it writes, and its terminal's output where it has one; `None` is `/dev/null`.
    pub stdout: Option<OwnedFd>,
    /// Unused with a terminal.
    pub stderr: Option<OwnedFd>,
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients {
    /// The named process alone.
    One,
    /// Every process of the container.
    All,
}
