//! Bringing a worker up, by booting or as a clone, to the point where the guest runs.
//!
//! ```text
//!   boot:   worker ─▶ (broker: memory file) ─▶ monitor ─▶ agent's READY
//!   clone:  worker ─▶ broker: memory file, read-only ─▶ monitor ─▶ load state ─▶ run
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::json;
use spec::Kind;
use spec::options::Accel;
use sys::broker::Broker;

use crate::command::{self, Behind, Memory, NICS};
use crate::jail::Jail;
use crate::qmp::{self, Qmp};
use crate::worker::{self, Job, Worker};
use crate::{Config, READY};

/// How many lines of the console are searched for what went wrong.
pub(crate) const LINES: usize = 60;

/// A guest that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) worker: Worker,
    pub(crate) qmp: Qmp,
    pub(crate) channel: UnixStream,
}

/// What is behind the guest's devices, opened.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) root: OwnedFd,
    pub(crate) scratch: OwnedFd,
    pub(crate) taps: [OwnedFd; NICS],
    pub(crate) netns: OwnedFd,
}

impl Parts {
    /// The same parts once more, for a second attempt.
    pub(crate) fn duplicate(&self) -> Result<Self, Error> {
        let again = |fd: &OwnedFd| {
            fd.try_clone().map_err(|source| Error::Prepare { what: "a descriptor", source })
        };
        let Self { root, scratch, taps: [first, second, third, fourth], netns } = self;
        Ok(Self {
            root: again(root)?,
            scratch: again(scratch)?,
            taps: [again(first)?, again(second)?, again(third)?, again(fourth)?],
            netns: again(netns)?,
        })
    }
}

/// How the guest comes to run.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    /// The kernel boots, in memory that is the given file's where there is one.
    Boot { initramfs: &'a Path, memory: Option<&'a File> },
    /// Memory and devices are a template's.
    Clone { memory: &'a File, state: &'a File },
}

/// How long a guest may take to its agent's first word; machines that emulate can be slow and busy.
pub(crate) fn patience(accel: Accel) -> Duration {
    Duration::from_secs(if accel == Accel::Kvm { 30 } else { 180 })
}

/// Starts the machine. When this fails, the worker is gone.
pub(crate) fn bring_up(
    config: &Config,
    machine: &command::Machine,
    parts: Parts,
    origin: &Origin<'_>,
    patience: Duration,
) -> Result<Running, Error> {
    let deadline = Instant::now() + patience;
    let pair = |what| UnixStream::pair().map_err(|source| Error::Prepare { what, source });
    let (monitor, its_monitor) = pair("the monitor's socket")?;
    let (channel, its_agent) = pair("the agent's channel")?;
    let job = job(config, machine, parts, origin, [its_monitor.into(), its_agent.into()])?;
    let (worker, broker) = Worker::start(job)?;
    let fail = |step, cause| {
        // The worker's own last words are part of the reason: let it finish them.
        worker.kill();
        Error::Guest { step, console: last_words(&worker.console_tail(LINES)), cause }
    };
    if let (Some(broker), Some(memory)) = (broker, origin.memory()) {
        lend(&broker, memory, &worker, deadline)
            .map_err(|source| fail("lend the hypervisor its memory file", Cause::Io(source)))?;
    }
    let mut qmp = Qmp::connect(monitor, deadline)
        .map_err(|error| fail("start the hypervisor", Cause::Monitor(error)))?;
    match origin {
        Origin::Boot { .. } => await_ready(&channel, deadline)
            .map_err(|source| fail("boot the guest", Cause::Io(source)))?,
        Origin::Clone { state, .. } => load(&mut qmp, state, deadline)
            .map_err(|error| fail("load the template", Cause::Monitor(error)))?,
    }
    Ok(Running { worker, qmp, channel })
}

impl Origin<'_> {
    fn memory(&self) -> Option<&File> {
        match self {
            Self::Boot { memory, .. } => *memory,
            Self::Clone { memory, .. } => Some(memory),
        }
    }
}

fn job(
    config: &Config,
    machine: &command::Machine,
    parts: Parts,
    origin: &Origin<'_>,
    [monitor, agent]: [OwnedFd; 2],
) -> Result<Job, Error> {
    let Parts { root, scratch, taps, netns } = parts;
    let behind = Behind {
        root: root.as_raw_fd(),
        scratch: scratch.as_raw_fd(),
        taps: taps.each_ref().map(AsRawFd::as_raw_fd),
        agent: agent.as_raw_fd(),
        monitor: monitor.as_raw_fd(),
    };
    let prepare = |what| move |source| Error::Prepare { what, source };
    let (memory, boot, files) = match origin {
        Origin::Boot { initramfs, memory } => {
            let tsc = match machine.accel {
                Accel::Kvm => None,
                _ => sys::tsc::khz(Duration::from_millis(200)).ok(),
            };
            let memory = memory.map_or(Memory::Anonymous, |_| Memory::Shared);
            let files =
                vec![(config.kernel.clone(), "kernel"), (initramfs.to_path_buf(), "initrd")];
            (memory, Some(command::append(machine.accel, tsc)), files)
        }
        Origin::Clone { .. } => (Memory::Clone, None, Vec::new()),
    };
    let args = command::line(machine, &behind, memory, boot.as_deref());
    let place = config.exec_root.join("vm");
    crate::cache::make_directory(&place).map_err(prepare("the jail's directory"))?;
    let jail =
        Jail { place, program: config.qemu.clone(), kvm: machine.accel == Accel::Kvm, boot: files };
    let brokered = memory != Memory::Anonymous;
    let mut files = vec![root, scratch, agent, monitor];
    files.extend(taps);
    Ok(Job { jail, args, files, netns, brokered })
}

