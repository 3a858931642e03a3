//! The hypervisor's process and the thread that stands over it.
//!
//! The thread isolates itself (network, mount, IPC and UTS namespaces, [`crate::jail`], no_new_privs),
//! forks the worker from there, drains its output and reaps it. The kernel kills the worker when the
//! thread ends, and with the thread when the whole program is killed: a worker never outlives its
//! supervisor.
//!
//! The worker is shut in so:
//! - `comm` and `argv[0]` are `hull-vmwp`;
//! - a user and group id of its own that no account has, derived from the thread's number, which no
//!   other living worker's thread has; no capability and none to be had, no supplementary group, no_new_privs;
//! - the root of [`crate::jail`], under Landlock where the kernel has it; the sandbox's network namespace, its own IPC and UTS namespaces;
//! - descriptors: its disks, its tap, the monitor, the channel, the console's pipe;
//! - QEMU's own seccomp filter (`-sandbox on`, no spawning, no privileges, no resource control).
//!
//! It stays in the host's pid namespace, where an unprivileged process without `/proc` can see nothing.
//!
//! The template's memory needs one trick. QEMU before 8.2 opens a `memory-backend-file` for reading and
//! writing even to map it privately, and keeps the descriptor; with it a taken-over worker could change
//! the memory that later machines start from. So that one open is answered by [`sys::broker`] with a
//! read-only descriptor, and the worker is given no path to the file at all.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid as RawPid, PidfdFlags, Signal};
use rustix::thread::CapabilitySet;
use spec::{Kind, Pid};
use sys::broker::Broker;

use crate::console::{Console, Follower};
use crate::jail::{self, Jail};

/// The worker's name, for `ps` and `pgrep`.
pub(crate) const NAME: &str = "hull-vmwp";

/// Workers' user ids are this plus the number of their thread, which is below 2^22.
const USERS: u32 = 0x4800_0000;

/// What the thread is to run.
#[derive(Debug)]
pub(crate) struct Job {
    /// Where, and which program.
    pub(crate) jail: Jail,
    /// The program's arguments, without its name.
    pub(crate) args: Vec<OsString>,
    /// Its descriptors; they keep their numbers.
    pub(crate) files: Vec<OwnedFd>,
    /// Its network namespace.
    pub(crate) netns: OwnedFd,
    /// Whether its opens for reading and writing are to be brokered.
    pub(crate) brokered: bool,
}

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
    landlock: Option<u32>,
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread tells the others.
#[derive(Debug, Default)]
struct Watch {
    ended: Mutex<Option<io::Result<ExitStatus>>>,
    change: Condvar,
    console: Arc<Console>,
}

struct Started {
    pid: Pid,
    pidfd: OwnedFd,
    landlock: Option<u32>,
    broker: Option<Broker>,
}

