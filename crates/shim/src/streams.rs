//! Where a process's standard streams lead, as a request names it.
//!
//! ```text
//!   ""           /dev/null
//!   /PATH        a FIFO that containerd's client has opened (also fifo:///PATH)
//!   file:///PATH a file that output is appended to
//!   fd:///PID/N  a descriptor of the caller's own, who waits for the answer meanwhile
//!   hull:DIR     this shim keeps the streams: DIR/attach.sock or DIR/exec-ID.sock; the log is as
//!                DIR/log.json says
//! ```
//!
//! The process itself always gets pipes: a FIFO of the host must not be reachable through
//! `/proc/self/fd` in the container.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use sandbox::Stdio;
use spec::journal::Plan;
use spec::{ExecId, Kind};

use crate::keeper::peer::{Framing, Peer, Wants};
use crate::keeper::{Door, Streams, journal};

/// The prefix of streams that the shim keeps.
const KEPT: &str = "hull:";

/// The prefix of a caller's own descriptors, as [`spec::options::LENT`] has it.
const LENT: &str = spec::options::LENT;

/// The longest path of a unix socket.
const SOCKET_PATH_MAX: usize = 107;

/// A request's three strings, and whether there is a terminal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Why the streams could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A way to keep output that we do not offer.
    #[error("{field} {value:?}: want a FIFO's path, file:// or nothing")]
    Unsupported { field: &'static str, value: String },
    /// Some streams are to be kept by the shim and others not, or in another place.
    #[error("stdin {stdin:?}, stdout {stdout:?} and stderr {stderr:?} do not lead to one place")]
    Mixed { stdin: String, stdout: String, stderr: String },
    /// The socket's path is too long for the kernel.
    #[error("attach socket {}: path is longer than {SOCKET_PATH_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    /// It names no process and descriptor.
    #[error("{field} {value:?}: want fd:///PID/NUMBER")]
    Lent { field: &'static str, value: String },
    /// The place cannot be opened.
    #[error("open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// No pipe.
    #[error("make a pipe")]
    Pipe(#[source] io::Error),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Mixed { .. } | Self::TooLong(_) | Self::Lent { .. } => Kind::Invalid,
            Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::Pipe(_) => Kind::Exhausted,
            Self::Open { .. } => Kind::Internal,
        }
    }
}

impl Wanted {
    /// Makes the pipes: the process's ends, and ours with everything that they lead to. `exec` is
    /// `None` for a container's init, which alone has a log.
    pub(crate) fn open(&self, exec: Option<&ExecId>) -> Result<(Stdio, Streams), Error> {
        let mut streams = Streams {
            stdin: None,
            stdout: None,
            stderr: None,
            framing: if self.terminal { Framing::Raw } else { Framing::Docker },
            door: None,
            peers: Vec::new(),
            journal: None,
        };
        match self.kept()? {
            Some(directory) => keep(&directory, exec, &mut streams)?,
            None => streams.peers = self.fifos()?,
        }
        let mut stdio = Stdio::default();
        if !self.stdin.is_empty() {
            let (read, write) = pipe()?;
            (stdio.stdin, streams.stdin) = (Some(read), Some(write));
        }
        if !self.stdout.is_empty() {
            let (read, write) = pipe()?;
            (stdio.stdout, streams.stdout) = (Some(write), Some(read));
        }
        if !self.stderr.is_empty() && !self.terminal {
            let (read, write) = pipe()?;
            (stdio.stderr, streams.stderr) = (Some(write), Some(read));
        }
        Ok((stdio, streams))
    }

    /// Whether whoever asks is Hull's own and understands its types: the engine lets the shim keep the
    /// streams, `hull-runtime` lends its own.
    pub(crate) fn are_ours(&self) -> bool {
        let mut given = [&self.stdin, &self.stdout, &self.stderr].into_iter();
        self.directory().is_some() || given.any(|text| text.starts_with(LENT))
    }

    /// The directory with the attach sockets that [`Wanted::open`] makes, for those who clean up
    /// after a dead shim.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        self.kept().ok().flatten()
    }

    /// The directory in which the shim keeps the streams, when it is to.
    fn kept(&self) -> Result<Option<PathBuf>, Error> {
        let given = [&self.stdin, &self.stdout, &self.stderr];
        let mut given = given.into_iter().filter(|text| !text.is_empty());
        let Some(first) = given.next() else { return Ok(None) };
        let directory = first.strip_prefix(KEPT);
        let agree = |text: &String| match directory {
            Some(_) => text == first,
            None => !text.starts_with(KEPT),
        };
        if given.all(agree) {
            return Ok(directory.map(PathBuf::from));
        }
        Err(Error::Mixed {
            stdin: self.stdin.clone(),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
        })
    }

    fn fifos(&self) -> Result<Vec<Peer>, Error> {
        let none = Wants::default();
        let stderr = if self.terminal { "" } else { self.stderr.as_str() };
        let streams = [
            ("stdin", self.stdin.as_str(), Wants { stdin: true, ..none }),
            ("stdout", self.stdout.as_str(), Wants { stdout: true, ..none }),
            ("stderr", stderr, Wants { stderr: true, ..none }),
        ];
        let given = streams.into_iter().filter(|(_, value, _)| !value.is_empty());
        let open = |field, value: &str, wants| match value.strip_prefix(LENT) {
            Some(rest) => lent(field, value, rest, wants),
            None => fifo(field, value, wants),
        };
        given.map(|(field, value, wants)| open(field, value, wants)).collect()
    }
}

