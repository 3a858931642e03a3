//! `events`: what a container uses, again and again, and when it runs out of memory.

use std::io::Write;
use std::time::{Duration, Instant};

use container::Container;
use container::cgroup::Stats;
use container::oom::Notice;
use serde::Serialize;
use spec::ContainerId;

use super::Error;
use crate::args::{self, Line};

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Flags {
    pub(crate) id: ContainerId,
    interval: Duration,
    /// Once, and then no more.
    once: bool,
}

/// One line of output.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

/// Reads what follows `events`.
pub(crate) fn flags(id: ContainerId, line: &Line) -> Result<Flags, args::Error> {
    let text = line.text("interval")?;
    let read = |text: &String| {
        let what = "a duration such as 5s, greater than 0";
        let parsed = duration(text).filter(|interval| !interval.is_zero());
        parsed.ok_or_else(|| args::Error::value("interval", text, what))
    };
    let interval = text.as_ref().map_or(Ok(Duration::from_secs(5)), read)?;
    Ok(Flags { id, interval, once: line.switch("stats") })
}

impl Flags {
    /// How often to tell what is used; `None` for once.
    pub(crate) fn interval(&self) -> Option<Duration> {
        (!self.once).then_some(self.interval)
    }
}

/// A duration as Go writes it: `5s`, `1m30s`, `100ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, scale) = units.into_iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        total += number * scale;
        rest = &rest[end + unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok())?
}

/// Prints until the container ends.
pub(crate) fn run(container: &Container, flags: &Flags) -> Result<u8, Error> {
    let failed = || Error::container("events", &flags.id);
    let stats = || -> Result<(), Error> {
        let data = container.stats().map_err(failed())?;
        print(&Event { kind: "stats", id: flags.id.as_str(), data: Some(data) })
    };
    if flags.once {
        stats()?;
        return Ok(0);
    }
    let watch = container.watch_memory().map_err(failed())?;
    let mut next = Instant::now() + flags.interval;
    loop {
        let rest = next.saturating_duration_since(Instant::now());
        match watch.wait(rest).map_err(Error::step("wait for events"))? {
            Notice::OutOfMemory => {
                print(&Event { kind: "oom", id: flags.id.as_str(), data: None })?;
            }
            Notice::Ended => return Ok(0),
            Notice::Nothing => {
                next = Instant::now() + flags.interval;
                // Its cgroups may be removed at any moment; the next round then sees the end.
                let _ = stats();
            }
        }
    }
}

fn print(event: &Event<'_>) -> Result<(), Error> {
    let mut line = serde_json::to_vec(event)
        .map_err(|source| Error::Json { path: "standard output".into(), source })?;
    line.push(b'\n');
    std::io::stdout().write_all(&line).map_err(Error::step("write to the standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("0.5s", Some(500)),
            ("5", None),
            ("", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), want.map(Duration::from_millis), "{text}");
        }
    }
}
