//! The VM's virtual processors, which stand still while every container in it is paused.
//!
//! What is asked of the agent meanwhile lets them run until it is answered. That thaws nobody: the guest's
//! control groups keep the containers frozen.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime};

use spec::ContainerId;
use wire::Request;

use super::Error;
use super::running::{PATIENCE, Running, lock};

/// How long after memory was freed a guest's kernel reports it: two seconds, and what it takes.
///
/// Source: Linux mm/page_reporting.c, `PAGE_REPORTING_DELAY`.
const REPORTING: Duration = Duration::from_secs(3);

/// Whether the processors run, and how many need them.
#[derive(Debug, Default)]
pub(super) struct Processors {
    calls: usize,
    stopped: bool,
}

/// Keeps the processors running while it lives.
pub(super) struct Awake<'a>(&'a Running);

impl Running {
    /// Lets the processors run for a call to the agent, with the clock right.
    pub(super) fn awake(&self) -> Result<Awake<'_>, Error> {
        let mut processors = lock(&self.processors);
        if processors.stopped {
            self.machine.resume()?;
            processors.stopped = false;
            self.set_clock()?;
        }
        processors.calls += 1;
        Ok(Awake(self))
    }

    /// Suspends or resumes all processes of a container.
    pub(super) fn freeze(
        self: &Arc<Self>,
        container: &ContainerId,
        frozen: bool,
    ) -> Result<(), Error> {
        let member = self.member(container)?;
        let _awake = self.awake()?;
        self.order(&Request::Freeze { container: container.clone(), frozen })?;
        member.frozen.store(frozen, Ordering::SeqCst);
        if frozen && member.reclaims {
            self.give_back()?;
        }
        Ok(())
    }

    /// Lets the guest run on until it has told the host what memory it has freed.
    fn give_back(self: &Arc<Self>) -> Result<(), Error> {
        let running = Arc::clone(self);
        let run_on = move || {
            let _awake = running.awake();
            thread::sleep(REPORTING);
        };
        thread::Builder::new().name("reclaim".into()).spawn(run_on).map(drop).map_err(Error::Thread)
    }

    /// The guest's clock stood still with its processors.
    fn set_clock(&self) -> Result<(), Error> {
        let request = Request::SetClock { now: now()? };
        self.client.order(&request, Some(PATIENCE)).map_err(|error| self.explain(error))
    }
}

impl Drop for Awake<'_> {
    /// Stops the processors again when nobody needs them.
    fn drop(&mut self) {
        let Self(running) = self;
        let mut processors = lock(&running.processors);
        processors.calls -= 1;
        if processors.calls > 0 || processors.stopped || !running.sleeps() {
            return;
        }
        match running.machine.pause() {
            Ok(()) => processors.stopped = true,
            Err(error) => {
                let (worker, error) = (running.machine.pid(), spec::chain(&error));
                tracing::warn!(%worker, error, "processors of a paused VM run on");
            }
        }
    }
}

/// The time since 1970.
pub(super) fn now() -> Result<Duration, Error> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_err(|error| Error::Seed(std::io::Error::other(error)))
}
