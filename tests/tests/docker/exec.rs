//! `docker exec`: another program in a container that runs.

use spec::Isolation;
use tests::Host;
use tests::command::eventually;

use super::detached;

pub(crate) fn a_second_program_has_its_own_streams_and_exit_code(
    host: &mut Host,
    isolation: Isolation,
) {
    let id = detached(host, isolation, &[], &["sh", "-c", "echo from init; sleep 1000"]);
    let ran = host.docker(&["exec", &id, "sh", "-c", "echo out; echo err >&2; exit 11"]);
    assert_eq!((ran.code, &*ran.out, &*ran.err), (11, "out\n", "err\n"), "{ran}");

    let input = "line\n".repeat(10_000);
    let counted = host.engine.docker_with(&["exec", "-i", &id, "wc", "-l"], input.as_bytes());
    assert_eq!(counted.ok(), "10000");

    host.docker(&["exec", &id, "no-such-program"]).fails(127);
    host.docker(&["exec", &id, "/etc/passwd"]).fails(126);
    assert_eq!(host.docker(&["logs", &id]).ok(), "from init", "an exec is not logged");
}

pub(crate) fn a_second_program_gets_what_was_asked_for(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["-e", "FROM=run"], &["sleep", "1000"]);
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "echo $FROM; id -u; pwd", "run\n0\n/"),
        (&["-e", "FROM=exec"], "echo $FROM", "exec"),
        (&["-u", "guest"], "id -u; id -G", "1000\n1000 10"),
        (&["-w", "/usr/share"], "pwd", "/usr/share"),
        (&[], "cat /proc/1/comm", "sleep"),
    ];
    for (flags, script, want) in cases {
        let got = host.docker(&[&["exec"], *flags, &[&id, "sh", "-c", script]].concat()).ok();
        assert_eq!(got, *want, "{flags:?} {script}");
    }
    host.docker(&["exec", "-d", &id, "touch", "/tmp/by-exec"]).ok();
    eventually("a detached exec did its work", || {
        host.docker(&["exec", &id, "test", "-e", "/tmp/by-exec"]).code == 0
    });
}

pub(crate) fn nothing_is_executed_in_a_container_that_does_not_run(
    host: &mut Host,
    isolation: Isolation,
) {
    let id = detached(host, isolation, &[], &["true"]);
    host.docker(&["wait", &id]).ok();
    let said = host.docker(&["exec", &id, "true"]).fails(1);
    assert!(said.contains("is not running"), "{said}");
}
