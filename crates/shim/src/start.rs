//! `start`: leaves a server behind and prints its address.
//!
//! ```text
//!   engine --exec--> start --bind, spawn--> serve (same program, the listening socket as stdin)
//!                      |                      |
//!                      +-- prints address     +-- outlives both
//! ```
//!
//! A container of a pod that is not its first finds the first one's server, which serves both.
//!
//! The socket listens before the server exists, so the address is good at once.
//!
//! Invariant: who is killed while this runs finds nothing, or all of it by the files in the bundle. The
//! bundle is locked from before the first step until the address is printed, `delete` waits for that,
//! and an address that nobody takes is taken back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec::ContainerId;

use crate::args::Target;
use crate::{place, record};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No bundle to work in.
    #[error("find the bundle")]
    Bundle(#[source] io::Error),
    /// Its pod is not there.
    #[error("find the shim of container {first}, the first of the pod")]
    Pod { first: ContainerId, source: io::Error },
    /// Who called has gone meanwhile.
    #[error("print the server's address: nobody reads it")]
    Abandoned,
    /// Its address cannot be printed.
    #[error("print the server's address")]
    Print(#[source] io::Error),
    /// The directory for sockets cannot be made.
    #[error("make {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// The socket cannot be made.
    #[error("listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    /// The server's own log for what it says when it dies.
    #[error("open {}", path.display())]
    Log { path: PathBuf, source: io::Error },
    /// The server cannot be executed.
    #[error("start the server")]
    Spawn(#[source] io::Error),
    /// Its address cannot be kept.
    #[error(transparent)]
    Record(#[from] record::Error),
}

/// Starts the server for `target`, unless there is one, and prints its address.
pub(crate) fn run(target: &Target) -> Result<(), Error> {
    let bundle = place::bundle(target).map_err(Error::Bundle)?;
    let _locked = place::lock(&bundle).map_err(Error::Bundle)?;
    if abandoned() {
        return Err(Error::Abandoned);
    }
    if let Some(first) = place::pod(&bundle) {
        return join(target, first);
    }
    let socket = place::socket(target);
    let address = place::address(&socket);
    if UnixStream::connect(&socket).is_ok() {
        return print(&address);
    }
    let listener = listen(&socket)?;
    let server = spawn(target, &bundle, &address, listener.into());
    let told = server.and_then(|mut server| {
        let written = place::write(&bundle, &address, server.id()).map_err(Error::from);
        written.and_then(|()| print(&address)).inspect_err(|_| {
            // It has done nothing yet.
            let _ = server.kill();
        })
    });
    told.inspect_err(|_| place::remove(&bundle, &socket))
}

/// Prints the address of the server of the pod whose first container is `first`: it serves them all.
fn join(target: &Target, first: ContainerId) -> Result<(), Error> {
    let socket = place::socket(&Target { id: first.clone(), ..target.clone() });
    UnixStream::connect(&socket).map_err(|source| Error::Pod { first, source })?;
    print(&place::address(&socket))
}

fn print(address: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(address.as_bytes()).and_then(|()| out.flush()).map_err(Error::Print)
}

/// Whether nobody holds the other end of our standard output any more.
fn abandoned() -> bool {
    let out = io::stdout();
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    let found = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    found.is_ok() && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

fn listen(socket: &Path) -> Result<UnixListener, Error> {
    let directory = socket.parent().expect("a socket lies in the exec root");
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(directory);
    made.map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    // Nobody answers there, or we would not be here.
    let _ = fs::remove_file(socket);
    UnixListener::bind(socket).map_err(|source| Error::Listen { path: socket.to_owned(), source })
}

fn spawn(target: &Target, bundle: &Path, address: &str, listener: OwnedFd) -> Result<Child, Error> {
    let path = bundle.join("shim.log");
    let log = OpenOptions::new().append(true).create(true).open(&path);
    let log = log.map_err(|source| Error::Log { path, source })?;
    // Its real name, not /proc/self/exe, so that `ps` shows what runs.
    let program = std::env::current_exe().map_err(Error::Spawn)?;
    let mut command = Command::new(program);
    command.arg0("containerd-shim-hull-v2");
    command.args(["-namespace", &target.namespace, "-id", target.id.as_str()]);
    command.args(["-address", &target.address, "-socket", address]);
    if target.debug {
        command.arg("-debug");
    }
    command.arg("serve").current_dir(bundle);
    command.stdin(listener).stdout(Stdio::null()).stderr(log);
    command.spawn().map_err(Error::Spawn)
}
