//! Restart policies.

use std::thread;
use std::time::Duration;

use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field};

pub(crate) fn a_failing_container_is_restarted_so_often(host: &mut Host, isolation: Isolation) {
    let script = "echo run; exit 3";
    let id = detached(host, isolation, &["--restart=on-failure:2"], &["sh", "-c", script]);
    eventually("it gave up", || {
        field(host, &id, "{{.State.Status}} {{.RestartCount}}") == "exited 2"
    });
    assert_eq!(host.docker(&["logs", &id]).ok(), "run\nrun\nrun");
    assert_eq!(field(host, &id, "{{.State.ExitCode}}"), "3");
    let policy =
        "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(field(host, &id, policy), "on-failure:2");
}

pub(crate) fn what_a_client_stops_stays_stopped(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["--restart=always"], &["sleep", "1000"]);
    host.docker(&["kill", &id]).ok();
    thread::sleep(Duration::from_millis(400));
    assert_eq!(field(host, &id, "{{.State.Status}}"), "exited");
    host.docker(&["start", &id]).ok();
    host.docker(&["restart", "-t", "0", &id]).ok();
    assert_eq!(field(host, &id, "{{.State.Status}} {{.RestartCount}}"), "running 0");
    host.docker(&["stop", "-t", "0", &id]).ok();
    assert_eq!(field(host, &id, "{{.State.Status}}"), "exited");
}

pub(crate) fn between_two_runs_it_is_restarting(host: &mut Host) {
    let id = detached(host, Isolation::Process, &["--restart=always"], &["false"]);
    // Now and then it runs, for a moment.
    let refused = |arguments: &[&str], word: &str| {
        eventually(word, || {
            let ran = host.docker(arguments);
            ran.code == 1 && ran.err.contains(word)
        });
    };
    refused(&["rm", &id], "container is restarting");
    refused(&["exec", &id, "true"], "is restarting");
    eventually("it is listed so", || {
        host.docker(&["ps", "--format", "{{.Status}}"]).out.starts_with("Restarting (1) ")
    });
    host.docker(&["stop", &id]).ok();
    assert_eq!(field(host, &id, "{{.State.Status}}"), "exited");
    let said = host.docker(&["run", "--rm", "--restart=always", IMAGE, "true"]).fails(125);
    assert!(said.contains("AutoRemove") || said.contains("--rm"), "{said}");
}

pub(crate) fn an_engine_starts_what_its_policy_says(host: &mut Host) {
    let run = |name: &str, policy: &str| {
        let policy = format!("--restart={policy}");
        let flags = ["--name", name, &policy];
        detached(host, Isolation::Process, &flags, &["sleep", "1000"])
    };
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("no", "no"),
        ("stays", "unless-stopped"),
    ] {
        run(name, policy);
    }
    host.docker(&["stop", "-t", "0", "always", "stays"]).ok();
    let pid = |name: &str| field(host, name, "{{.State.Pid}}");
    let pids = [pid("unless"), pid("no")];
    host.engine.kill();
    for pid in pids {
        host.engine.on_host("kill", &["-9", &pid]).ok();
    }
    host.engine.start();
    host.engine.until("always", "running");
    host.engine.until("unless", "running");
    for name in ["no", "stays"] {
        assert_eq!(field(host, name, "{{.State.Status}}"), "exited", "{name}");
    }
}
