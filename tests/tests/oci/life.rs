//! A container's life: the commands, their order, their exit statuses.

use serde_json::json;
use tests::command::{Running, eventually};

use crate::bundle::Bundle;

#[test]
fn the_exit_status_is_the_programs() {
    for (args, want) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 7"], 7),
        (vec!["/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (vec!["no-such-program"], 127),
        (vec!["/no/such/program"], 127),
        (vec!["/etc/passwd"], 126),
        (vec!["/etc"], 126),
    ] {
        let Some(bundle) = Bundle::sh("") else { return };
        let ran = bundle.program(&args).run();
        assert_eq!(ran.code, want, "{args:?}: {ran}");
    }
}

#[test]
fn create_start_kill_delete() {
    let Some(bundle) = Bundle::sh("trap 'exit 3' TERM; while :; do sleep 1; done") else { return };
    bundle.create();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], json!(bundle.path()));
    assert_eq!(state["id"], json!(bundle.id));
    let pid = state["pid"].as_u64().expect("a pid");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());

    bundle.runtime(&["start", &bundle.id]).ok();
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.state()["pid"], pid);
    let again = bundle.runtime(&["start", &bundle.id]).fails(1);
    assert!(again.contains("cannot start an already running container"), "{again}");
    let delete = bundle.runtime(&["delete", &bundle.id]).fails(1);
    assert!(delete.contains("running"), "{delete}");

    bundle.runtime(&["kill", &bundle.id]).ok();
    eventually("stopped", || bundle.status() == "stopped");
    assert_eq!(bundle.state()["pid"], 0);
    bundle.runtime(&["kill", &bundle.id]).fails(1);
    bundle.runtime(&["start", &bundle.id]).fails(1);
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
    bundle.runtime(&["state", &bundle.id]).fails(1);
    bundle.runtime(&["delete", &bundle.id]).fails(1);
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
}

#[test]
pub(crate) fn a_created_container_is_deleted_without_force_and_a_running_one_with() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.create();
    bundle.runtime(&["delete", &bundle.id]).ok();
    bundle.start();
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
pub(crate) fn an_id_is_taken_once_for_each_root() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    bundle.start();
    let taken = bundle.runtime(&["create", &bundle.id]).fails(1);
    assert!(taken.contains("already exists"), "{taken}");
    assert_eq!(bundle.status(), "running");
    let listed = bundle.runtime(&["list", "--quiet"]).ok();
    assert_eq!(listed, bundle.id);
    let Some(other) = Bundle::sh("sleep 100") else { return };
    assert_eq!(other.runtime(&["list", "-q"]).ok(), "");
    assert_eq!(other.runtime(&["list", "--format", "json"]).ok(), "null");
    let all: serde_json::Value =
        serde_json::from_str(&bundle.runtime(&["list", "-f", "json"]).ok()).expect("json");
    assert_eq!(all[0]["status"], "running");
    assert_eq!(all[0]["owner"], "root");
    let table = bundle.runtime(&["list"]).ok();
    let head: Vec<&str> = table.lines().next().expect("a line").split_whitespace().collect();
    assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
}

#[test]
pub(crate) fn pause_stops_everything_and_resume_goes_on() {
    let Some(bundle) = Bundle::sh("while :; do echo x >> /tmp/ticks; sleep 0.05; done") else {
        return;
    };
    bundle.start();
    let ticks = || std::fs::metadata(bundle.rootfs().join("tmp/ticks")).map_or(0, |m| m.len());
    eventually("it ticks", || ticks() > 0);
    bundle.runtime(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(ticks(), before);
    bundle.runtime(&["pause", &bundle.id]).fails(1);
    bundle.exec(&["true"]).fails(255);
    bundle.runtime(&["resume", &bundle.id]).ok();
    eventually("it ticks again", || ticks() > before);
    bundle.runtime(&["resume", &bundle.id]).fails(1);
    bundle.runtime(&["pause", &bundle.id]).ok();
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn ps_lists_the_processes_of_the_container_by_their_host_pids() {
    let Some(bundle) = Bundle::sh("sleep 100 & sleep 100; true") else { return };
    bundle.start();
    let pids = || -> Vec<u64> {
        serde_json::from_str(&bundle.runtime(&["ps", "-f", "json", &bundle.id]).ok()).expect("json")
    };
    eventually("three processes", || pids().len() == 3);
    assert!(pids().contains(&bundle.state()["pid"].as_u64().expect("a pid")));
    let table = bundle.runtime(&["ps", &bundle.id]).ok();
    assert!(table.contains("sleep 100"), "{table}");
}

#[test]
pub(crate) fn kill_all_reaches_every_process() {
    let script =
        "trap '' TERM; sleep 100 & sleep 100 & wait; wait; echo gone > /tmp/gone; sleep 100";
    let Some(bundle) = Bundle::sh(script) else { return };
    bundle.start();
    let pids = || -> Vec<u64> {
        serde_json::from_str(&bundle.runtime(&["ps", "-f", "json", &bundle.id]).ok()).expect("json")
    };
    eventually("three processes", || pids().len() == 3);
    bundle.runtime(&["kill", "--all", &bundle.id, "KILL"]).ok();
    eventually("stopped", || bundle.status() == "stopped");
}

#[test]
pub(crate) fn run_passes_signals_on() {
    let script = "trap 'exit 9' USR1; touch /tmp/ready; while :; do sleep 0.05; done";
    let Some(bundle) = Bundle::sh(script) else { return };
    let running = Running::start(bundle.command(&["run", &bundle.id]));
    eventually("ready", || bundle.rootfs().join("tmp/ready").exists());
    let pid = rustix::process::Pid::from_raw(running.pid().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).expect("signalled");
    assert_eq!(running.wait().code, 9);
}

#[test]
fn the_pid_file_holds_the_pid() {
    let Some(bundle) = Bundle::sh("sleep 100") else { return };
    let file = bundle.path().join("pid");
    let name = file.display().to_string();
    bundle.runtime(&["run", "--detach", "--pid-file", &name, &bundle.id]).ok();
    let pid = std::fs::read_to_string(file).expect("written");
    assert_eq!(bundle.state()["pid"].to_string(), pid);
}

#[test]
fn the_log_is_what_containerd_and_podman_parse() {
    let Some(bundle) = Bundle::sh("true") else { return };
    let log = bundle.path().join("log");
    let name = log.display().to_string();
    bundle.runtime(&["--log", &name, "--log-format", "json", "start", "nobody"]).fails(1);
    let line = std::fs::read_to_string(log).expect("written");
    let line: serde_json::Value = serde_json::from_str(line.trim()).expect("json");
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], "start nobody: container does not exist");
}
