//! Virtual machines: from the template, from nothing, how much memory idle ones hold, and what work
//! costs in them.

mod clones;
mod work;

use std::cell::RefCell;
use std::fmt::Display;
use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::Host;
use tests::host::IMAGE;

use crate::contest::{Contestant, millis, race};
use crate::peers::finish;

const ROUNDS: usize = 11;
const COLD_ROUNDS: u32 = 2;
/// How many idle machines share their memory.
const CLONES: usize = 10;

const HYPERV: &str = "--isolation=hyperv";
const PROCESS: &str = "--isolation=process";

/// Prints how both modes start, and what a start without a template costs.
pub(crate) fn compare(host: &Host) {
    starts(host);
    memory(host);
    clones::compare(host);
    work::compare(host);
}

fn starts(host: &Host) {
    let (vm, process) = (Run::new(host, HYPERV), Run::new(host, PROCESS));
    let contestants = vec![
        Contestant::new("hyperv, from the template", || vm.begin()).then(|| vm.end()),
        Contestant::new("process", || process.begin()).then(|| process.end()),
    ];
    let warm = race(ROUNDS, contestants);
    warm.print("docker run to the program's first output, the client's time included");
    let warm = warm.median("hyperv, from the template");

    let cold = cold(host, &vm);
    let ratio = cold.as_secs_f64() / warm.as_secs_f64();
    println!("  {:<28} {:>8.1} ms  {ratio:.1} times as long", "hyperv, cold boot", millis(cold));

    let whole = |isolation: &'static str| {
        move || {
            finish(host.engine.client(&["run", "--rm", isolation, IMAGE, "true"]));
        }
    };
    let contestants = vec![
        Contestant::new("hyperv, from the template", whole(HYPERV)),
        Contestant::new("process", whole(PROCESS)),
    ];
    race(ROUNDS, contestants).print("docker run --rm IMAGE true to its end, the same way");
}

/// A container that says a word.
struct Run<'a> {
    host: &'a Host,
    isolation: &'static str,
    client: RefCell<Option<Child>>,
}

impl<'a> Run<'a> {
    fn new(host: &'a Host, isolation: &'static str) -> Self {
        Self { host, isolation, client: RefCell::default() }
    }

    /// Runs it until its word comes.
    fn begin(&self) {
        let run = ["run", "--rm", self.isolation, IMAGE, "echo", "word"];
        let mut client: Command = self.host.engine.client(&run);
        let mut client =
            client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("docker");
        let mut word = [0; 1];
        let read = client.stdout.as_mut().expect("it is a pipe").read(&mut word);
        assert_eq!((read.ok(), &word), (Some(1), b"w"), "the program says a word");
        *self.client.borrow_mut() = Some(client);
    }

    fn end(&self) {
        let client = self.client.borrow_mut().take();
        let ended = client.expect("it was begun").wait().expect("it is a child");
        assert!(ended.success(), "{ended}");
    }
}

/// The mean of starts that find no template: boot, wait for the agent, save, clone.
fn cold(host: &Host, run: &Run<'_>) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..COLD_ROUNDS {
        let templates = host.engine.data_root().join("templates");
        fs::remove_dir_all(&templates).expect("templates are there");
        fs::create_dir(&templates).expect("a directory");
        let begin = Instant::now();
        run.begin();
        total += begin.elapsed();
        run.end();
    }
    total / COLD_ROUNDS
}

/// Prints what idle machines hold, each for itself and its part of what all share.
fn memory(host: &Host) {
    let docker = |arguments: &[&str]| finish(host.engine.client(arguments));
    let idle = || docker(&["run", "-d", HYPERV, IMAGE, "sleep", "1000"]);
    let ids: Vec<String> = (0..CLONES).map(|_| idle()).collect();
    let pids: Vec<String> =
        ids.iter().map(|id| docker(&["inspect", "-f", "{{.State.Pid}}", id])).collect();
    let held: Vec<f64> = pids.iter().map(pss).collect();
    println!("\nmemory of idle VMs from one template (PSS)");
    let (mean, most) =
        (held.iter().sum::<f64>() / 10.0, held.iter().fold(0.0, |most: f64, one| most.max(*one)));
    println!("  {:<28} {mean:>8.1} MB  the most: {most:.1} MB", format!("each of {CLONES}"));
    let (last, others) = ids.split_last().expect("there are some");
    let mut remove = vec!["rm", "-f"];
    remove.extend(others.iter().map(String::as_str));
    docker(&remove);
    let alone = pids.last().map_or(0.0, pss);
    println!("  {:<28} {alone:>8.1} MB", "one alone");
    docker(&["rm", "-f", last]);
}

/// Memory of a process in megabytes, what is shared counted in parts.
fn pss(pid: impl Display) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: f64 =
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}
