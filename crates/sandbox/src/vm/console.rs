//! The console of a VM at a unix socket: whoever connects reads the last of what the guest's kernel wrote
//! there, then what it writes, until the VM ends. What a reader sends is not taken: the console has no input.
//!
//! This program serves it: the worker has no more than the end of a pipe. Only the socket's owner may connect.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm::Follower;

use super::Error;
use super::refresh::leash;

/// How many may read at once.
const AT_ONCE: usize = 16;
/// How often a reader of a quiet console is looked after, who may have gone.
const GLANCE: Duration = Duration::from_secs(1);

/// The socket before it is served. Dropping either removes it.
pub(super) struct Socket {
    listener: UnixListener,
    place: Place,
}

/// The socket, served until this is dropped. Who is reading then reads on to the console's end.
pub(super) struct Served {
    _leash: OwnedFd,
    _place: Place,
}

/// Where a socket is, while it is there.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Makes it; nothing may be at `path` yet.
    pub(super) fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Console { path: path.to_owned(), source };
        let listener = UnixListener::bind(path).map_err(failed)?;
        let place = Place(path.to_owned());
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, place })
    }

    /// Serves what `console` reads.
    pub(super) fn serve(self, console: Follower) -> Result<Served, Error> {
        let Self { listener, place } = self;
        let (leashed, leash) = leash().map_err(Error::Channel)?;
        let receive = move || receive(&listener, &leashed, &console);
        thread::Builder::new().name("console".into()).spawn(receive).map_err(Error::Thread)?;
        Ok(Served { _leash: leash, _place: place })
    }
}

/// Removes the socket at `path` that a killed shim left.
pub(super) fn clean(path: &Path) {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = || {
        UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refused() {
        drop(Place(path.to_owned()));
    }
}

/// Lets readers in until `stop` is closed at its other end.
fn receive(listener: &UnixListener, stop: &OwnedFd, console: &Follower) {
    let readers = Arc::new(());
    while wait(listener, stop).unwrap_or(false) {
        let Ok((socket, _)) = listener.accept() else {
            // For want of descriptors, mostly; there may be some soon.
            thread::sleep(GLANCE);
            continue;
        };
        let reader = Arc::clone(&readers);
        if Arc::strong_count(&readers) > AT_ONCE + 1 {
            continue;
        }
        let console = console.clone();
        let show = move || {
            show(&socket, console);
            drop(reader);
        };
        // One who is not served sees that his connection ends.
        drop(thread::Builder::new().name("console".into()).spawn(show));
    }
}

/// Waits for a reader; false when it is over.
fn wait(listener: &UnixListener, stop: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    let no_limit: Option<&Timespec> = None;
    rustix::io::retry_on_intr(|| poll(&mut polled, no_limit))?;
    Ok(polled[1].revents().is_empty())
}

/// Passes the console on until it ends or the reader goes.
fn show(mut socket: &UnixStream, mut console: Follower) {
    while let Some(text) = console.read(GLANCE) {
        if text.is_empty() && has_gone(socket) || socket.write_all(&text).is_err() {
            return;
        }
    }
}

/// Whether the other end is closed; one that only says no more is not.
fn has_gone(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let found = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    found.is_ok() && polled[0].revents().contains(PollFlags::HUP)
}
