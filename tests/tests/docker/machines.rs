//! Many VMs at once, and VMs that die in every way.

use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field};

pub(crate) fn ten_machines_run_at_once_and_leave_nothing(host: &mut Host) {
    const MANY: usize = 10;
    let dir = host.dir().join("ten");
    std::fs::create_dir_all(&dir).expect("a directory");
    let bind = format!("-v={}:/b", dir.display());
    let begin = |n: usize| {
        let (name, hostname) = (format!("--name=m{n}"), format!("--hostname=m{n}"));
        let words = ["run", "-d", "--isolation=hyperv", &name, &hostname, &bind, IMAGE];
        host.engine.begin(&[&words[..], &["sleep", "1000"]].concat())
    };
    let started: Vec<_> = (0..MANY).map(begin).collect();
    for one in started {
        one.wait().ok();
    }
    assert_eq!(host.engine.processes("hull-vmwp").len(), MANY);
    let asked = (0..MANY).map(|n| {
        let name = format!("m{n}");
        host.engine.begin(&["exec", &name, "sh", "-c", "hostname | tee /b/$(hostname)"])
    });
    for (n, one) in asked.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(one.wait().ok().trim(), format!("m{n}"));
    }
    assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), MANY);
    // By address each sees the next.
    let next = field(host, "m1", "{{.NetworkSettings.IPAddress}}");
    host.docker(&["exec", "m0", "ping", "-c", "1", "-W", "10", &next]).ok();
    let seeds = |name| host.docker(&["exec", name, "cat", "/proc/sys/kernel/random/uuid"]).ok();
    assert_ne!(seeds("m0"), seeds("m1"), "no two clones draw the same numbers");
    let names: Vec<_> = (0..MANY).map(|n| format!("m{n}")).collect();
    let mut remove = vec!["rm", "-f"];
    remove.extend(names.iter().map(String::as_str));
    host.docker(&remove).ok();
    // Everything else the suite looks for after each case.
    for program in ["hull-vmwp", "hull-share", "containerd-shim"] {
        eventually(program, || host.engine.processes(program).is_empty());
    }
}

/// How a VM dies of itself, for one who is root in it, and what is told of that beside that it did.
const DEATHS: [(&str, &str, &str); 4] = [
    ("a panic", "echo c >/proc/sysrq-trigger", "Kernel panic - not syncing: sysrq triggered crash"),
    ("a killed agent", "/b/killer", "Attempted to kill init!"),
    ("a reboot", "echo b >/proc/sysrq-trigger", ""),
    ("a power switch", "echo o >/proc/sysrq-trigger", ""),
];

pub(crate) fn a_machine_that_dies_is_a_container_that_was_killed(host: &mut Host) {
    let other = detached(host, Isolation::Vm, &["--name=other"], &["sleep", "1000"]);
    let dir = host.dir().join("deaths");
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut compile = Command::new("cc");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/machines/killer.c");
    compile.args(["-O1", "-static", "-o"]).arg(dir.join("killer")).arg(source);
    assert!(compile.status().expect("cc is installed: scripts/deps.sh test").success());
    let bind = format!("-v={}:/b", dir.display());
    for (how, script, told) in DEATHS {
        let flags = ["--privileged", "--name=victim", &bind];
        let id = detached(host, Isolation::Vm, &flags, &["sleep", "1000"]);
        let exec = host.engine.begin(&["exec", &id, "sh", "-c", &format!("{script}; sleep 1000")]);
        was_killed(host, &id, how);
        let ran = exec.wait();
        assert_eq!(ran.code, 137, "{how}: {ran}");
        let error = field(host, &id, "{{.State.Error}}");
        assert!(error.contains(told), "{how}: {error}");
        host.docker(&["start", &id]).ok();
        assert_eq!(field(host, &id, "{{.State.Error}}"), "", "{how}");
        assert_eq!(host.docker(&["exec", &id, "echo", "again"]).ok(), "again", "{how}");
        host.docker(&["rm", "-f", &id]).ok();
    }
    let id = detached(host, Isolation::Vm, &["--name=victim"], &["sleep", "1000"]);
    kill(host, &id);
    was_killed(host, &id, "a killed worker");
    let this = format!("--filter=container={id}");
    let code = "--format={{.Actor.Attributes.exitCode}}";
    let words = ["events", "--since=1h", "--until=0s", &this, "--filter=event=die", code];
    // An instant is told in whole seconds.
    eventually("its death was told", || !host.docker(&words).out.is_empty());
    assert_eq!(host.docker(&words).ok(), "137", "once");
    host.docker(&["rm", "-f", &id]).ok();
    assert_eq!(host.docker(&["exec", &other, "echo", "well"]).ok(), "well");
    host.docker(&["rm", "-f", &other]).ok();
}

pub(crate) fn a_machine_that_dies_while_the_engine_is_away_is_found_dead(host: &mut Host) {
    let id = detached(host, Isolation::Vm, &["--name=victim"], &["sleep", "1000"]);
    let worker = worker(host, &id);
    host.engine.kill();
    rustix::process::kill_process(worker, Signal::KILL).expect("it runs");
    thread::sleep(std::time::Duration::from_secs(1));
    host.engine.start();
    was_killed(host, &id, "a worker killed while nobody looked");
    host.docker(&["rm", "-f", &id]).ok();
    let policy = ["--restart=on-failure:1", "--name=again"];
    let id = detached(host, Isolation::Vm, &policy, &["sleep", "1000"]);
    kill(host, &id);
    eventually("it was started again", || field(host, &id, "{{.RestartCount}}") == "1");
    host.engine.until(&id, "running");
    host.docker(&["rm", "-f", &id]).ok();
}

fn worker(host: &Host, id: &str) -> Pid {
    let pid = field(host, id, "{{.State.Pid}}");
    Pid::from_raw(pid.parse().expect("a number")).expect("positive")
}

fn kill(host: &Host, id: &str) {
    rustix::process::kill_process(worker(host, id), Signal::KILL).expect("it runs");
}

#[track_caller]
fn was_killed(host: &Host, id: &str, how: &str) {
    assert_eq!(host.docker(&["wait", id]).ok(), "137", "{how}");
    host.engine.until(id, "exited");
    let error = field(host, id, "{{.State.Error}}");
    assert!(error.contains("the VM ended before its container"), "{how}: {error}");
    let state = field(host, id, "{{.State.OOMKilled}} {{.State.Running}} {{.State.Pid}}");
    assert_eq!(state, "false false 0", "{how}");
}