impl Worker {
    /// Starts the worker; gives the broker when the job wants one.
    pub(crate) fn start(job: Job) -> Result<(Self, Option<Broker>), Error> {
        let watch = Arc::new(Watch::default());
        let (send, receive) = mpsc::channel();
        let thread = thread::Builder::new().name(NAME.into()).spawn({
            let watch = Arc::clone(&watch);
            move || stand_over(job, &send, &watch)
        });
        let thread = thread.map_err(|source| Error::Step { step: "start a thread", source })?;
        let started = receive.recv().unwrap_or_else(|_| Err(Error::Thread));
        match started {
            Ok(Started { pid, pidfd, landlock, broker }) => {
                Ok((Self { pid, pidfd, landlock, watch, thread: Some(thread) }, broker))
            }
            Err(error) => {
                drop(thread.join());
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The ABI of Landlock that it is under.
    pub(crate) fn landlock(&self) -> Option<u32> {
        self.landlock
    }

    /// Readable when the worker has ended.
    pub(crate) fn pidfd(&self) -> impl AsFd {
        self.pidfd.as_fd()
    }

    /// Blocks until the worker was reaped.
    pub(crate) fn wait(&self) {
        let mut ended = lock(&self.watch.ended);
        while ended.is_none() {
            ended = self.watch.change.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Kills the worker and waits for its end.
    pub(crate) fn kill(&self) {
        // ESRCH, the only possible failure, means that it has ended.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.wait();
    }

    /// The last `lines` lines of what worker and guest wrote to the console, made printable.
    pub(crate) fn console_tail(&self, lines: usize) -> String {
        self.watch.console.tail(lines)
    }

    /// Reads the console along.
    pub(crate) fn follow_console(&self) -> Follower {
        Follower::new(Arc::clone(&self.watch.console))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The thread's whole life.
fn stand_over(job: Job, started: &Sender<Result<Started, Error>>, watch: &Watch) {
    match spawn(job) {
        Ok((mut child, console, result)) => {
            drop(started.send(Ok(result)));
            watch.console.drain(console);
            *lock(&watch.ended) = Some(child.wait());
            watch.change.notify_all();
        }
        Err(error) => drop(started.send(Err(error))),
    }
}

fn spawn(job: Job) -> Result<(Child, OwnedFd, Started), Error> {
    let step = |step| move |source: io::Error| Error::Step { step, source };
    let network = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(job.netns.as_fd(), network)
        .map_err(|errno| step("enter the network namespace")(errno.into()))?;
    sys::worker::isolate().map_err(step("unshare namespaces"))?;
    sys::bounding::limit(CapabilitySet::empty())
        .map_err(|errno| step("empty the bounding set of capabilities")(errno.into()))?;
    job.jail.enter()?;
    let landlock = job.jail.lock()?;
    let broker = job.brokered.then(broker).transpose();
    let broker = broker.map_err(step("install the memory file's broker"))?;
    let (console, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| step("make the console's pipe")(errno.into()))?;
    let errors = output.try_clone().map_err(step("duplicate the console's pipe"))?;
    let user = USERS + rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    let mut command = Command::new(&job.jail.program);
    command.arg0(NAME).args(&job.args).env_clear().uid(user).gid(user);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    sys::worker::confine(&mut command, job.files);
    let mut child = command.spawn().map_err(step("execute the hypervisor"))?;
    drop(command); // with it this side's copies of the descriptors
    match identify(&child) {
        Ok((pid, pidfd)) => Ok((child, console, Started { pid, pidfd, landlock, broker })),
        Err(source) => {
            drop(child.kill());
            drop(child.wait());
            Err(step("open the worker's pidfd")(source))
        }
    }
}

/// Root with `CAP_SYS_ADMIN` may install the filter, but what the thread becomes next is neither.
fn broker() -> io::Result<Broker> {
    rustix::thread::set_no_new_privs(true)?;
    Broker::install()
}

/// The child is not reaped yet, so its number is its own.
fn identify(child: &Child) -> io::Result<(Pid, OwnedFd)> {
    let raw = i32::try_from(child.id()).map_err(io::Error::other)?;
    let pid = RawPid::from_raw(raw).ok_or(io::ErrorKind::NotFound)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok((Pid::new(raw).ok_or(io::ErrorKind::NotFound)?, pidfd))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks, and their contents are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its filesystem could not be made.
    #[error(transparent)]
    Jail(#[from] jail::Error),
    /// Another step was refused.
    #[error("{step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The thread ended without a word.
    #[error("the worker's thread panicked")]
    Thread,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Jail(error) => error.kind(),
            Self::Step { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Kind::Denied,
                io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => Kind::Exhausted,
                _ => Kind::Internal,
            },
            Self::Thread => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_opens_its_own_files_and_no_others() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let (jail, files) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let own = files.path().join("own");
        std::fs::write(&own, "its own").expect("a file");
        let read = |file: &str| {
            let place = jail.path().to_owned();
            let program = std::fs::canonicalize("/usr/bin/cat").expect("coreutils");
            let jail = Jail { place, program, kvm: false, boot: vec![(own.clone(), "kernel")] };
            let netns = std::fs::File::open("/proc/self/ns/net").expect("proc").into();
            let (args, files) = (vec![file.into()], Vec::new());
            let job = Job { jail, args, files, netns, brokered: false };
            let (worker, _) = Worker::start(job).expect("it starts");
            worker.wait();
            (worker.console_tail(1), worker.landlock())
        };
        let (said, landlock) = read("/boot/kernel");
        assert_eq!(said, "its own");
        assert_eq!(landlock.is_some(), sys::landlock::version().expect("it answers").is_some());
        let (said, _) = read("/etc/passwd");
        assert!(said.ends_with("No such file or directory"), "{said}");
        if landlock.is_none() {
            println!("skipped: a kernel without Landlock");
            return;
        }
        // Everybody's, and in the jail.
        let (said, _) = read("/usr/bin/env");
        assert!(said.ends_with("Permission denied"), "{said}");
    }
}
