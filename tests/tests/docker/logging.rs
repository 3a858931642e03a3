//! How output is kept: drivers, rotation, details.

use std::fmt::Write;

use spec::Isolation;
use tests::Host;

use super::{detached, field};

pub(crate) fn a_followed_log_is_whole_while_its_files_rotate(
    host: &mut Host,
    isolation: Isolation,
) {
    let mut want = String::new();
    for number in 1..=3000 {
        writeln!(want, "{number}").expect("text takes text");
    }
    let size =
        ["--log-opt", "max-size=8k", "--log-opt", "max-file=50", "--log-opt", "compress=true"];
    let script = "while [ ! -e /go ]; do sleep 0.05; done; seq 1 1500; sleep 0.3; seq 1501 3000";
    let id = detached(host, isolation, &size, &["sh", "-c", script]);
    let follower = host.engine.begin(&["logs", "-f", &id]);
    host.docker(&["exec", &id, "touch", "/go"]).ok();
    // The engine's end is not the log's.
    host.engine.kill();
    host.engine.start();
    drop(follower);
    let follower = host.engine.begin(&["logs", "-f", &id]);
    let ran = follower.wait();
    assert!(ran.out == want, "followed: {} bytes of {}", ran.out.len(), want.len());
    let logs = host.docker(&["logs", &id]);
    assert!(logs.out == want, "read later: {} bytes of {}", logs.out.len(), want.len());
    assert_eq!(host.docker(&["logs", "-n", "2", &id]).out, "2999\n3000\n");
    let path = field(host, &id, "{{.LogPath}}");
    assert!(std::fs::exists(format!("{path}.1.gz")).unwrap_or(false), "{path}");
}

pub(crate) fn each_driver_keeps_what_it_should(host: &mut Host, isolation: Isolation) {
    // Longer than a piece of the log, and without an end.
    let script = "head -c 40000 /dev/zero | tr '\\0' x; printf end";
    let want = format!("{}end", "x".repeat(40_000));
    for driver in ["json-file", "local"] {
        let flags = ["--log-driver", driver];
        let id = detached(host, isolation, &flags, &["sh", "-c", script]);
        host.docker(&["wait", &id]).ok();
        assert!(host.docker(&["logs", &id]).out == want, "{driver}");
        assert_eq!(field(host, &id, "{{.HostConfig.LogConfig.Type}}"), driver);
    }
    let id = detached(host, isolation, &["--log-driver", "none"], &["sh", "-c", script]);
    host.docker(&["wait", &id]).ok();
    let refused = host.docker(&["logs", &id]).fails(1);
    assert!(refused.contains("configured logging driver does not support reading"), "{refused}");
    let (status, _) = host.engine.get(&format!("/v1.50/containers/{id}/logs?stdout=1"));
    assert_eq!(status, 501);
}

pub(crate) fn lines_have_details_and_are_found_by_time(host: &mut Host) {
    let flags = [
        "--label",
        "tier=front end",
        "--env",
        "MODE=fast",
        "--log-opt",
        "labels=tier",
        "--log-opt",
        "env=MODE",
        "--log-opt",
        "tag={{.Name}}",
        "--name",
        "detailed",
    ];
    let script = "echo one; sleep 1.2; echo two";
    let id = detached(host, Isolation::Process, &flags, &["sh", "-c", script]);
    host.docker(&["wait", &id]).ok();
    let lines = host.docker(&["logs", "--details", &id]).ok();
    assert!(lines.starts_with("MODE=fast,tag=detailed,tier=front+end one\n"), "{lines}");
    let times = host.docker(&["logs", "-t", &id]).ok();
    let second = times.lines().last().and_then(|line| line.split(' ').next()).expect("a time");
    assert_eq!(host.docker(&["logs", "--since", second, &id]).out, "two\n");
    assert_eq!(host.docker(&["logs", "--until", second, &id]).out, "one\ntwo\n");

    for (flags, want) in [
        (["--log-driver", "syslog"], "logger: no log driver named 'syslog' is registered"),
        (["--log-opt", "size=1"], "unknown log opt 'size' for json-file log driver"),
    ] {
        let said = host.docker(&[&["create"], &flags[..], &[tests::host::IMAGE]].concat()).fails(1);
        assert!(said.contains(want), "{said}");
    }
}
