//! Signals, and a guest that does not heed the one that kills.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use spec::{ProcessId, Signal};
use wire::Request;

use super::Error;
use super::running::Running;

/// How long a guest may take to end a container that is killed; the engine waits for ten seconds.
const OBEDIENCE: Duration = Duration::from_secs(6);

impl Running {
    /// Delivers a signal. The one that kills ends a pause too and, where the guest does not let a container's
    /// init end by it, the VM.
    pub(super) fn signal(
        self: &Arc<Self>,
        to: &ProcessId,
        signal: Signal,
        all: bool,
    ) -> Result<(), Error> {
        let request = Request::Signal { process: to.clone(), signal, all };
        let deliver = || self.awake().and_then(|_awake| self.order(&request));
        if signal != Signal::KILL {
            return deliver();
        }
        self.member(&to.container)?.frozen.store(false, Ordering::SeqCst);
        if to.exec.is_some() {
            return deliver();
        }
        let process = self.find(to)?;
        self.insist(to)?;
        match deliver() {
            // Whatever the guest says of it.
            Err(_) if !process.is_over() && process.ends_within(OBEDIENCE * 2) => Ok(()),
            told => told,
        }
    }

    /// Ends the VM unless the process ends soon.
    fn insist(self: &Arc<Self>, on: &ProcessId) -> Result<(), Error> {
        let process = self.find(on)?;
        let (running, container) = (Arc::downgrade(self), on.container.clone());
        let insist = move || {
            if process.ends_within(OBEDIENCE) {
                return;
            }
            if let Some(running) = running.upgrade() {
                tracing::warn!(%container, "guest does not end what is killed: its VM is ended");
                running.machine.kill();
            }
        };
        thread::Builder::new().name("insist".into()).spawn(insist).map(drop).map_err(Error::Thread)
    }
}
