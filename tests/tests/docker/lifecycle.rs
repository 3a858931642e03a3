//! Start, stop, kill, list, inspect, remove.

use serde_json::json;
use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field};

pub(crate) fn stop_asks_first_and_kills_later(host: &mut Host, isolation: Isolation) {
    let polite = "trap 'echo bye; exit 42' TERM; echo ready; while :; do sleep 0.1; done";
    let id = detached(host, isolation, &[], &["sh", "-c", polite]);
    host.engine.begin(&["logs", "-f", &id]).out.expect("ready\n");
    host.docker(&["stop", "-t", "60", &id]).ok();
    assert_eq!(field(host, &id, "{{.State.ExitCode}}"), "42");
    assert_eq!(host.docker(&["logs", &id]).ok(), "ready\nbye");

    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let id = detached(host, isolation, &[], &["sh", "-c", deaf]);
    host.engine.begin(&["logs", "-f", &id]).out.expect("ready\n");
    host.docker(&["stop", "-t", "1", &id]).ok();
    assert_eq!(field(host, &id, "{{.State.ExitCode}}"), "137");
}

pub(crate) fn kill_delivers_the_signal_that_was_named(host: &mut Host, isolation: Isolation) {
    let script = "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done";
    let id = detached(host, isolation, &[], &["sh", "-c", script]);
    let log = host.engine.begin(&["logs", "-f", &id]);
    log.out.expect("ready\n");
    host.docker(&["kill", "-s", "USR1", &id]).ok();
    log.out.expect("usr1\n");
    host.docker(&["kill", &id]).ok();
    host.engine.until(&id, "exited");

    let said = host.docker(&["kill", &id]).fails(1);
    assert!(said.contains("is not running"), "{said}");
}

pub(crate) fn ps_and_inspect_tell_the_state(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["--name", "web"], &["sleep", "1000"]);
    let row = host.docker(&["ps", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.Command}}"]).ok();
    assert_eq!(row, format!("{} web {IMAGE} \"sleep 1000\"", &id[..12]));
    assert!(host.docker(&["ps", "--format", "{{.Status}}"]).ok().starts_with("Up "));

    let seen = host.engine.inspect("web");
    assert_eq!(seen["Id"], json!(id));
    assert_eq!(seen["Name"], json!("/web"));
    assert_eq!(seen["State"]["Running"], json!(true));
    assert_eq!(seen["HostConfig"]["Isolation"], json!(isolation.to_string()));
    assert_eq!(seen["Path"], json!("sleep"));
    assert_eq!(seen["Args"], json!(["1000"]));
    assert!(seen["State"]["Pid"].as_i64().is_some_and(|pid| pid > 1), "{}", seen["State"]);
    let address = seen["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str();
    assert!(address.is_some_and(|address| address.starts_with("172.30.")), "{address:?}");

    host.docker(&["kill", "web"]).ok();
    host.engine.until("web", "exited");
    assert_eq!(host.docker(&["ps", "-q"]).ok(), "");
    let status = host.docker(&["ps", "-a", "--format", "{{.Status}}"]).ok();
    assert!(status.starts_with("Exited (137)"), "{status}");
}

pub(crate) fn a_stopped_container_starts_again_with_what_it_wrote(
    host: &mut Host,
    isolation: Isolation,
) {
    let flag = format!("--isolation={isolation}");
    let script = "echo again >>/count; sync; wc -l </count; exit 3";
    let id = host.docker(&["create", &flag, IMAGE, "sh", "-c", script]).ok();
    assert_eq!(field(host, &id, "{{.State.Status}}"), "created");
    for want in ["1\n", "2\n"] {
        let ran = host.docker(&["start", "-a", &id]);
        assert_eq!((ran.code, &*ran.out), (3, want), "{ran}");
    }
    assert_eq!(host.docker(&["logs", &id]).ok(), "1\n2");
}

pub(crate) fn only_force_removes_a_running_container(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    let said = host.docker(&["rm", &id]).fails(1);
    assert!(said.contains("remove") && said.contains("running"), "{said}");
    host.docker(&["rm", "-f", &id]).ok();
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "");
}

pub(crate) fn top_formats_as_ps_does(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &[], &["sh", "-c", "sleep 1000 & sleep 2000 & wait"]);
    let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
        let top = host.docker(&[&["top", &id], arguments].concat()).ok();
        top.lines().map(|row| row.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let format = ["-o", "pid,ppid,user,comm"];
    tests::command::eventually("the shell started both", || {
        // A program that busybox begins is called after its link for a moment.
        rows(&format).iter().filter(|row| row[3] == "sleep").count() == 2
    });
    let chosen = rows(&format);
    assert_eq!(chosen[0], ["PID", "PPID", "USER", "COMMAND"]);
    let init = chosen.iter().find(|row| row[3] == "sh").expect("the shell");
    let children = chosen.iter().filter(|row| row[3] == "sleep" && row[1] == init[0]);
    assert_eq!(children.count(), 2, "{chosen:?}");
    assert_eq!(rows(&["aux"])[0][..3], ["USER", "PID", "%CPU"]);
}

/// A program that ends by the stop signal itself, just when its time is over: the restart must see that
/// end before it starts again, and it must not be the one that removes the container.
pub(crate) fn a_restart_ends_with_it_running(host: &mut Host, isolation: Isolation) {
    let polite = "trap 'exit 0' TERM; while :; do sleep 0.01; done";
    let id = detached(host, isolation, &["--rm"], &["sh", "-c", polite]);
    // A VM takes its time to start, and meets the moment less often.
    let rounds = if isolation == Isolation::Vm { 2 } else { 8 };
    for round in 0..rounds {
        host.docker(&["restart", "-t", "0", &id]).ok();
        assert_eq!(field(host, &id, "{{.State.Running}}"), "true", "round {round}");
    }
    host.docker(&["kill", &id]).ok();
    let page = format!("/containers/{id}/json");
    eventually("the container is gone", || host.engine.get(&page).0 == 404);
}
