//! What each command does with a container in a VM that there is.

use std::fs;
use std::io::Write;
use std::time::Duration;

use container::Status;
use serde_json::{Value, json};
use spec::oci::runtime as oci;
use spec::{Kind, ProcessInfo, Signal, Usage};

use super::Error;
use super::record::Machine;
use super::tasks::Tasks;

impl Machine {
    /// Opens the start gate.
    pub(crate) fn start(&self) -> Result<(), Error> {
        self.must("start", &[Status::Created])?;
        self.tasks()?.start().map(drop)
    }

    /// Sends a signal; without one only asks whether there is somebody to signal.
    pub(crate) fn kill(&self, signal: Option<Signal>, all: bool) -> Result<(), Error> {
        let (status, _) = self.state()?;
        if matches!(status, Status::Stopped | Status::Creating) {
            return if all { Ok(()) } else { Err(container::Error::NotRunning.into()) };
        }
        let Some(signal) = signal else { return Ok(()) };
        let killed = self.tasks()?.kill(signal, all);
        // Frozen processes of cgroup v1 wait even when they are killed.
        if signal == Signal::KILL && status == Status::Paused {
            match self.tasks()?.freeze(false) {
                // Those of v2 do not, and it may have ended.
                Err(error) if !matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        match killed {
            // It has just ended.
            Err(error) if error.kind() == Kind::NotFound && !all => {
                Err(container::Error::NotRunning.into())
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn pause(&self) -> Result<(), Error> {
        self.must("pause", &[Status::Running])?;
        self.tasks()?.freeze(true)
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        self.must("resume", &[Status::Paused])?;
        self.tasks()?.freeze(false)
    }

    pub(crate) fn update(&self, to: &oci::LinuxResources) -> Result<(), Error> {
        self.must("update", &[Status::Created, Status::Running, Status::Paused])?;
        self.tasks()?.update(to)
    }

    /// Sets the size of the terminal of the container's init.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        self.must("resize the terminal of", &[Status::Created, Status::Running, Status::Paused])?;
        self.tasks()?.resize(columns, rows)
    }

    /// The processes, with the guest's numbers.
    pub(crate) fn processes(&self) -> Result<Vec<ProcessInfo>, Error> {
        if self.state()?.0 == Status::Stopped {
            return Ok(Vec::new());
        }
        self.tasks()?.processes()
    }

    /// Removes the container; one that runs only with `force`, which kills it.
    pub(crate) fn delete(&self, force: bool) -> Result<(), Error> {
        match self.state()? {
            (status @ (Status::Running | Status::Paused), _) if !force => {
                return Err(container::Error::State { action: "delete", status }.into());
            }
            (Status::Running | Status::Paused, _) => self.end()?,
            _ => {}
        }
        match self.tasks() {
            Ok(mut tasks) => {
                passed(tasks.delete())?;
                if self.is_alone()? { tasks.shutdown()? } else { tasks.leave()? }
            }
            // It was killed, and may have left something.
            Err(Error::Gone { .. }) => self.clean()?,
            Err(error) => return Err(error),
        }
        fs::remove_dir_all(self.directory()).map_err(Error::file("remove", self.directory()))
    }

    /// Removes what a killed shim left: of another's, whose container is gone, that is its socket.
    fn clean(&self) -> Result<(), Error> {
        self.shim().delete()?;
        if self.record.sandbox.is_some() && self.is_alone()? {
            let socket = self.record.address.trim_start_matches("unix://");
            // What is not there need not go.
            let _ = fs::remove_file(socket);
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Error> {
        let mut waiting = self.tasks()?;
        waiting.begin_wait()?;
        self.kill(Some(Signal::KILL), true)?;
        waiting.finish_wait().map(drop)
    }

    /// Prints what the container uses, once, or every `interval` until it ends.
    pub(crate) fn events(&self, interval: Option<Duration>) -> Result<(), Error> {
        let id = self.record.id.as_str();
        let mut killed = None;
        loop {
            if self.state()?.0 == Status::Stopped {
                return match interval {
                    Some(_) => Ok(()),
                    None => Err(container::Error::NotRunning.into()),
                };
            }
            let usage = self.tasks()?.usage()?;
            if killed.replace(usage.memory.killed).is_some_and(|last| last < usage.memory.killed) {
                print(&json!({"type": "oom", "id": id}))?;
            }
            print(&json!({"type": "stats", "id": id, "data": stats(&usage)}))?;
            let Some(interval) = interval else { return Ok(()) };
            self.sleep(interval)?;
        }
    }

    /// Waits for that long, or for the container's end.
    fn sleep(&self, interval: Duration) -> Result<(), Error> {
        let mut waiting: Tasks = self.tasks()?;
        waiting.begin_wait()?;
        let step = |source| Error::Step { step: "wait for events", source };
        waiting.readable_within(interval).map_err(step).map(drop)
    }

    fn must(&self, action: &'static str, be: &[Status]) -> Result<(), Error> {
        let (status, _) = self.state()?;
        if be.contains(&status) {
            return Ok(());
        }
        Err(container::Error::State { action, status }.into())
    }
}

/// What is not there any more need not go.
fn passed(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

fn print(event: &Value) -> Result<(), Error> {
    let written = std::io::stdout().write_all(format!("{event}\n").as_bytes());
    written.map_err(|source| Error::Step { step: "write to the standard output", source })
}

/// The counters in the form of runc's `events`.
fn stats(usage: &Usage) -> Value {
    let Usage { cpu, memory, pids, .. } = usage;
    json!({
        "cpu": {
            "usage": {"total": cpu.total, "kernel": cpu.kernel, "user": cpu.user},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_time,
            },
        },
        "memory": {
            "usage": {
                "limit": memory.limit,
                "usage": memory.usage,
                "max": memory.max,
                "failcnt": memory.failures,
            },
            "raw": memory.stat,
        },
        "pids": {"current": pids.current, "limit": pids.limit},
    })
}
