//! One process that the shim supervises, and what is known of it.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandbox::Sandbox;
use spec::state::{Event, Illegal};
use spec::{Exit, Pid, ProcessId, State};

use crate::keeper::Keeper;
use crate::streams::Wanted;

/// A container's init or an exec. Its exit is kept until it is deleted.
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    /// What the seam showed for it.
    pub(crate) pid: Pid,
    pub(crate) bundle: PathBuf,
    pub(crate) wanted: Wanted,
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) keeper: Keeper,
    state: Mutex<State>,
    changed: Condvar,
    /// Held while it is started, so that its end is not told before its start.
    starting: Mutex<()>,
}

impl Process {
    /// A process that waits at its gate.
    pub(crate) fn new(
        id: ProcessId,
        pid: Pid,
        bundle: PathBuf,
        wanted: Wanted,
        sandbox: Arc<dyn Sandbox>,
        keeper: Keeper,
    ) -> Self {
        Self {
            id,
            pid,
            bundle,
            wanted,
            sandbox,
            keeper,
            state: Mutex::new(State::Created { pid }),
            changed: Condvar::new(),
            starting: Mutex::new(()),
        }
    }

    pub(crate) fn state(&self) -> State {
        *self.lock()
    }

    /// Whether whoever made it understands our types.
    pub(crate) fn serves_hull(&self) -> bool {
        self.wanted.are_ours()
    }

    /// How it ended, once it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.state() {
            State::Stopped { exit } => Some(exit),
            _ => None,
        }
    }

    /// Records `event`, if it can happen now.
    pub(crate) fn record(&self, event: Event) -> Result<(), Illegal> {
        let mut state = self.lock();
        *state = state.next(event)?;
        self.changed.notify_all();
        Ok(())
    }

    /// Whether `event` could happen now.
    pub(crate) fn allows(&self, event: Event) -> Result<(), Illegal> {
        self.state().next(event).map(drop)
    }

    /// Keeps the end from being told until the guard is dropped.
    pub(crate) fn starting(&self) -> MutexGuard<'_, ()> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end for at most `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Exit> {
        let alive = |state: &mut State| !matches!(state, State::Stopped { .. });
        let waited = self.changed.wait_timeout_while(self.lock(), patience, alive);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.exit()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
