//! Virtual machines: from the template, from nothing, and how much memory an idle one holds.

use std::fs;
use std::time::{Duration, Instant};

use tests::Host;
use tests::host::IMAGE;

use crate::contest::{Contestant, millis, race};

const ROUNDS: usize = 9;
const COLD_ROUNDS: u32 = 2;

/// Prints how both modes start, and what a start without a template costs.
pub(crate) fn compare(host: &Host) {
    let start = |isolation: &'static str| {
        move || drop(host.docker(&["run", "--rm", isolation, IMAGE, "true"]).ok())
    };
    let process = Contestant::new("process", start("--isolation=process"));
    let vm = Contestant::new("hyperv, from the template", start("--isolation=hyperv"));
    let warm = race(ROUNDS, vec![vm, process]);
    warm.print(
        "docker run --rm IMAGE true, by isolation, the client's time included",
        Duration::ZERO,
    );

    let cold = cold(host, start("--isolation=hyperv"));
    let ratio = cold.as_secs_f64() / warm.median("hyperv, from the template").as_secs_f64();
    println!("  {:<28} {:>8.1} ms  {ratio:.1} times as long", "hyperv, cold boot", millis(cold));

    let id = host.docker(&["run", "-d", "--isolation=hyperv", IMAGE, "sleep", "1000"]).ok();
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", &id]).ok();
    println!("  {:<28} {:>8.1} MB", "memory of an idle VM (PSS)", pss(&pid));
    host.docker(&["rm", "-f", &id]).ok();
}

/// The mean of starts that find no template: boot, wait for the agent, save, clone.
fn cold(host: &Host, start: impl Fn()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..COLD_ROUNDS {
        let templates = host.engine.data_root().join("templates");
        fs::remove_dir_all(&templates).expect("templates are there");
        fs::create_dir(&templates).expect("a directory");
        let begin = Instant::now();
        start();
        total += begin.elapsed();
    }
    total / COLD_ROUNDS
}

/// Memory of a process in megabytes, what is shared counted in parts.
fn pss(pid: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: f64 =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}