/// Sets up the shim's own keeping of streams in `directory`.
fn keep(directory: &Path, exec: Option<&ExecId>, streams: &mut Streams) -> Result<(), Error> {
    let path = socket(directory, exec);
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Error::TooLong(path));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Open { path, source }
    };
    streams.door = Some(Door::open(path.clone()).map_err(failed(&path))?);
    if exec.is_none() {
        let file = directory.join(spec::journal::FILE);
        let plan = plan(&file, directory).map_err(failed(&file))?;
        if let Some(path) = &plan.path {
            streams.journal = Some(journal::open(path, &plan).map_err(failed(path))?);
        }
    }
    Ok(())
}

/// What the engine wants of the log.
fn plan(file: &Path, directory: &Path) -> io::Result<Plan> {
    match std::fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Plan { path: Some(directory.join("json.log")), ..Plan::default() })
        }
        Err(error) => Err(error),
    }
}

fn socket(directory: &Path, exec: Option<&ExecId>) -> PathBuf {
    match exec {
        None => directory.join("attach.sock"),
        Some(exec) => directory.join(format!("exec-{exec}.sock")),
    }
}

/// Opens one of containerd's places. Output FIFOs are opened both ways: so it neither blocks until
/// a reader comes nor breaks when the reader leaves.
fn fifo(field: &'static str, value: &str, wants: Wants) -> Result<Peer, Error> {
    let quiet = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) is an int");
    let mut options = OpenOptions::new();
    let path = if let Some(path) = value.strip_prefix("file://").filter(|_| !wants.stdin) {
        options.append(true).create(true).mode(0o640);
        path
    } else {
        options.read(true).write(!wants.stdin).custom_flags(quiet);
        value.strip_prefix("fifo://").unwrap_or(value)
    };
    if !path.starts_with('/') {
        return Err(Error::Unsupported { field, value: value.to_owned() });
    }
    let opened = options.open(path);
    let file = opened.map_err(|source| Error::Open { path: path.into(), source })?;
    Ok(Peer::fifo(file.into(), wants))
}

/// Takes over a descriptor of the caller's, who may write to it as well.
fn lent(field: &'static str, value: &str, rest: &str, wants: Wants) -> Result<Peer, Error> {
    let named = rest.split_once('/').and_then(|(pid, number)| {
        Some((Pid::from_raw(pid.parse().ok()?)?, number.parse().ok().filter(|fd| *fd >= 0)?))
    });
    let (pid, number) = named.ok_or_else(|| Error::Lent { field, value: value.to_owned() })?;
    let taken = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
    let failed =
        |error: rustix::io::Errno| Error::Open { path: value.into(), source: error.into() };
    Ok(Peer::lent(taken.map_err(failed)?, wants))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(stdin: &str, stdout: &str, stderr: &str) -> Wanted {
        let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(str::to_owned);
        Wanted { stdin, stdout, stderr, terminal: false }
    }

    #[test]
    fn streams_are_kept_in_one_place_or_not_at_all() {
        let cases = [
            (wanted("", "", ""), Some(None)),
            (wanted("", "hull:/x", "hull:/x"), Some(Some(PathBuf::from("/x")))),
            (wanted("/a", "/b", ""), Some(None)),
            (wanted("", "hull:/x", "hull:/y"), None),
            (wanted("/a", "hull:/x", ""), None),
            (wanted("hull:/x", "/a", ""), None),
        ];
        for (wanted, want) in cases {
            assert_eq!(wanted.kept().ok(), want, "{wanted:?}");
        }
    }

    #[test]
    fn a_stream_that_was_not_asked_for_has_no_pipe() {
        let (stdio, streams) = wanted("", "", "").open(None).expect("nothing to open");
        assert!(stdio.stdin.is_none() && stdio.stdout.is_none() && stdio.stderr.is_none());
        assert!(streams.peers.is_empty() && streams.door.is_none());
    }

    #[test]
    fn a_lent_descriptor_is_the_callers_own() {
        let (read, write) = pipe().expect("a pipe");
        let number = std::os::fd::AsRawFd::as_raw_fd(&write);
        let (_, streams) = wanted("", &format!("fd:///{}/{number}", std::process::id()), "")
            .open(None)
            .expect("it is there");
        let mut peers = streams.peers;
        peers[0].deliver(crate::keeper::Output::Stdout, b"said");
        let mut said = [0; 8];
        assert_eq!(rustix::io::read(&read, &mut said).expect("read"), 4);
        assert_eq!(&said[..4], b"said");
        for value in ["fd:///1", "fd:///x/1", "fd:///0/1", "fd:///1/-1"] {
            let error = wanted("", value, "").open(None).err().expect(value);
            assert_eq!(error.kind(), Kind::Invalid, "{value}: {error}");
        }
        assert!(wanted("", "fd:///1/1", "").are_ours() && !wanted("", "/fifo", "").are_ours());
    }

    #[test]
    fn another_way_to_log_is_refused_by_the_streams_name() {
        let error = wanted("", "binary:///bin/logger", "").open(None).err().expect("refused");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().starts_with("stdout \"binary:///bin/logger\""), "{error}");
    }
}
