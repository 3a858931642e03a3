//! Making a container in a VM, and running one to its end.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use container::{Console, Store};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use spec::oci::runtime as oci;
use spec::options::LENT;
use spec::{ContainerId, annotation};

use super::Error;
use super::bundle;
use super::foreground::Foreground;
use super::host::Host;
use super::record::{Machine, Record};
use super::shim;
use super::tasks::{Streams, Tasks};
use crate::args::Create;
use crate::layers::Claim;
use crate::socket;

/// How long a shim may take to undo what it is making.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a container is made.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    pub(crate) store: &'a Store,
    pub(crate) flags: &'a Create,
    pub(crate) spec: &'a oci::Spec,
    /// Instead of a directory.
    pub(crate) layers: Option<Claim>,
    pub(crate) console: Console,
    /// Nobody stays to serve its terminal.
    pub(crate) detached: bool,
    /// How many descriptors the program should inherit.
    pub(crate) descriptors: usize,
    pub(crate) systemd_cgroup: bool,
}

/// Streams for a request, and what must stay open until it is answered.
pub(super) struct Lent {
    pub(super) streams: Streams,
    pty: Option<(OwnedFd, OwnedFd)>,
}

/// Makes a container whose init waits at its gate.
pub(crate) fn create(making: Making<'_>) -> Result<Machine, Error> {
    make(making, None)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the layers are locked no longer than this takes"
)]
fn make(making: Making<'_>, foreground: Option<&Foreground>) -> Result<Machine, Error> {
    check(&making)?;
    let flags = making.flags;
    let bundle = fs::canonicalize(&flags.bundle).map_err(Error::file("find", &flags.bundle))?;
    let pid_file = flags.pid_file.as_deref().map(std::path::absolute).transpose();
    let pid_file = pid_file.map_err(Error::file("find", "--pid-file"))?;
    let process = making.spec.process().clone();
    let terminal = process.as_ref().is_some_and(|process| process.terminal() == Some(true));
    unused(making.store, &flags.id)?;
    let host = flags.vm.host.as_ref().map(|id| Host::find(making.store, id)).transpose()?;
    let console = flags.vm.console.as_deref().map(std::path::absolute).transpose();
    let console = console.map_err(Error::file("find", "--vm-console"))?;
    let log = flags.vm.log.as_deref().map(log).transpose()?;
    let layers = making.layers.as_ref();
    let lent = Lent::of_caller(terminal, making.detached, &making.console)?;
    let (directory, locked) = making.store.reserve(&flags.id)?;
    let undo = |error| {
        // The first failure is the one that is told.
        let _ = fs::remove_dir_all(&directory);
        error
    };
    if let Some(log) = log {
        let own = directory.join(shim::LOG);
        symlink(log, &own).map_err(Error::file("make", own)).map_err(undo)?;
    }
    let made = bundle::write(&directory, &bundle, making.spec, layers, host.as_ref());
    let mut made = made.map_err(undo)?;
    made.options.vm.console = console;
    let annotations = making.spec.annotations().clone().unwrap_or_default();
    let record = Record {
        id: flags.id.clone(),
        bundle,
        rootfs: made.rootfs.clone(),
        scratch: layers.map(|claim| claim.layers.scratch.clone()),
        created: SystemTime::now(),
        annotations: annotations.into_iter().collect(),
        oci_version: making.spec.version().clone(),
        process,
        sandbox: host.as_ref().map(|host| host.first.clone()).or_else(|| pod(making.spec)),
        section: host.as_ref().map_or(making.spec.vm().clone(), |host| host.section.clone()),
        address: host.map(|host| host.address).unwrap_or_default(),
    };
    record.write(&directory).map_err(undo)?;
    // The shim locks it itself.
    drop(locked);
    let mut machine = Machine { directory: directory.clone(), record };
    let begun = machine.begin(&made, &lent, &making.console, pid_file.as_deref(), foreground);
    begun.inspect_err(|_| machine.abandon())?;
    Ok(machine)
}

/// Runs a container to its end, or, detached, to its start; gives the exit status.
pub(crate) fn run(making: Making<'_>, keep: bool) -> Result<u8, Error> {
    let detached = making.detached;
    let foreground = (!detached).then(Foreground::begin).transpose()?;
    let machine = make(making, foreground.as_ref())?;
    let status = machine.run(foreground.as_ref());
    if status.is_err() || !detached && !keep {
        let deleted = machine.delete(true);
        return status.and_then(|status| deleted.map(|()| status));
    }
    status
}

impl Machine {
    fn begin(
        &mut self,
        made: &bundle::Made,
        lent: &Lent,
        console: &Console,
        pid_file: Option<&Path>,
        foreground: Option<&Foreground>,
    ) -> Result<(), Error> {
        if self.record.address.is_empty() {
            self.record.address = self.shim().start()?;
            self.record.write(&self.directory)?;
        }
        let directory = self.directory.display().to_string();
        let mut tasks = self.tasks()?;
        tasks.begin_create(&directory, made.mount.as_ref(), &lent.streams, &made.options)?;
        let made = foreground.map_or(Ok(()), |foreground| foreground.until_made(&tasks));
        if made.is_err() && self.record.sandbox.is_some() {
            // The VM stays for the others: what is being made there can be undone when it is made.
            let _ = tasks.finish_create();
        }
        made?;
        let pid = tasks.finish_create()?;
        lent.send_master(console)?;
        pid_file.map_or(Ok(()), |path| write_pid(path, pid))
    }

