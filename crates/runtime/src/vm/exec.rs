//! Another process in a container in a VM.

use container::{Console, Status};
use spec::oci::runtime as oci;

use super::Error;
use super::create::{Lent, write_pid};
use super::foreground::Foreground;
use super::record::Machine;
use crate::args::Exec;

impl Machine {
    /// Executes `process`, and waits for its end unless detached; gives the exit status.
    pub(crate) fn exec(
        &self,
        process: &oci::Process,
        flags: &Exec,
        console: &Console,
        descriptors: usize,
    ) -> Result<u8, Error> {
        check(flags, descriptors)?;
        let (status, _) = self.state()?;
        if !matches!(status, Status::Created | Status::Running) {
            return Err(container::Error::State { action: "exec", status }.into());
        }
        let foreground = (!flags.detach).then(Foreground::begin).transpose()?;
        let terminal = process.terminal() == Some(true);
        let lent = Lent::of_caller(terminal, flags.detach, console)?;
        // No other process of this host has that name for as long as this one is there.
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("exec-{}-{}", std::process::id(), now.as_nanos());
        let mut tasks = self.tasks()?.of_exec(name.clone());
        tasks.exec(process, &lent.streams)?;
        let mut run = || {
            lent.send_master(console)?;
            let mut waiting = self.tasks()?.of_exec(name.clone());
            waiting.begin_wait()?;
            let pid = tasks.start()?;
            flags.pid_file.as_deref().map_or(Ok(()), |path| write_pid(path, pid))?;
            let Some(foreground) = &foreground else { return Ok(None) };
            foreground.wait(waiting, &mut tasks, terminal).map(Some)
        };
        match run() {
            Ok(None) => Ok(0),
            done => {
                // With the container the shim would forget it as well.
                let _ = tasks.delete();
                done.map(Option::unwrap_or_default)
            }
        }
    }
}

/// Refuses what means nothing to a VM.
fn check(flags: &Exec, descriptors: usize) -> Result<(), Error> {
    let guests =
        "processes of a VM are the guest's: none of them can hold a descriptor of the host";
    let cases = [
        (flags.pidfd_socket.is_some(), "--pidfd-socket", guests),
        (descriptors > 0, "--preserve-fds", guests),
        (!flags.cgroups.is_empty(), "--cgroup", "the guest's cgroups have no parts to choose from"),
        (flags.ignore_paused, "--ignore-paused", "a paused guest executes nothing"),
    ];
    match cases.into_iter().find(|(given, ..)| *given) {
        Some((_, what, why)) => Err(Error::unsupported(what, why)),
        None => Ok(()),
    }
}
