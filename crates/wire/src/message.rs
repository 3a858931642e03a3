//! What shim and agent say to each other.
//!
//! Every call is answered once, with a [`Reply`] or a [`Failure`]. The agent is of the same build as
//! the shim (a template is keyed by its agent), so there is no version to negotiate.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::files;
use spec::oci::runtime as oci;
use spec::{ContainerId, Kind, ProcessId, ProcessInfo, Signal, Usage};

use crate::frame::StreamId;

/// The longest message of a failure that is taken from a guest, in characters, and the longest chain.
pub(crate) const MAX_MESSAGE: usize = 2000;
pub(crate) const MAX_CHAIN: usize = 16;

/// Where a container's shared memory is mounted: whose interprocess communication is joined, his is that too.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// What a shim asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First of all: makes this clone a machine of its own.
    Configure(Configure),
    /// Makes a container; its init waits at the gate.
    Create(Box<Create>),
    /// Makes another process in it, likewise.
    Exec(Box<Exec>),
    /// Opens the gate.
    Start {
        /// Whose.
        process: ProcessId,
    },
    /// Sends a signal.
    Signal {
        /// To whom.
        process: ProcessId,
        /// Which.
        signal: Signal,
        /// To every process of the container instead.
        all: bool,
    },
    /// Waits for the end; answered with [`Reply::Exit`], at once when it was before.
    Wait {
        /// Whose.
        process: ProcessId,
    },
    /// Sets the terminal's size.
    Resize {
        /// Whose.
        process: ProcessId,
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// Lists processes; answered with [`Reply::Processes`].
    Processes {
        /// Of this container.
        container: ContainerId,
    },
    /// Suspends or resumes all processes.
    Freeze {
        /// Of this container.
        container: ContainerId,
        /// Which of the two.
        frozen: bool,
    },
    /// Sets the guest's clock, which stood still with its processors.
    SetClock {
        /// The time since 1970.
        now: Duration,
    },
    /// Changes limits; what is left out stays as it is.
    Update {
        /// Of this container.
        container: ContainerId,
        /// The new ones.
        resources: Box<oci::LinuxResources>,
    },
    /// Takes up what has changed on the host.
    Refresh(Box<Refresh>),
    /// Takes the next visitor in; answered with [`Reply::Came`] once there is one.
    Receive {
        /// From the visitor, agent to shim.
        from: StreamId,
        /// To the visitor.
        to: StreamId,
    },
    /// Asks what is used; answered with [`Reply::Usage`].
    Usage {
        /// By this container.
        container: ContainerId,
    },
    /// Makes the root filesystem of a container that does not run, for work on its files.
    Open {
        /// Whose.
        container: ContainerId,
        /// From what.
        rootfs: Rootfs,
        /// What is seen in it of the host's directories and files.
        shares: Option<Shares>,
    },
    /// Announces a stream from the shim, for the call that names it.
    Expect {
        /// Which.
        stream: StreamId,
    },
    /// Works on files; answered with [`Reply::Files`] when all is done and passed on.
    Files {
        /// Of this container, which runs or was opened.
        container: ContainerId,
        /// The work.
        request: files::Request,
        /// Where its data passes: an expected stream, or one of the agent's. `None` where there is none.
        data: Option<StreamId>,
    },
    /// Forgets an ended process; for an init, the whole container, whose disk is in order then.
    Delete {
        /// Which.
        process: ProcessId,
    },
    /// Writes everything to the disks and powers off; answered just before.
    Shutdown,
}

/// What makes a clone different from its template and from every other clone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Configure {
    /// For the guest's random numbers, as lower-case hex digits; at least 32 bytes.
    pub seed: String,
    /// The time since 1970.
    pub clock: Duration,
    /// The machine's name.
    pub hostname: String,
}

/// What a container is made from in the guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Create {
    /// Its name.
    pub container: ContainerId,
    /// Its configuration, already the guest's.
    pub spec: oci::Spec,
    /// Its root filesystem.
    pub rootfs: Rootfs,
    /// Files that are mounted into it, copied from the host.
    pub files: Vec<File>,
    /// What it sees of the host's directories and files.
    pub shares: Option<Shares>,
    /// Block devices of the host among its devices.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its network, unless it joins another's.
    pub network: Network,
    /// Namespaces of other containers in the guest that it joins.
    pub joins: Vec<(oci::LinuxNamespaceType, ContainerId)>,
    /// Its standard streams.
    pub stdio: Stdio,
}

/// A block device of the host, which is a disk of the machine. The configuration has a device at its path
/// whose numbers are the guest's to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The device's path in the container.
    pub path: String,
    /// The serial number by which the guest knows the disk.
    pub serial: String,
    /// Of `r`, `w` and `m`: what the container may do with it.
    pub access: String,
}

/// Where a root filesystem lies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rootfs {
    /// On two disks, each by its path in the guest, or by the serial number of one that was attached.
    Disks {
        /// The image, an erofs.
        image: String,
        /// The writable layer, an ext4 with nothing in it or what this container left there.
        scratch: String,
    },
    /// On the host: it is the first of the shares.
    Shared,
}

/// A small file for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it is mounted, absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its bytes as lower-case hex digits.
    pub contents: String,
}

