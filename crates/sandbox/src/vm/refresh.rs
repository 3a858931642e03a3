//! What the engine changes of a container while it runs, and how its VM comes to know.
//!
//! A process container is in the network namespace itself and sees the engine's files mounted. A VM has a
//! copy of the files and interfaces of its own: when the engine says that something has changed, or writes
//! one of the files, both are looked at again and the agent is told what is different.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use spec::NAME_SERVER;
use wire::Request;
use wire::message::{self, Network};

use super::Error;
use super::member::Member;
use super::network::Cables;
use super::running::{Running, lock};
use super::translate::{self, Copied};

/// The file that names the name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What of a container may change, as the guest knows it.
#[derive(Debug, Default)]
pub(super) struct Outside {
    files: Vec<Copied>,
    cables: Option<Cables>,
    network: Network,
}

impl Outside {
    /// What there is at the start.
    pub(super) fn new(files: Vec<Copied>, mut cables: Option<Cables>) -> Result<Self, Error> {
        let network = look(&files, cables.as_mut())?;
        Ok(Self { files, cables, network })
    }

    pub(super) fn cables(&mut self) -> Option<&mut Cables> {
        self.cables.as_mut()
    }

    pub(super) fn network(&self) -> Network {
        self.network.clone()
    }

    pub(super) fn files(&self) -> Vec<message::File> {
        self.files.iter().map(|copied| copied.file.clone()).collect()
    }
}

fn look(files: &[Copied], cables: Option<&mut Cables>) -> Result<Network, Error> {
    let Some(cables) = cables else { return Ok(Network::default()) };
    let interfaces = cables.update()?;
    let resolv_conf = files.iter().find(|copied| copied.file.path == RESOLV_CONF);
    let named = resolv_conf.is_some_and(|copied| names_ours(&copied.text()));
    Ok(Network { interfaces, names: named.then(|| SocketAddr::from(NAME_SERVER)) })
}

/// Whether a `resolv.conf` names the engine's name server.
fn names_ours(text: &str) -> bool {
    let ours = NAME_SERVER.ip().to_string();
    text.lines().any(|line| line.strip_prefix("nameserver ").is_some_and(|at| at.trim() == ours))
}

impl Running {
    /// Lets the guest know what is different now of a container.
    pub(super) fn refresh(&self, member: &Member) -> Result<(), Error> {
        let mut outside = lock(&member.outside);
        let Outside { files, cables, network } = &mut *outside;
        let mut changed = Vec::new();
        for (number, copied) in files.iter_mut().enumerate() {
            let now = translate::copy(&copied.from, Path::new(&copied.file.path))?;
            if now.file != copied.file {
                changed.push((number, now.file.clone()));
                *copied = now;
            }
        }
        let now = look(files, cables.as_mut())?;
        if changed.is_empty() && now == *network {
            return Ok(());
        }
        let (container, after) = (member.container.clone(), now.clone());
        let refresh = message::Refresh { container, files: changed, network: now };
        self.order(&Request::Refresh(Box::new(refresh)))?;
        *network = after;
        Ok(())
    }

    /// Refreshes whenever one of the engine's files is written, until `stop` is closed at its other end.
    pub(super) fn watch_files(
        self: &Arc<Self>,
        member: &Arc<Member>,
        stop: OwnedFd,
    ) -> Result<(), Error> {
        let watch = || {
            let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
            for copied in &lock(&member.outside).files {
                inotify::add_watch(&watch, &copied.from, inotify::WatchFlags::CLOSE_WRITE)?;
            }
            Ok::<_, rustix::io::Errno>(watch)
        };
        let watch = watch().map_err(|error| Error::Watch(error.into()))?;
        let (running, member) = (Arc::downgrade(self), Arc::downgrade(member));
        let follow = move || {
            while written(&watch, &stop).unwrap_or(false) {
                let both = running.upgrade().zip(member.upgrade());
                let Some((running, member)) = both else { return };
                if let Err(error) = running.refresh(&member) {
                    let error = spec::chain(&error);
                    tracing::warn!(container = %member.container, error, "files not renewed");
                }
            }
        };
        let thread = thread::Builder::new().name("files".into());
        thread.spawn(follow).map(drop).map_err(Error::Thread)
    }
}

/// Waits until a file was written, and takes all that is known of it; false when it is over.
fn written(watch: &OwnedFd, stop: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(watch, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    let no_limit: Option<&Timespec> = None;
    loop {
        match rustix::event::poll(&mut polled, no_limit) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !polled[1].revents().is_empty() {
        return Ok(false);
    }
    let mut events = [MaybeUninit::<u8>::uninit(); 4096];
    rustix::io::read(watch.as_fd(), &mut events[..])?;
    Ok(true)
}

/// A pipe whose reading end tells when the other is gone.
pub(super) fn leash() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// What may change of the container, to be locked for as long as it is looked at.
pub(super) type Shared = Mutex<Outside>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_engines_name_server_is_asked_for_the_guest() {
        assert!(names_ours("search a\nnameserver 127.0.0.11\nnameserver 8.8.8.8\n"));
        for text in
            ["", "nameserver 127.0.0.1\n", "# nameserver 127.0.0.11\n", "nameserver 127.0.0.110"]
        {
            assert!(!names_ours(text), "{text}");
        }
    }
}
