//! Starting the process that becomes a container's init or an exec.
//!
//! The executable is this program itself, opened through a detached read-only mount: init has no path
//! to the file that it could write to (CVE-2019-5736).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use spec::Pid;
use sys::spawn::Program;

use crate::channel::Channel;
use crate::hook::State;
use crate::namespace::with_children_in;
use crate::request::{Reply, Request};
use crate::seccomp::Agent;
use crate::{Error, init, seccomp};

/// One standard stream of the new process.
#[derive(Debug, Default)]
pub enum Stream {
    /// The caller's own stream of the same number.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// This descriptor; the caller's copy is closed once the process has its own.
    Fd(OwnedFd),
}

/// The standard streams of the new process; unused when `process.terminal` is set.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: Stream,
    /// Descriptor 1.
    pub stdout: Stream,
    /// Descriptor 2.
    pub stderr: Stream,
}

/// Where the terminal's master goes when `process.terminal` is set.
#[derive(Debug, Default)]
pub enum Console {
    /// Back to the caller, in [`Launched::pty`].
    #[default]
    Return,
    /// Over this connected unix socket, as runc's `--console-socket` does.
    Socket(OwnedFd),
}

/// A process that was made and waits at its start gate. It is the caller's child, to be reaped by
/// the caller.
#[derive(Debug)]
pub struct Launched {
    /// Its number in the caller's pid namespace.
    pub pid: Pid,
    /// Its pidfd: poll it for the end, `waitid(P_PIDFD)` for the status.
    pub pidfd: OwnedFd,
    /// The terminal's master, for [`Console::Return`] and a process with a terminal.
    pub pty: Option<OwnedFd>,
    /// What the configuration asks and this host allows only in part, for the log.
    pub warnings: Vec<String>,
}

/// The start gate of an exec. Dropping it unopened ends the process.
#[derive(Debug)]
pub struct Gate(Channel);

impl Gate {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(channel)
    }

    /// Lets the user's program be executed and returns when it was.
    ///
    /// # Errors
    ///
    /// [`spec::Kind::CommandNotFound`] and [`spec::Kind::CommandNotExecutable`] when execve(2)
    /// refused; the process has then ended.
    pub fn open(self) -> Result<(), Error> {
        self.0.go().map_err(Error::launch("open the start gate"))?;
        match self.0.receive::<Reply>().map_err(Error::launch("read from init"))? {
            None => Ok(()),
            Some((Reply::Failed { kind, message }, _)) => Err(Error::Init { kind, message }),
            Some(_) => Err(Error::Vanished),
        }
    }
}

/// A started init, killed and reaped when dropped before [`Starting::keep`].
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) channel: Channel,
    pub(crate) pid: Pid,
    child: Child,
    pty: Option<OwnedFd>,
    warnings: Vec<String>,
}

/// Kills and reaps the process it holds when dropped.
#[derive(Debug)]
struct Child(Option<OwnedFd>);

/// Where and with which descriptors init is started.
pub(crate) struct Place<'a> {
    pub(crate) stdio: &'a Stdio,
    pub(crate) terminal: bool,
    pub(crate) preserved: &'a [OwnedFd],
    /// `CLONE_NEW*` to make.
    pub(crate) made: u32,
    /// The pid namespace to be born in.
    pub(crate) pid_namespace: Option<&'a OwnedFd>,
    /// Namespaces that are entered before, see [`sys::spawn::Program::enter`].
    pub(crate) enter: Vec<(i32, BorrowedFd<'a>)>,
    /// Whether init is held until [`Starting::admit`].
    pub(crate) held: bool,
    /// The cgroup v2 to be born in.
    pub(crate) cgroup: Option<&'a OwnedFd>,
    /// What follows the channel, see [`crate::request::Layout`].
    pub(crate) extra: Vec<BorrowedFd<'a>>,
}

impl Place<'_> {
    /// Starts init; it waits for its request.
    pub(crate) fn start(&self) -> Result<Starting, Error> {
        let file = own_executable().map_err(Error::launch("open the own executable"))?;
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(Error::file("open", "/dev/null"))?;
        let (ours, theirs) = Channel::pair().map_err(Error::launch("make a socket pair"))?;
        let mut descriptors = self.streams(null.as_fd());
        descriptors.extend(self.preserved.iter().map(AsFd::as_fd));
        descriptors.push(theirs.as_fd());
        descriptors.extend(&self.extra);
        let number = 3 + self.preserved.len();
        let channel = CString::new(number.to_string()).unwrap_or_default();
        let program = Program {
            file: file.as_fd(),
            args: &[init::NAME, &channel],
            descriptors: &descriptors,
            namespaces: self.made.cast_signed(),
            cgroup: self.cgroup.map(AsFd::as_fd),
            enter: &self.enter,
            held: if self.held { i32::try_from(number).ok() } else { None },
        };
        let child = with_children_in(self.pid_namespace, || program.spawn())
            .map_err(Error::launch("start init in new namespaces"))?;
        let pid = Pid::new(child.pid).ok_or(Error::Vanished)?;
        let child = Child(Some(child.pidfd));
        Ok(Starting { channel: ours, pid, child, pty: None, warnings: Vec::new() })
    }

    /// What init has as 0, 1 and 2.
    fn streams<'a>(&'a self, null: BorrowedFd<'a>) -> Vec<BorrowedFd<'a>> {
        let (stdin, stdout, stderr) =
            (rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr());
        let streams = [
            (&self.stdio.stdin, stdin),
            (&self.stdio.stdout, stdout),
            (&self.stdio.stderr, stderr),
        ];
        let open = |fd: BorrowedFd<'a>| rustix::io::fcntl_getfd(fd).is_ok();
        streams
            .into_iter()
            .map(|(stream, own)| match stream {
                _ if self.terminal => null,
                Stream::Inherit if open(own) => own,
                Stream::Inherit | Stream::Null => null,
                Stream::Fd(fd) => fd.as_fd(),
            })
            .collect()
    }
}

