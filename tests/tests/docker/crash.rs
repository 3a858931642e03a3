//! The engine dies and comes back; a shim dies.

use std::fmt::Write;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;

use super::{detached, field};

pub(crate) fn a_killed_engine_finds_its_containers_again(host: &mut Host, isolation: Isolation) {
    let count = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo end";
    let counter = detached(host, isolation, &["--name", "counter"], &["sh", "-c", count]);
    let leaver = detached(host, isolation, &["--name", "leaver"], &["sh", "-c", "sleep 3; exit 7"]);
    let runs_at = field(host, &counter, "{{.State.Pid}}");
    host.engine.begin(&["logs", "-f", &counter]).out.expect("5\n");

    host.engine.kill();
    // Long enough for the leaver to end while nobody looks.
    thread::sleep(Duration::from_secs(5));
    host.engine.start();

    host.engine.until(&leaver, "exited");
    assert_eq!(field(host, &leaver, "{{.State.ExitCode}}"), "7");
    assert_eq!(host.docker(&["ps", "--format", "{{.Names}}"]).ok(), "counter");
    assert_eq!(field(host, &counter, "{{.State.Pid}}"), runs_at, "the same process");

    host.docker(&["exec", &counter, "touch", "/stop"]).ok();
    assert_eq!(host.docker(&["wait", &counter]).ok(), "0");
    let logs = host.docker(&["logs", &counter]).ok();
    let mut want = String::new();
    for number in 1..logs.lines().count() {
        writeln!(want, "{number}").expect("text takes text");
    }
    assert_eq!(logs, want + "end", "no line is lost or doubled");
}

pub(crate) fn a_killed_shim_means_a_dead_container(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["--name", "orphan"], &["sleep", "1000"]);
    let pid: i32 = field(host, &id, "{{.State.Pid}}").parse().expect("a number");
    let shim = parent(pid);
    rustix::process::kill_process(shim, Signal::KILL).expect("it runs");

    host.engine.until(&id, "dead");
    assert_eq!(field(host, &id, "{{.State.ExitCode}}"), "137");
    eventually("its process is gone", || !fs::exists(format!("/proc/{pid}")).unwrap_or(true));
    host.docker(&["rm", &id]).ok();
}

fn parent(pid: i32) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("proc(5)");
    let raw = line.trim().parse().expect("a number");
    assert!(raw > 1, "{pid} has no shim");
    Pid::from_raw(raw).expect("positive")
}
