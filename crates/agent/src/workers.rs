//! Threads that wait for work. The template has some already: the first thread that a clone starts by itself
//! takes it 15 ms where the guest's code is translated.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many wait, at most and in the template: for a container's making, its network, its streams, its start,
/// its end and its first visitor.
const IDLE: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// As many as there is work for at once.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Pool>);

#[derive(Default)]
struct Pool {
    desk: Mutex<Desk>,
    filled: Condvar,
}

#[derive(Default)]
struct Desk {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Workers {
    /// Starts those that wait from the beginning.
    pub(crate) fn start() -> io::Result<Self> {
        let workers = Self::default();
        (0..IDLE).try_for_each(|_| workers.hire(None))?;
        Ok(workers)
    }

    /// Has work done by one who waits, or by a new one.
    pub(crate) fn give(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let job = Box::new(job);
        let mut desk = self.0.desk();
        if desk.idle <= desk.jobs.len() {
            drop(desk);
            return self.hire(Some(job));
        }
        desk.jobs.push_back(job);
        self.0.filled.notify_one();
        Ok(())
    }

    /// The same for work that has a result, which comes out of what this gives.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Receiver<T>> {
        let (result, results) = mpsc::sync_channel(1);
        // Nobody may want it any more.
        self.give(move || drop(result.send(work())))?;
        Ok(results)
    }

    fn hire(&self, first: Option<Job>) -> io::Result<()> {
        let pool = Arc::clone(&self.0);
        thread::Builder::new().name("worker".into()).spawn(move || pool.work(first)).map(drop)
    }
}

impl Pool {
    /// Works until enough others wait.
    fn work(&self, mut next: Option<Job>) {
        loop {
            next.take().into_iter().for_each(|job| job());
            let mut desk = self.desk();
            if desk.idle == IDLE {
                return;
            }
            desk.idle += 1;
            let waited = self.filled.wait_while(desk, |desk| desk.jobs.is_empty());
            desk = waited.unwrap_or_else(PoisonError::into_inner);
            desk.idle -= 1;
            next = desk.jobs.pop_front();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::{IDLE, Workers};

    #[test]
    fn more_work_than_workers_is_done_at_once() {
        let workers = Workers::start().expect("threads");
        let together = Arc::new(Barrier::new(2 * IDLE));
        let one = |_| {
            let together = Arc::clone(&together);
            let work = move || {
                together.wait();
                thread::current().id()
            };
            workers.ask(work).expect("a thread")
        };
        let asked: Vec<_> = (0..2 * IDLE).map(one).collect();
        let threads: HashSet<_> = asked.iter().map(|it| it.recv().expect("a result")).collect();
        assert_eq!(threads.len(), 2 * IDLE);
    }
}
