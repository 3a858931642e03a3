//! The engine dies and comes back; a shim dies.

mod model;
mod storm;

use std::fmt::Write;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use storm::{Load, PULLED, Storm};

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

/// `HULL_SOAK_CRASHES` is how often; `make soak` says 200, a tenth of them with virtual machines.
pub(crate) fn what_was_acknowledged_outlives_any_crash(host: &mut Host, isolation: Isolation) {
    let wanted = std::env::var("HULL_SOAK_CRASHES").ok().and_then(|text| text.parse::<u64>().ok());
    let (kills, load) = match isolation {
        Isolation::Process => {
            let longest = Duration::from_millis(600);
            (wanted.unwrap_or(8), Load { isolation, workers: 4, slots: 3, longest })
        }
        Isolation::Vm => {
            let longest = Duration::from_secs(4);
            let kills = wanted.map_or(1, |wanted| wanted.div_ceil(10));
            (kills, Load { isolation, workers: 2, slots: 1, longest })
        }
    };
    let before = kept(host);
    let checksum = publish(host);
    let mut storm = Storm::new(host, load, checksum);
    storm.rage(host, kills);
    host.engine.clear();
    let _ = host.docker(&["rmi", PULLED]);
    assert_eq!(kept(host), before, "blobs and layers");
}

/// Leaves [`PULLED`] in the registry, and nowhere else; gives the digest of its large file.
fn publish(host: &Host) -> String {
    let [one, two] = ["big", "bigger"].map(|name| host.dir().join(name).display().to_string());
    for (file, size) in [(&one, "2M"), (&two, "5M")] {
        host.engine.on_host("sh", &["-c", &format!("head -c {size} /dev/urandom >{file}")]).ok();
    }
    for (from, file) in [(IMAGE, &two), (PULLED, &one)] {
        let id = host.docker(&["create", from]).ok();
        host.docker(&["cp", file, &format!("{id}:/big")]).ok();
        host.docker(&["commit", &id, PULLED]).ok();
        host.docker(&["rm", &id]).ok();
    }
    host.docker(&["push", "-q", PULLED]).ok();
    host.docker(&["rmi", PULLED]).ok();
    host.docker(&["image", "prune", "-f"]).ok();
    let digest = host.engine.on_host("sha256sum", &[&one]).ok();
    digest.split(' ').next().expect("sha256sum prints it first").to_owned()
}

/// The blobs and layers that the engine keeps.
fn kept(host: &Host) -> Vec<String> {
    let at = |name: &str| host.engine.data_root().join(name).display().to_string();
    let [blobs, layers] = [at("content"), at("snapshots")];
    let found = host.engine.on_host("find", &[&blobs, &layers, "-maxdepth", "3"]).ok();
    let mut found: Vec<_> = found.lines().map(str::to_owned).collect();
    found.sort();
    found
}

fn parent(pid: i32) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("proc(5)");
    let raw = line.trim().parse().expect("a number");
    assert!(raw > 1, "{pid} has no shim");
    Pid::from_raw(raw).expect("positive")
}