impl Starting {
    /// Lets an init that is held go on, as root of its user namespace.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.channel.go().map_err(Error::launch("write to init"))
    }

    /// Sends the request and waits until only the gate is left, running `hooks` when init asks.
    pub(crate) fn prepare(
        &mut self,
        request: &Request<'_>,
        hooks: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // When init is gone its last words are still to be read.
        let sent = self.channel.send(request, None);
        let mut hooks = Some(hooks);
        loop {
            let reply = self.channel.receive::<Reply>().map_err(Error::launch("read from init"))?;
            match reply {
                Some((Reply::Hooks, _)) => {
                    hooks.take().map_or(Ok(()), |run| run())?;
                    self.channel.go().map_err(Error::launch("write to init"))?;
                }
                Some((Reply::Ready { warnings }, pty)) => {
                    self.pty = pty;
                    self.warnings = warnings;
                    return Ok(());
                }
                Some((Reply::Failed { kind, message }, _)) => {
                    return Err(Error::Init { kind, message });
                }
                Some((Reply::Listener { .. }, _)) => return Err(Error::Vanished),
                None => {
                    sent.map_err(Error::launch("write to init"))?;
                    return Err(Error::Vanished);
                }
            }
        }
    }

    /// Takes the listener of the filter that init has installed, and gives it to the agent.
    pub(crate) fn give_listener(&self, agent: &Agent, state: &State) -> Result<(), Error> {
        let step = "take the seccomp listener from init";
        let number = match self.channel.receive::<Reply>().map_err(Error::launch(step))? {
            Some((Reply::Listener { fd }, _)) => fd,
            Some((Reply::Failed { kind, message }, _)) => {
                return Err(Error::Init { kind, message });
            }
            _ => return Err(Error::Vanished),
        };
        let pidfd = self.child.0.as_ref().ok_or(Error::Vanished)?;
        let flags = rustix::process::PidfdGetfdFlags::empty();
        let listener =
            rustix::process::pidfd_getfd(pidfd, number, flags).map_err(Error::launch(step))?;
        self.channel.go().map_err(Error::launch("write to init"))?;
        seccomp::listener::send(agent, &listener, self.pid.raw(), state)
    }

    /// Sends the terminal's master where it should go.
    pub(crate) fn give_console(&mut self, console: &Console) -> Result<(), Error> {
        if let (Console::Socket(socket), Some(pty)) = (console, &self.pty) {
            let name = rustix::pty::ptsname(pty, Vec::new()).unwrap_or_default();
            crate::channel::send_with_fd(socket.as_fd(), name.as_bytes(), pty.as_fd())
                .map_err(Error::launch("send the terminal to the console socket"))?;
            self.pty = None;
        }
        Ok(())
    }

    /// Gives the process to the caller, with the channel to it.
    pub(crate) fn keep(mut self) -> Result<(Launched, Channel), Error> {
        let pidfd = self.child.0.take().ok_or(Error::Vanished)?;
        let launched = Launched { pid: self.pid, pidfd, pty: self.pty, warnings: self.warnings };
        Ok((launched, self.channel))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(pidfd) = &self.0 else { return };
        // It may have ended by itself; either way it is reaped.
        let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        let options = rustix::process::WaitIdOptions::EXITED;
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), options)
        });
    }
}

/// This program's file, through a mount that cannot be written and that nobody else sees.
fn own_executable() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match open_tree(rustix::fs::CWD, "/proc/self/exe", flags) {
        Ok(file) => {
            let readonly =
                sys::mount::Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
            sys::mount::set_attributes(&file, c"", false, &readonly)?;
            Ok(file)
        }
        // The program's file is on no mount of this namespace: run from a memory file, or from the
        // initial ramfs of a guest. Or the caller may not mount at all.
        Err(Errno::INVAL | Errno::PERM) => sealed_copy(),
        Err(error) => Err(error.into()),
    }
}

/// A copy in memory that cannot be written any more.
fn sealed_copy() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let mut own = File::open("/proc/self/exe")?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("hull-init", flags)?);
    io::copy(&mut own, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}