/// Directories and files of the host that a guest sees, by FUSE's requests over two streams. In the root
/// of what is served each has its number in the list for a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shares {
    /// Agent to shim.
    pub requests: StreamId,
    /// Shim to agent.
    pub answers: StreamId,
    /// Where each is mounted, and whether it can only be read.
    pub mounts: Vec<(PathBuf, bool)>,
}

/// What a container has that may change on the host while it runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refresh {
    /// Whose.
    pub container: ContainerId,
    /// Its files, those that have changed: their numbers in [`Create::files`], and their bytes.
    pub files: Vec<(usize, File)>,
    /// Its whole network as it is now.
    pub network: Network,
}

/// A container's network; without interfaces there is `lo` alone.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Where a name server of the host's answers in the container's namespace: who asks there in the guest
    /// is a [`Visitor`].
    pub names: Option<SocketAddr>,
}

/// Somebody in the guest who wants to speak with somebody on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visitor {
    /// One datagram for the name server; the stream back carries the answer, or nothing.
    Query,
    /// A connection to the name server.
    Resolver,
    /// A connection to a socket among the host's files.
    Socket {
        /// Which files: [`Shares::requests`].
        share: StreamId,
        /// The number that the files' server gave it.
        node: u64,
    },
}

/// A container's interface to a network, of the same name in the guest as on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `eth0` and so on: the machine has so many, numbered from 0.
    pub name: String,
    /// Its hardware address as text.
    pub mac: String,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// A route through the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it leads, with the prefix's length.
    pub to: (IpAddr, u8),
    /// The router, unless the destinations are on the link.
    pub gateway: Option<IpAddr>,
    /// The source address to prefer.
    pub source: Option<IpAddr>,
    /// Its priority.
    pub metric: u32,
}

/// A process's standard streams. Whether there is a terminal is in its configuration; then `stdin` is
/// what is typed, `stdout` what it shows, and `stderr` is unused.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Stdio {
    /// Shim to agent; `None` is `/dev/null`.
    pub stdin: Option<StreamId>,
    /// Agent to shim; `None` is `/dev/null`.
    pub stdout: Option<StreamId>,
    /// As `stdout`.
    pub stderr: Option<StreamId>,
}

/// What another process in a container is made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// Its name.
    pub process: ProcessId,
    /// The program.
    pub program: oci::Process,
    /// Its standard streams.
    pub stdio: Stdio,
}

/// What an agent answers when it did what was asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// There is no more to say.
    Done,
    /// The process has ended.
    Exit {
        /// 0 to 255, as [`spec::Exit`] has it.
        code: u8,
    },
    /// The processes.
    Processes {
        /// With the guest's numbers.
        list: Vec<ProcessInfo>,
    },
    /// Somebody who passes by the two streams from now on.
    Came {
        /// Who.
        visitor: Visitor,
    },
    /// What came of the work on files.
    Files {
        /// Besides the data.
        answer: files::Answer,
    },
    /// What the container uses.
    Usage {
        /// With the guest's system.
        usage: Box<Usage>,
    },
}

impl Reply {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Exit { .. } => "an exit code",
            Self::Processes { .. } => "a list of processes",
            Self::Came { .. } => "a visitor",
            Self::Files { .. } => "an answer about files",
            Self::Usage { .. } => "a usage",
        }
    }
}

/// Why an agent did not do what was asked: the chain of an error that happened in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a caller can do about it.
    pub kind: Kind,
    message: String,
    cause: Option<Box<Failure>>,
}

impl Failure {
    /// A failure without a cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// `error` with its causes.
    pub fn from_error(kind: Kind, error: &dyn std::error::Error) -> Self {
        let cause = error.source().map(|source| Box::new(Self::from_error(kind, source)));
        Self { kind, message: error.to_string(), cause }
    }

    /// The failure as a shim may show it: of bounded length, and no control characters that would act
    /// on the terminal of whoever reads it.
    pub(crate) fn sanitized(self) -> Self {
        self.shortened(MAX_CHAIN)
    }

    fn shortened(self, links: usize) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let message = self.message.chars().take(MAX_MESSAGE).map(clean).collect();
        let cause = self.cause.filter(|_| links > 1);
        let cause = cause.map(|cause| Box::new(cause.shortened(links - 1)));
        Self { kind: self.kind, message, cause }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Bytes as lower-case hex digits, for a JSON string.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of [`to_hex`]; `None` when the text is none of its.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(nibble(pair[0])? << 4 | nibble(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_it_was_written() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&all)), Some(all));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for text in ["a", "zz", "AB", "é"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_failure_from_a_guest_is_short_and_harmless() {
        let long = "\u{1b}[2J".repeat(5000);
        let mut failure = Failure::new(Kind::Internal, long.clone());
        for _ in 0..100 {
            failure = Failure {
                kind: Kind::Internal,
                message: long.clone(),
                cause: Some(Box::new(failure)),
            };
        }
        let failure = failure.sanitized();
        let chain: Vec<String> =
            std::iter::successors(Some(&failure), |failure| failure.cause.as_deref())
                .map(ToString::to_string)
                .collect();
        assert_eq!(chain.len(), MAX_CHAIN);
        assert!(chain.iter().all(|text| text.chars().count() <= MAX_MESSAGE));
        assert!(!chain.concat().contains('\u{1b}'));
    }
}
