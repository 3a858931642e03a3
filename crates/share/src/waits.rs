//! Requests that cannot be answered yet: each has a thread that tries again and again, because the guest may
//! take the wish back.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::request::{Reply, encode, send};

/// How often who waits tries.
const PAUSE: Duration = Duration::from_millis(10);
/// How many may wait at once.
const WAITING: usize = 64;

/// Those that wait, by the number of their requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<HashSet<u64>>>);

impl Waits {
    /// Answers the request once `attempt` gives something but `EAGAIN`, or with `EINTR` once the guest takes
    /// it back.
    ///
    /// # Errors
    ///
    /// `ENOLCK` where too many wait.
    pub(crate) fn wait(
        &self,
        unique: u64,
        out: &Arc<Mutex<impl Write + Send + 'static>>,
        mut attempt: impl FnMut() -> Result<Reply, Errno> + Send + 'static,
    ) -> Result<(), Errno> {
        let mut waiting = lock(&self.0);
        if waiting.len() >= WAITING {
            return Err(Errno::NOLCK);
        }
        waiting.insert(unique);
        drop(waiting);
        let (wishes, out) = (Arc::clone(&self.0), Arc::clone(out));
        let keep_trying = move || {
            let outcome = loop {
                thread::sleep(PAUSE);
                if !lock(&wishes).contains(&unique) {
                    break Err(Errno::INTR);
                }
                match attempt() {
                    Err(Errno::AGAIN) => {}
                    tried => break tried,
                }
            };
            lock(&wishes).remove(&unique);
            // The serving thread sees an end of the connection, too.
            let _ = send(&mut *lock(&out), &encode(unique, outcome));
        };
        let started = thread::Builder::new().name("wait".into()).spawn(keep_trying);
        started.map(drop).map_err(|_| {
            lock(&self.0).remove(&unique);
            Errno::NOLCK
        })
    }

    /// The guest does not want to wait any more.
    pub(crate) fn interrupt(&self, unique: u64) {
        lock(&self.0).remove(&unique);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
