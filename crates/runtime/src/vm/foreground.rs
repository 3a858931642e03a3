//! Waiting for a process in a VM: the caller's signals and the size of its terminal are passed on. The
//! streams need nobody: the shim has the caller's own descriptors.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use spec::{Kind, Signal};
use sys::signalfd::SignalFd;

use super::Error;
use super::create::copy_size;
use super::tasks::Tasks;
use crate::console;

/// Signals of the caller, held back from before the process exists until it is waited for.
pub(super) struct Foreground(SignalFd);

impl Foreground {
    pub(super) fn begin() -> Result<Self, Error> {
        Ok(Self(SignalFd::all().map_err(step("hold back signals"))?))
    }

    /// Waits until the container is made that `tasks` was asked for. A signal that ends programs ends this:
    /// there is nobody yet to pass it on to.
    pub(super) fn until_made(&self, tasks: &Tasks) -> Result<(), Error> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(tasks.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
            ];
            let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
            polled.map_err(|error| step("wait for the VM")(error.into()))?;
            let [made, signalled] = fds.map(|fd| !fd.revents().is_empty());
            if made {
                return Ok(());
            }
            if signalled {
                let signal = self.0.read().map_err(step("read a signal"))?;
                if let libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT = signal {
                    return Err(Error::Interrupted { signal });
                }
            }
        }
    }

    /// Waits for the end that `waiting` was told to wait for; `tasks` is another connection.
    pub(super) fn wait(
        &self,
        mut waiting: Tasks,
        tasks: &mut Tasks,
        terminal: bool,
    ) -> Result<u8, Error> {
        let _raw = terminal.then(console::Raw::set);
        if terminal {
            passed(copy_size(tasks))?;
        }
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(waiting.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
            ];
            let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
            polled.map_err(|error| step("wait for the process")(error.into()))?;
            let [ended, signalled] = fds.map(|fd| !fd.revents().is_empty());
            if ended {
                return waiting.finish_wait();
            }
            if signalled {
                self.pass_on(tasks, terminal)?;
            }
        }
    }

    fn pass_on(&self, tasks: &mut Tasks, terminal: bool) -> Result<(), Error> {
        match self.0.read().map_err(step("read a signal"))? {
            libc::SIGWINCH if terminal => passed(copy_size(tasks)),
            libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH => Ok(()),
            number => match Signal::new(number) {
                Some(signal) => passed(tasks.kill(signal, false)),
                None => Ok(()),
            },
        }
    }
}

fn step(step: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Step { step, source }
}

/// What was passed on to a process that has just ended is no failure: its end comes next.
fn passed(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => Ok(()),
        other => other,
    }
}
