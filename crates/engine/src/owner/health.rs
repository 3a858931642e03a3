//! Checking a running container's health.
//!
//! ```text
//!   start, thaw --> monitor: wait, exec, read, note --> wait ...     end, freeze: aborted
//! ```
//!
//! The monitor is a task of its own that asks the owner as a client would, so that a check that takes
//! long holds nothing up.

use std::time::{Duration, SystemTime};

use spec::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::{Job, Owner};
use crate::attach::Attached;
use crate::error::Error;
use crate::health::{Health, HealthStatus, Plan, Probe};
use crate::request::{ExecCreate, ExecStart, ExecState, Streams};

/// The most of a check's output that is kept, in bytes.
const OUTPUT: usize = 4096;

type Queue = mpsc::WeakUnboundedSender<Job>;

impl Owner {
    /// Begins to check a container that has just been started.
    pub(super) fn begin_checks(&mut self) {
        let checked = Plan::of(&self.container.config).is_some();
        self.container.health = checked.then(Health::new);
        self.continue_checks();
    }

    /// Goes on with checking one that runs.
    pub(super) fn continue_checks(&mut self) {
        self.pause_checks();
        let Some(plan) = Plan::of(&self.container.config) else { return };
        let health = self.container.health.get_or_insert_with(Health::new);
        let started = self.container.started.unwrap_or_else(SystemTime::now);
        let wait = plan.wait(health.status, started.elapsed().unwrap_or_default());
        let queue = self.queue.clone();
        let monitor = tokio::spawn(async move { monitor(queue, plan, wait).await });
        self.monitor = Some(monitor.abort_handle());
    }

    /// Checks no more for now.
    pub(super) fn pause_checks(&mut self) {
        if let Some(monitor) = self.monitor.take() {
            monitor.abort();
        }
    }

    /// Checks no more: what does not run is not healthy.
    pub(super) fn end_checks(&mut self) {
        self.pause_checks();
        if let Some(health) = &mut self.container.health {
            health.status = HealthStatus::Unhealthy;
        }
    }

    /// Takes note of a check; gives the wait for the next.
    fn note_check(&mut self, plan: &Plan, probe: Probe) -> Duration {
        let started = self.container.started.unwrap_or(probe.start);
        let health = self.container.health.get_or_insert_with(Health::new);
        let changed = health.note(plan, started, probe);
        let status = health.status;
        if changed {
            self.record();
            self.tell(&format!("health_status: {}", status.name()), &[]);
        } else {
            self.show(0);
        }
        plan.wait(status, started.elapsed().unwrap_or_default())
    }
}

/// Checks until the owner is gone; the owner aborts it at the container's end.
async fn monitor(queue: Queue, plan: Plan, mut wait: Duration) {
    loop {
        tokio::time::sleep(wait).await;
        let start = SystemTime::now();
        let (exit_code, output) = probe(&queue, &plan).await;
        let probe = Probe { start, end: SystemTime::now(), exit_code, output };
        let plan = plan.clone();
        let noted = ask(&queue, move |owner| Ok(owner.note_check(&plan, probe))).await;
        let Ok(next) = noted else { return };
        wait = next;
    }
}

/// One check: its exit status and what it printed.
async fn probe(queue: &Queue, plan: &Plan) -> (i32, String) {
    let request = ExecCreate {
        cmd: plan.command.clone(),
        streams: Streams { stdin: false, stdout: true, stderr: true },
        ..ExecCreate::default()
    };
    let id = match ask_for(queue, move |owner| Box::pin(owner.exec_create(request))).await {
        Ok(id) => id,
        Err(error) => return (-1, spec::chain(&error)),
    };
    let mut output = Vec::new();
    let executed = execute(queue, id.clone(), &mut output);
    let outcome = tokio::time::timeout(plan.timeout, executed).await;
    let output = String::from_utf8_lossy(&output).into_owned();
    let result = match outcome {
        Ok(Ok(code)) => (code, output),
        Ok(Err(error)) => (-1, spec::chain(&error)),
        Err(_) => {
            let id = id.clone();
            // Killed or not, it is not waited for.
            let _ = ask_for(queue, move |owner| {
                Box::pin(async move { owner.exec_kill(&id, Signal::KILL).await })
            })
            .await;
            (-1, format!("Health check exceeded timeout ({}): {output}", go(plan.timeout)))
        }
    };
    let forget = move |owner: &mut Owner| {
        owner.exec_forget(&id);
        Ok(())
    };
    // An owner that is gone remembers nothing.
    let _ = ask(queue, forget).await;
    result
}

async fn execute(queue: &Queue, id: String, output: &mut Vec<u8>) -> Result<i32, Error> {
    let exec = id.clone();
    let how = ExecStart::default();
    let line = ask_for(queue, move |owner| Box::pin(owner.exec_start(exec, how))).await?;
    if let Some(line) = line {
        let ended = line.ended();
        read(line, output).await;
        ended.await;
    }
    match ask(queue, move |owner| owner.exec_inspect(&id)).await?.state {
        ExecState::Exited { code } => Ok(code.into()),
        _ => Ok(-1),
    }
}

/// Reads both streams, frames taken off, and keeps the beginning.
async fn read(line: Attached, output: &mut Vec<u8>) {
    let Some(mut stream) = line.stream().await else { return };
    // It reads nothing.
    let _ = stream.shutdown().await;
    let mut head = [0; 8];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut body = (&mut stream).take(length.into());
        let mut chunk = [0; 1024];
        while let Ok(read @ 1..) = body.read(&mut chunk).await {
            let room = OUTPUT.saturating_sub(output.len());
            if room > 0 && read > room {
                output.extend_from_slice(&chunk[..room]);
                output.extend_from_slice(b"...");
            } else if room > 0 {
                output.extend_from_slice(&chunk[..read]);
            }
        }
    }
}

/// A time as Go prints it, where it is whole.
fn go(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (seconds @ 0..60, 0) => format!("{seconds}s"),
        (seconds, 0) => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}s", time.as_secs_f64()),
    }
}

/// Asks the owner for something that does not wait.
async fn ask<T: Send + 'static>(
    queue: &Queue,
    job: impl FnOnce(&mut Owner) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    ask_for(queue, move |owner| Box::pin(async move { job(owner) })).await
}

/// Asks the owner, who may be gone.
async fn ask_for<T: Send + 'static>(
    queue: &Queue,
    job: impl for<'a> FnOnce(&'a mut Owner) -> futures_util::future::BoxFuture<'a, Result<T, Error>>
    + Send
    + 'static,
) -> Result<T, Error> {
    let (answer, answered) = oneshot::channel();
    Owner::later(queue, move |owner| {
        Box::pin(async move {
            // The monitor may have been aborted.
            let _ = answer.send(job(owner).await);
        })
    });
    answered.await.unwrap_or(Err(Error::Closing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_looks_as_gos() {
        let cases = [(500, "500ms"), (30_000, "30s"), (90_000, "1m30s"), (1_500, "1.5s")];
        for (millis, want) in cases {
            assert_eq!(go(Duration::from_millis(millis)), want);
        }
    }
}
