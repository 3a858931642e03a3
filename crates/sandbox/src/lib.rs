//! The seam: containers behind one isolation boundary, of either kind.
//!
//! ```text
//!             open
//!              |  the one place where Isolation is matched
//!        +-----+-----+
//!       host         vm
//!    `container`   `vmm` + `wire` -> agent -> `container`
//! ```
//!
//! Called by the shim, which holds one [`Sandbox`] for its life. When a shim was killed, [`clean`]
//! removes what its sandbox left on the host.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use spec::files;
use spec::isolation::InvalidIsolation;
use spec::oci::runtime as oci;
use spec::options::Options;
use spec::{
    ContainerId, Exit, Isolation, Kind, Pid, ProcessId, ProcessInfo, Signal, Usage, annotation,
};

pub mod facts;
pub mod host;
pub mod vm;

pub use facts::Facts;

/// Why a sandbox could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The annotation that names the wall names none.
    #[error("annotation {}", annotation::ISOLATION)]
    Isolation(#[source] InvalidIsolation),
    /// Process isolation.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// VM isolation.
    #[error(transparent)]
    Vm(#[from] vm::Error),
}

impl Error {
    /// What a caller can do about it; the same failure has the same kind in both modes.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Isolation(_) => Kind::Invalid,
            Self::Host(error) => error.kind(),
            Self::Vm(error) => error.kind(),
        }
    }
}

/// Runs what this program was started as, where a sandbox started it as one of its helpers: a container's
/// first process, or the server of a guest's files. Then it never returns. Call it first thing in `main`,
/// before threads, logging and argument parsing.
pub fn dispatch() {
    container::init::dispatch();
    share::dispatch();
}

/// The sandbox for the container that `spec` describes; its wall is the annotation
/// [`annotation::ISOLATION`]. Nothing is started yet: the first [`Sandbox::create`] does that.
pub fn open(options: &Options, spec: &oci::Spec) -> Result<Box<dyn Sandbox>, Error> {
    let wall = spec.annotations().as_ref().and_then(|all| all.get(annotation::ISOLATION));
    let wall = wall.map(|text| text.parse()).transpose().map_err(Error::Isolation)?;
    Ok(match wall.unwrap_or_default() {
        Isolation::Process => Box::new(host::Host::open(options)?),
        Isolation::Vm => Box::new(vm::Vm::open(options)?),
    })
}

/// Ends and removes what the sandbox of `container` left behind when its shim was killed: processes,
/// mounts, devices, state. Each wall looks for its own, so it may be called at any time and twice.
pub fn clean(options: &Options, container: &ContainerId, bundle: &Path) -> Result<(), Error> {
    let host = host::clean(options, container, bundle);
    let vm = vm::clean(options, container, bundle);
    host?;
    Ok(vm?)
}

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
    /// Changes the container's limits; what is left out stays as it is.
    fn update(&self, container: &ContainerId, to: &oci::LinuxResources) -> Result<(), Error>;
    /// What the container uses, beside the system on its side; once it has ended, what it had used.
    fn usage(&self, container: &ContainerId) -> Result<Usage, Error>;
    /// Suspends or resumes all processes of the container.
    fn freeze(&self, container: &ContainerId, frozen: bool) -> Result<(), Error>;
    /// Takes up what was changed of the container from outside: the interfaces of its network namespace, and
    /// small files of the engine's that are mounted in it.
    fn refresh(&self, container: &ContainerId) -> Result<(), Error>;
    /// Works on the container's files, whether it runs or not; `bundle` is for one that does not. What
    /// the work takes or gives passes at `data`, to its end.
    fn files(
        &self,
        container: &ContainerId,
        bundle: &Bundle,
        request: &files::Request,
        data: Option<UnixStream>,
    ) -> Result<files::Answer, Error>;
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