/// Waits for the worker's open of its memory file and answers it.
fn lend(broker: &Broker, memory: &File, worker: &Worker, deadline: Instant) -> io::Result<()> {
    let pidfd = worker.pidfd();
    let mut polled = [PollFd::new(broker, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if polled[0].revents().contains(PollFlags::IN) {
            if broker.answer(command::MEMORY, memory.as_fd())? {
                return Ok(());
            }
        } else if !polled[1].revents().is_empty() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the hypervisor ended"));
        }
    }
}

/// Takes the agent's first word off the channel.
fn await_ready(channel: &UnixStream, deadline: Instant) -> io::Result<()> {
    let mut word = [0; READY.len()];
    let mut have = 0;
    while have < word.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the agent says nothing"));
        }
        channel.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match (&*channel).read(&mut word[have..]) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the guest ended")),
            Ok(count) => have += count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                _ => return Err(error),
            },
        }
    }
    channel.set_read_timeout(None)?;
    if word == *READY {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the agent does not say HULLAGNT first"))
    }
}

/// Loads a template's device state and lets the guest run.
fn load(qmp: &mut Qmp, state: &File, deadline: Instant) -> Result<(), qmp::Error> {
    capabilities(qmp, deadline)?;
    qmp.give("getfd", &json!({ "fdname": "state" }), state.as_fd(), deadline)?;
    qmp.execute("migrate-incoming", &json!({ "uri": "fd:state" }), deadline)?;
    settled(qmp, deadline)?;
    qmp.execute("cont", &json!({}), deadline).map(drop)
}

/// Sets what saving and loading a template have in common: memory stays in its file, progress is told.
pub(crate) fn capabilities(qmp: &mut Qmp, deadline: Instant) -> Result<(), qmp::Error> {
    let on = |name| json!({ "capability": name, "state": true });
    let capabilities = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
    qmp.execute("migrate-set-capabilities", &capabilities, deadline)?;
    let quiet = json!({ "announce-rounds": 0 });
    qmp.execute("migrate-set-parameters", &quiet, deadline).map(drop)
}

/// Waits until saving or loading is over, and well.
pub(crate) fn settled(qmp: &mut Qmp, deadline: Instant) -> Result<(), qmp::Error> {
    let over = |data: &serde_json::Value| {
        matches!(data["status"].as_str(), Some("completed" | "failed" | "cancelled"))
    };
    match qmp.wait("MIGRATION", over, deadline)?["status"].as_str() {
        Some("completed") => Ok(()),
        status => Err(qmp::Error::Refused {
            command: "migrate",
            reason: status.unwrap_or("no status").to_owned(),
        }),
    }
}

/// What the console has to say about a guest's end, in parentheses: the line before a panic is usually
/// its cause, and what follows it a trace that helps nobody here. Empty when there is nothing.
pub(crate) fn last_words(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let told = match panic {
        Some(at) => &lines[at.saturating_sub(2)..=at],
        None => &lines[lines.len().saturating_sub(3)..],
    };
    let told: Vec<&str> = told.iter().map(|line| without_time(line)).collect();
    if told.is_empty() { String::new() } else { format!(" (console: {})", told.join(" | ")) }
}

/// `[    5.254736] Failed to execute /init` without the kernel's clock.
fn without_time(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|line| line.split_once("] "));
    match rest {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

/// Why the guest does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something around the worker could not be made.
    #[error("prepare {what}")]
    Prepare {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The worker could not be started.
    #[error("start the hypervisor's worker")]
    Worker(#[from] worker::Error),
    /// The worker was started, but the guest did not come to run.
    #[error("{step}{console}")]
    Guest {
        /// The step.
        step: &'static str,
        /// The last lines of the console, in parentheses, or nothing.
        console: String,
        /// Why.
        #[source]
        cause: Cause,
    },
}

/// What a step of the guest's start met.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The monitor.
    #[error(transparent)]
    Monitor(qmp::Error),
    /// The channel, or the broker.
    #[error(transparent)]
    Io(io::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Prepare { .. } => Kind::Internal,
            Self::Worker(error) => error.kind(),
            Self::Guest { console, .. } if console.contains("annot allocate memory") => {
                Kind::Exhausted
            }
            Self::Guest { .. } => Kind::Unavailable,
        }
    }
}

/// A network namespace with nothing in it but taps that lead nowhere.
pub(crate) fn unplugged() -> Result<(OwnedFd, [OwnedFd; NICS]), Error> {
    let prepare = |what| move |source| Error::Prepare { what, source };
    let netns = sys::netns::make().map_err(prepare("an empty network namespace"))?;
    let taps = sys::netns::within(netns.as_fd(), taps)
        .map_err(prepare("taps (is /dev/net/tun there?)"))?;
    Ok((netns, taps))
}

/// Taps for all interfaces of a machine, in the calling thread's network namespace: `hull-tap0` is the
/// host's side of the guest's `eth0`, and so on. See [`sys::tap::open`].
pub fn taps() -> io::Result<[OwnedFd; NICS]> {
    let open = |number: usize| sys::tap::open(&tap_name(number));
    Ok([open(0)?, open(1)?, open(2)?, open(3)?])
}

/// The tap's name for the interface of that number.
pub fn tap_name(number: usize) -> String {
    format!("{}{number}", sys::tap::PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_what_led_to_it_and_without_its_trace() {
        let console =
            "one\n[    1.5] two\nthree\nKernel panic - not syncing: why\nCall Trace:\nmore";
        assert_eq!(
            last_words(console),
            " (console: two | three | Kernel panic - not syncing: why)"
        );
        assert_eq!(last_words("qemu: no"), " (console: qemu: no)");
        assert_eq!(last_words(""), "");
    }
}
