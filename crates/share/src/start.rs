//! Starting the server, on both sides.
//!
//! ```text
//!   shim:  shares as mounts that are nowhere ─▶ same program, executed as hull-share ─▶ "ready" ─▶ channel
//! ```

use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sys::mount::Attributes;

use crate::control::{self, Sockets};
use crate::{Share, filter, jail, server};

/// The server's name, for `ps`.
pub const NAME: &str = "hull-share";
/// How long it may take to shut itself in.
const PATIENCE: Duration = Duration::from_secs(20);
/// What it says when it has.
const READY: &[u8] = b"ready\n";
/// Servers' user ids are this plus the number of their process, which is below 2^22.
const USERS: u32 = 0x4840_0000;
/// How many files that the guest only knows of are kept open at most.
const MOST_KNOWN: usize = 8192;
/// Behind the number of what can only be read.
const READ_ONLY: &str = "r";
/// The longest reason that is taken from it.
const MAX_REASON: u64 = 4096;

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pidfd: OwnedFd,
    channel: UnixStream,
    sockets: Sockets,
}

/// Why nothing can be shared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is to be shared is not there, or cannot be reached.
    #[error("share {}", path.display())]
    Source {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server's process could not be started.
    #[error("start the file server")]
    Start(#[source] io::Error),
    /// It could not shut itself in.
    #[error("the file server ended at once: {0}")]
    Ended(String),
}

/// Starts a server of `shares`, each under its number in the root of what is served.
pub fn start(shares: &[Share]) -> Result<Server, Error> {
    let mounts: Vec<OwnedFd> = shares.iter().map(take).collect::<Result<_, _>>()?;
    let (ours, theirs) = UnixStream::pair().map_err(Error::Start)?;
    ours.set_read_timeout(Some(PATIENCE)).map_err(Error::Start)?;
    let (control, their_control) = UnixStream::pair().map_err(Error::Start)?;
    control.set_read_timeout(Some(PATIENCE)).map_err(Error::Start)?;
    let mut inherited = vec![OwnedFd::from(theirs), their_control.into()];
    inherited.extend(mounts);
    let readonly = [false, false].into_iter().chain(shares.iter().map(|share| share.readonly));
    let words = inherited.iter().zip(readonly).map(|(fd, readonly)| word(fd, readonly));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).args(words).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys::worker::confine(&mut command, inherited);
    let mut child = command.spawn().map_err(Error::Start)?;
    drop(command); // with it this side's copies of the descriptors
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.ok_or(io::ErrorKind::NotFound.into());
    let pidfd = pidfd.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    let pidfd = pidfd.inspect_err(|_| drop(child.kill())).map_err(Error::Start)?;
    let mut server = Server { child, pidfd, channel: ours, sockets: Sockets::new(control) };
    server.await_ready()?;
    Ok(server)
}

/// A descriptor as the server is told of it.
fn word(fd: &OwnedFd, readonly: bool) -> OsString {
    format!("{}{}", fd.as_raw_fd(), if readonly { READ_ONLY } else { "" }).into()
}

/// What [`word`] says.
fn parse(word: &str) -> Option<(RawFd, bool)> {
    let number = word.strip_suffix(READ_ONLY);
    Some((number.unwrap_or(word).parse().ok()?, number.is_some()))
}

/// The share as a mount that is nowhere yet, with its restrictions.
fn take(share: &Share) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Source { path: share.source.clone(), source };
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if share.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(CWD, &share.source, flags).map_err(|error| failed(error.into()))?;
    let set = Attributes { set: jail::sealed(share.readonly), ..Attributes::default() };
    sys::mount::set_attributes(&mount, c"", share.recursive, &set).map_err(failed)?;
    Ok(mount)
}

impl Server {
    /// The way to it: requests there, answers back.
    pub fn channel(&self) -> io::Result<UnixStream> {
        self.channel.try_clone()
    }

    /// The way to sockets among the files.
    pub fn sockets(&self) -> Sockets {
        self.sockets.clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        let mut said = [0; READY.len()];
        match self.channel.read_exact(&mut said) {
            Ok(()) if said == READY => self.channel.set_read_timeout(None).map_err(Error::Start),
            Ok(()) => {
                let mut reason = said.to_vec();
                // What it has said so far is better than nothing.
                let _ = (&self.channel).take(MAX_REASON).read_to_end(&mut reason);
                Err(Error::Ended(String::from_utf8_lossy(&reason).into_owned()))
            }
            Err(source) => Err(Error::Start(source)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; then both fail, and that is as well.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs the server when this program was started as it, and then never returns. Call it first thing in
/// `main`, before threads, logging and argument parsing.
pub fn dispatch() {
    let mut args = std::env::args_os();
    if args.next().is_none_or(|name| name != NAME) {
        return;
    }
    let words = args.map(|word| word.to_str().and_then(parse));
    let served = match words.collect::<Option<Vec<_>>>() {
        Some(files) => run(&files),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    std::process::exit(i32::from(served.is_err()));
}

fn run(files: &[(RawFd, bool)]) -> io::Result<()> {
    // It was executed by another: the name of its file is none.
    rustix::thread::set_name(&CString::new(NAME)?)?;
    let [(channel, _), (control, _), shares @ ..] = files else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut channel = UnixStream::from(sys::spawn::inherited(*channel)?);
    let mut control = UnixStream::from(sys::spawn::inherited(*control)?);
    let take =
        |(number, readonly): &(RawFd, bool)| Ok((sys::spawn::inherited(*number)?, *readonly));
    let shares = shares.iter().map(take).collect::<io::Result<Vec<_>>>()?;
    let mut server = match shut_in(shares, &channel) {
        Ok(server) => server,
        Err(error) => {
            // Whoever should read it may be gone.
            let _ = write!(channel, "cannot shut itself in: {error}");
            return Err(error);
        }
    };
    channel.write_all(READY)?;
    loop {
        let ready = wait(&channel, &control)?;
        if ready[1] {
            let Some(node) = control::read(&mut control)? else { return Ok(()) };
            control::answer(&control, server.connect(node))?;
        }
        if ready[0] && !server.next(&mut channel)? {
            return Ok(());
        }
    }
}

/// Waits until something can be read from the guest or the shim.
fn wait(channel: &UnixStream, control: &UnixStream) -> io::Result<[bool; 2]> {
    let mut polled = [PollFd::new(channel, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
    let no_limit: Option<&Timespec> = None;
    loop {
        match rustix::event::poll(&mut polled, no_limit) {
            Ok(_) => return Ok(polled.map(|one| !one.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn shut_in(
    shares: Vec<(OwnedFd, bool)>,
    channel: &UnixStream,
) -> io::Result<server::Server<UnixStream>> {
    let (mounts, readonly): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
    let root = jail::enter(mounts)?;
    let descriptors = jail::become_nobody(USERS + std::process::id())?;
    jail::lock(&root, &readonly)?;
    // The rest is for what the guest has open.
    let most = (descriptors / 2).min(MOST_KNOWN);
    let server = server::Server::new(root, most, channel.try_clone()?)?;
    filter::enter()?;
    Ok(server)
}
