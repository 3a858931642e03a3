//! What can go wrong with a VM container.

use std::io;
use std::path::PathBuf;

use spec::{ContainerId, Kind, ProcessId};
use wire::client;

use super::{clean, host_disks, image, kernel, network, shares, translate};
use crate::facts;

/// Why a VM container could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for what a VM cannot have.
    #[error(transparent)]
    Translate(#[from] translate::Error),
    /// There is no kernel for it.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A block device of the host cannot be a disk of it.
    #[error(transparent)]
    HostDisk(#[from] host_disks::Error),
    /// There are no disks.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The host's files cannot be shared.
    #[error(transparent)]
    Share(#[from] share::Error),
    /// There is no network.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// This host lacks a part.
    #[error(transparent)]
    Config(#[from] vmm::config::Error),
    /// The VM did not start.
    #[error(transparent)]
    Machine(#[from] vmm::machine::Error),
    /// The agent refused, or the call could not be made.
    #[error(transparent)]
    Refused(client::Error),
    /// The guest does not answer.
    #[error("the VM does not answer{console}")]
    Silent {
        /// The last words on its console, in parentheses, or nothing.
        console: String,
        /// How that showed.
        source: client::Error,
    },
    /// The channel cannot be set up.
    #[error("set up the channel to the VM")]
    Channel(#[source] io::Error),
    /// The host cannot hold the VM to its containers' limits.
    #[error("hold the VM to its limits")]
    Bounds(#[source] container::cgroup::Error),
    /// A limit of the whole VM for one of its containers.
    #[error(
        "container {0}: on which processors a VM runs and how fast it reads and writes disks is said with \
         its first container"
    )]
    WholeVm(ContainerId),
    /// The host gives no random numbers or time.
    #[error("take a seed and the time for the VM")]
    Seed(#[source] io::Error),
    /// The way for an archive is broken.
    #[error("pass the data")]
    Data(#[source] io::Error),
    /// The engine's files cannot be followed.
    #[error("watch the engine's files")]
    Watch(#[source] io::Error),
    /// The socket for the console cannot be made.
    #[error("make the socket {} for the VM's console", path.display())]
    Console {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
    /// The facts could not be recorded.
    #[error(transparent)]
    Facts(#[from] facts::Error),
    /// The id means nothing here.
    #[error("no such process: {0}")]
    NoProcess(ProcessId),
    /// The name is taken.
    #[error("{0} exists already")]
    Exists(ProcessId),
    /// It is in no state for that.
    #[error("{process} {state}")]
    State {
        /// Which.
        process: ProcessId,
        /// Its state.
        state: &'static str,
    },
    /// A running VM's memory does not grow.
    #[error(
        "memory: {asked} MiB do not fit into the VM, which was started with {has} MiB; \
         make the container anew"
    )]
    Memory {
        /// MiB that the container shall have.
        asked: u64,
        /// MiB of the VM.
        has: u32,
    },
    /// It is to have a VM of its own, and is not.
    #[error(
        "container {0}: there is another in this VM, and no annotation says that it is to be shared"
    )]
    Second(ContainerId),
    /// There is no VM to share.
    #[error("container {0}, whose VM is to be shared, does not run")]
    NoSandbox(String),
    /// A VM has one network.
    #[error(
        "container {0}: in another container's VM there is no network of one's own: \
         join the other's (--network container:…), or have none (--network none)"
    )]
    SecondNetwork(ContainerId),
    /// The machine's own disks are those of its first container.
    #[error(
        "container {0}: its disks are in use by its VM until the others there have ended; stop them first"
    )]
    Lingers(ContainerId),
    /// What a dead shim left could not be removed.
    #[error(transparent)]
    Clean(#[from] clean::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Translate(error) => error.kind(),
            Self::Kernel(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::HostDisk(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Share(error) => shares::kind(error),
            Self::Config(error) => error.kind(),
            Self::Machine(error) => error.kind(),
            Self::Refused(error) => error.kind(),
            Self::Facts(error) => error.kind(),
            Self::Bounds(error) => error.kind(),
            Self::Silent { .. } => Kind::Unavailable,
            Self::Channel(_) | Self::Data(_) | Self::Seed(_) | Self::Clean(_) => Kind::Internal,
            Self::Thread(_) | Self::Watch(_) => Kind::Exhausted,
            Self::Console { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => Kind::Exists,
                io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::Internal,
            },
            Self::NoProcess(_) => Kind::NotFound,
            Self::Exists(_) => Kind::Exists,
            Self::State { .. } | Self::NoSandbox(_) | Self::Lingers(_) => Kind::Conflict,
            Self::Second(_) | Self::SecondNetwork(_) | Self::WholeVm(_) | Self::Memory { .. } => {
                Kind::Unsupported
            }
        }
    }
}
