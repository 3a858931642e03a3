//! Whether a container's program does its work, as a check of its image or client finds out.
//!
//! ```text
//!   start --> starting --0--> healthy
//!                |  ^           | `retries` failures in a row
//!                |  `--failures within the start period do not count
//!                +--`retries` failures--> unhealthy --0--> healthy
//! ```
//!
//! Spec: Docker's `HEALTHCHECK`.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

pub use image::Healthcheck;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::Error;

/// How many results are kept.
const KEPT: usize = 5;
/// The shortest time that can be asked for.
const SHORTEST: i64 = 1_000_000;

/// What is known of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// How many checks in a row failed.
    pub failing_streak: u32,
    /// The last five, oldest first.
    pub log: VecDeque<Probe>,
}

/// The verdict on a container's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has succeeded yet, and not enough have failed.
    Starting,
    /// The last check that counts succeeded.
    Healthy,
    /// Too many failed, or the container does not run.
    Unhealthy,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: SystemTime,
    /// When it was over.
    pub end: SystemTime,
    /// Its exit status; -1 when it could not be executed or took too long.
    pub exit_code: i32,
    /// What it printed.
    pub output: String,
}

/// A check with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The words to execute.
    pub(crate) command: Vec<String>,
    pub(crate) timeout: Duration,
    interval: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Plan {
    /// The check that a container with this configuration gets; `None` for none.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let check = config.healthcheck.as_ref()?;
        let (kind, rest) = check.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => rest.to_vec(),
            "CMD-SHELL" => {
                let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
                let shell = if config.shell.is_empty() { &shell[..] } else { &config.shell };
                [shell, rest].concat()
            }
            _ => return None,
        };
        let time = |nanos: i64, default| match u64::try_from(nanos) {
            Ok(0) | Err(_) => Duration::from_secs(default),
            Ok(nanos) => Duration::from_nanos(nanos),
        };
        Some(Self {
            command,
            timeout: time(check.timeout, 30),
            interval: time(check.interval, 30),
            start_period: time(check.start_period, 0),
            start_interval: time(check.start_interval, 5),
            retries: u32::try_from(check.retries).ok().filter(|retries| *retries > 0).unwrap_or(3),
        })
    }

    /// How long to wait for the next check, so long after the start.
    pub(crate) fn wait(&self, status: HealthStatus, since_start: Duration) -> Duration {
        if status == HealthStatus::Starting && since_start < self.start_period {
            self.start_interval
        } else {
            self.interval
        }
    }
}

impl Health {
    /// That of a container that starts.
    pub(crate) fn new() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: VecDeque::new() }
    }

    /// Takes note of a check in a container that was started at `started`; tells whether the verdict
    /// changed.
    pub(crate) fn note(&mut self, plan: &Plan, started: SystemTime, probe: Probe) -> bool {
        let before = self.status;
        let since_start = probe.start.duration_since(started).unwrap_or_default();
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || since_start >= plan.start_period {
            self.failing_streak += 1;
            if self.failing_streak >= plan.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() == KEPT {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        self.status != before
    }
}

/// Fills in from the image what the client left open.
pub(crate) fn inherit(own: &mut Option<Healthcheck>, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    let Some(own) = own else {
        *own = Some(image.clone());
        return;
    };
    if own.test.is_empty() {
        own.test.clone_from(&image.test);
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

/// Refuses what makes no sense.
pub(crate) fn check(check: &Healthcheck) -> Result<(), Error> {
    let invalid = |problem: String| Err(Error::Invalid { field: "Healthcheck", problem });
    for (name, time) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if time != 0 && time < SHORTEST {
            return invalid(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if check.retries < 0 {
        return invalid("Retries in Healthcheck cannot be negative".to_owned());
    }
    match check.test.first().map(String::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => invalid(format!("Unknown healthcheck type '{other}' (expected 'CMD')")),
    }
}

#[cfg(test)]
mod tests;