    fn run(&self, foreground: Option<&Foreground>) -> Result<u8, Error> {
        let mut waiting = self.tasks()?;
        waiting.begin_wait()?;
        self.tasks()?.start()?;
        match foreground {
            Some(foreground) => {
                let terminal = self.record.process.as_ref().and_then(oci::Process::terminal);
                foreground.wait(waiting, &mut self.tasks()?, terminal == Some(true))
            }
            None => Ok(0),
        }
    }

    /// Removes what was made so far; the failure that led here is the one that is told. A shim that is
    /// still at it, as with a signal in between, undoes it when it is done; one that takes long is killed.
    fn abandon(&self) {
        if let Ok(mut tasks) = self.tasks() {
            let _ = tasks.delete();
            let _ = match self.is_alone() {
                Ok(true) => tasks.shutdown_within(PATIENCE),
                _ => tasks.leave(),
            };
        }
        let _ = self.shim().delete();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Refuses what means nothing to a VM.
fn check(making: &Making<'_>) -> Result<(), Error> {
    let flags = making.flags;
    let guests =
        "processes of a VM are the guest's: none of them can hold a descriptor of the host";
    let cases = [
        (flags.pidfd_socket.is_some(), "--pidfd-socket", guests),
        (making.descriptors > 0, "--preserve-fds and LISTEN_FDS", guests),
        (
            flags.vm.host.is_some() && flags.vm.log.is_some(),
            "--vm-log with --host",
            "the log is the VM's, which is there already: name a file where its first container is made",
        ),
        (
            flags.vm.host.is_some() && flags.vm.console.is_some(),
            "--vm-console with --host",
            "the console is the VM's, which is there already: ask for it where its first container is made",
        ),
        (flags.no_pivot, "--no-pivot", "the guest's root is none that must be left"),
        (flags.no_new_keyring, "--no-new-keyring", "the caller's keyring is the host's"),
        (
            making.systemd_cgroup,
            "--systemd-cgroup",
            "no systemd runs in the guest: leave it out, and let linux.cgroupsPath be a path",
        ),
    ];
    match cases.into_iter().find(|(given, ..)| *given) {
        Some((_, what, why)) => Err(Error::unsupported(what, why)),
        None => Ok(()),
    }
}

/// Refuses a name whose VM runs on for others.
fn unused(store: &Store, id: &ContainerId) -> Result<(), Error> {
    let within = |other: &Machine| other.record.sandbox.as_ref() == Some(id);
    match Machine::list(store)?.into_iter().find(within) {
        Some(other) => Err(Error::Lingers(other.record.id)),
        None => Ok(()),
    }
}

/// The first container of the pod that it is in, as containerd's CRI plugin has it.
fn pod(spec: &oci::Spec) -> Option<ContainerId> {
    annotation::pod(spec)?.parse().ok()
}

/// The file to which the shim's log goes, made if there is none.
fn log(path: &Path) -> Result<PathBuf, Error> {
    let opened = fs::File::options().append(true).create(true).open(path);
    opened.map_err(Error::file("--vm-log: open", path))?;
    path.canonicalize().map_err(Error::file("--vm-log: find", path))
}

impl Lent {
    /// The caller's own streams, or a terminal for whoever listens at the console socket.
    ///
    /// Whoever stays attached to a caller that has gone would take what is typed at its terminal: a
    /// detached process does not get that.
    pub(super) fn of_caller(
        terminal: bool,
        detached: bool,
        console: &Console,
    ) -> Result<Self, Error> {
        let own = |number: i32| format!("{LENT}{}/{number}", std::process::id());
        if let Console::Socket(_) = console {
            let pty = open_pty()?;
            let slave = own(pty.1.as_raw_fd());
            let streams =
                Streams { terminal, stdin: slave.clone(), stdout: slave, stderr: String::new() };
            return Ok(Self { streams, pty: Some(pty) });
        }
        let stdin = rustix::stdio::stdin();
        let stdin = if detached && isatty(stdin) { String::new() } else { own(0) };
        let stderr = if terminal { String::new() } else { own(2) };
        Ok(Self { streams: Streams { terminal, stdin, stdout: own(1), stderr }, pty: None })
    }

    /// Sends the terminal to whoever listens.
    pub(super) fn send_master(&self, console: &Console) -> Result<(), Error> {
        match (&self.pty, console) {
            (Some((master, _)), Console::Socket(to)) => socket::send(to, "/dev/ptmx", master)
                .map_err(|source| Error::Step { step: "send the terminal", source }),
            _ => Ok(()),
        }
    }
}

/// A pseudo-terminal that changes nothing on its way: what a terminal does, the guest's does.
fn open_pty() -> Result<(OwnedFd, OwnedFd), Error> {
    let open = || {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(master.as_fd(), flags)?;
        let mut modes = tcgetattr(&slave)?;
        modes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
        Ok((master, slave))
    };
    open().map_err(|error: rustix::io::Errno| Error::Step {
        step: "make a terminal",
        source: error.into(),
    })
}

/// Writes a process's number, whole or not at all.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, pid.to_string())
        .and_then(|()| fs::rename(&new, path))
        .map_err(Error::file("write", path))
}

/// Sets the size of a process's terminal to that of the caller's.
pub(super) fn copy_size(tasks: &mut Tasks) -> Result<(), Error> {
    use rustix::termios::tcgetwinsize;
    let size = tcgetwinsize(rustix::stdio::stdin());
    match size.or_else(|_| tcgetwinsize(rustix::stdio::stdout())) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => tasks.resize(size.ws_col, size.ws_row),
        _ => Ok(()),
    }
}
