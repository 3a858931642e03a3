//! What a pause does beyond keeping processes still.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spec::Isolation;
use tests::Host;
use tests::command::eventually;

use super::{detached, field};

/// The guest's own time stands still with its processors, and its clock is right all the same.
pub(crate) fn the_processors_of_a_paused_vm_stand_still(host: &mut Host) {
    const PAUSE: Duration = Duration::from_secs(4);
    let id = detached(host, Isolation::Vm, &["--name=still"], &["sleep", "1000"]);
    let uptime = || -> f64 {
        let text = host.docker(&["exec", &id, "cut", "-d ", "-f1", "/proc/uptime"]).ok();
        text.trim().parse().expect("seconds")
    };
    let (begun, before) = (Instant::now(), uptime());
    host.docker(&["pause", &id]).ok();
    thread::sleep(PAUSE);
    // What is asked meanwhile is answered.
    assert!(host.docker(&["top", &id]).ok().contains("sleep 1000"));
    assert!(host.docker(&["stats", "--no-stream", &id]).ok().contains("still"));
    host.docker(&["unpause", &id]).ok();
    let stood = begun.elapsed().as_secs_f64() - (uptime() - before);
    assert!(stood > PAUSE.as_secs_f64() / 2.0, "stood still for {stood} s");
    let clock: u64 =
        host.docker(&["exec", &id, "date", "+%s"]).ok().trim().parse().expect("a time");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(clock) <= 2, "the guest's clock says {clock}, the host's {now}");
    // A signal that kills is not kept waiting.
    host.docker(&["pause", &id]).ok();
    host.docker(&["kill", &id]).ok();
    assert_eq!(host.docker(&["wait", &id]).ok().trim(), "137");
    host.docker(&["rm", &id]).ok();
}

/// Of two containers in one VM, each is paused for itself.
pub(crate) fn a_vm_runs_as_long_as_one_of_its_containers(host: &mut Host) {
    let first = detached(host, Isolation::Vm, &["--name=first"], &["sleep", "1000"]);
    let joins = ["--name=second", "--network=container:first"];
    let second = detached(host, Isolation::Vm, &joins, &["sleep", "1000"]);
    host.docker(&["pause", &first]).ok();
    assert_eq!(host.docker(&["exec", &second, "echo", "awake"]).ok(), "awake");
    host.docker(&["pause", &second]).ok();
    host.docker(&["unpause", &first]).ok();
    assert_eq!(host.docker(&["exec", &first, "echo", "awake"]).ok(), "awake");
    assert!(host.docker(&["exec", &second, "true"]).fails(1).contains("is paused"));
    // What remains is paused, and goes all the same.
    host.docker(&["rm", "-f", &first]).ok();
    host.docker(&["rm", "-f", &second]).ok();
}

/// A file that was written is kept in memory, until its container is paused so.
pub(crate) fn a_pause_gives_memory_back_if_asked(host: &mut Host, isolation: Isolation) {
    const WRITTEN: u64 = 64 << 20;
    let write =
        "dd if=/dev/zero of=/file bs=1M count=64 2>/dev/null; sync; echo written; sleep 1000";
    let flags = ["--name=giver", "--label=dev.hull.pause=reclaim"];
    let id = detached(host, isolation, &flags, &["sh", "-c", write]);
    eventually("the file is written", || host.docker(&["logs", &id]).ok().contains("written"));
    let before = held(host, isolation, &id);
    host.docker(&["pause", &id]).ok();
    eventually("memory is given back", || held(host, isolation, &id) + WRITTEN / 2 < before);
    host.docker(&["unpause", &id]).ok();
    assert_eq!(host.docker(&["exec", &id, "stat", "-c%s", "/file"]).ok(), WRITTEN.to_string());
    host.docker(&["rm", "-f", &id]).ok();

    let wrong = ["run", "--rm", "--label=dev.hull.pause=never", tests::host::IMAGE, "true"];
    let refused = host.docker(&wrong);
    assert_eq!(refused.code, 125, "{refused}");
    assert!(refused.err.contains("want reclaim"), "{refused}");
}

/// Bytes of the host's memory that a container has: its control group's, or its worker's own.
fn held(host: &Host, isolation: Isolation, id: &str) -> u64 {
    let pid = field(host, id, "{{.State.Pid}}");
    let text =
        |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    if isolation == Isolation::Vm {
        let rollup = text(&format!("/proc/{pid}/smaps_rollup"));
        let own = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
        let kib = own.and_then(|own| own.trim().strip_suffix(" kB")).expect("private memory");
        return kib.trim().parse::<u64>().expect("a number") << 10;
    }
    let groups = text(&format!("/proc/{pid}/cgroup"));
    let own =
        groups.lines().find_map(|line| line.split_once(":memory:")).expect("a memory group").1;
    text(&format!("/sys/fs/cgroup/memory{own}/memory.usage_in_bytes"))
        .trim()
        .parse()
        .expect("bytes")
}
