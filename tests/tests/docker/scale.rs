//! Many containers at once, and what they cost the host besides themselves.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::Host;
use tests::host::IMAGE;
use tests::programs::program;

use super::client::Client;

/// How many clients ask at once.
const CLIENTS: usize = 8;
/// The most memory that `hulld` may have, in KiB.
const ENGINE_MOST: u64 = 40 << 10;
/// The most that a shim may have, what it shares with others divided among them.
const SHIM_MOST: u64 = 2 << 10;

/// `HULL_SOAK_CONTAINERS` is how many; `make soak` says 500.
pub(crate) fn many_containers_run_at_once_in_little_memory(host: &mut Host) {
    let wanted = std::env::var("HULL_SOAK_CONTAINERS").ok().and_then(|text| text.parse().ok());
    let count: usize = wanted.unwrap_or(24);
    let client = Client::of(&host.engine);
    let body = json!({ "Image": IMAGE, "Cmd": ["sleep", "1000"] });

    let start = Instant::now();
    each(count, |name| {
        done(&client, "POST", &format!("/containers/create?name={name}"), &body);
        done(&client, "POST", &format!("/containers/{name}/start"), &Value::Null);
    });
    let started = start.elapsed();
    let running = host.docker(&["ps", "-q"]).ok();
    assert_eq!(running.lines().count(), count);
    let all = client.page("/containers/json?all=1");
    assert_eq!(all.as_array().map(Vec::len), Some(count));
    let engine = settled(host.engine.pid());
    let shims: Vec<_> = host.engine.processes("containerd-shim").into_iter().map(memory).collect();
    assert_eq!(shims.len(), count, "one shim a container");
    let largest = shims.iter().copied().max().expect("some");
    println!(
        "    {count} started in {:.1} s; hulld {engine} KiB; a shim {} KiB, the largest {largest}",
        started.as_secs_f32(),
        shims.iter().sum::<u64>() / shims.len() as u64,
    );

    let start = Instant::now();
    each(count, |name| {
        done(&client, "POST", &format!("/containers/{name}/stop?t=0"), &Value::Null);
    });
    assert_eq!(host.docker(&["ps", "-q"]).ok(), "");
    each(count, |name| done(&client, "DELETE", &format!("/containers/{name}"), &Value::Null));
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "");
    println!(
        "    stopped and removed in {:.1} s; hulld {} KiB",
        start.elapsed().as_secs_f32(),
        memory(host.engine.pid())
    );
    if optimised() {
        assert!(engine <= ENGINE_MOST, "hulld has {engine} KiB");
        assert!(largest <= SHIM_MOST, "a shim has {largest} KiB");
    } else {
        println!("    programs of a debug build: what they take is not judged");
    }
}

/// Whether the programs are those that `make build` leaves: the shim is a fifth of a debug build's.
fn optimised() -> bool {
    let shim = fs::metadata(program("containerd-shim-hull-v2")).expect("it was just executed");
    shim.len() < 10 << 20
}

/// Has `work` done for so many names, several at once.
fn each(count: usize, work: impl Fn(&str) + Sync) {
    let next = AtomicUsize::new(0);
    let work_on = || {
        while let number @ 1.. = count.saturating_sub(next.fetch_add(1, Ordering::Relaxed)) {
            work(&format!("many-{number}"));
        }
    };
    thread::scope(|scope| (0..CLIENTS).for_each(|_| drop(scope.spawn(work_on))));
}

fn done(client: &Client, method: &str, path: &str, body: &Value) {
    let answer = client.ask(method, path, body).expect("the engine lives");
    assert!(answer.done(), "{path}: {} {}", answer.status, answer.text());
}

/// The engine's memory once it has given back what starting took: the least of so many seconds.
fn settled(pid: u32) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut least = memory(pid);
    while least > ENGINE_MOST && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(500));
        least = least.min(memory(pid));
    }
    least
}

/// The process's memory, pages that it shares divided among those who do, in KiB.
fn memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("proc(5): a number of kB")
}
