//! What goes in and comes out: attached, logged, followed.

use std::fmt::Write;

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, run};

pub(crate) fn stdout_and_stderr_stay_apart(host: &mut Host, isolation: Isolation) {
    let ran = run(host, isolation, &[IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((ran.code, &*ran.out, ran.err.trim()), (3, "out\n", "err"), "{ran}");
}

pub(crate) fn stdin_ends_and_output_still_comes(host: &mut Host, isolation: Isolation) {
    let flag = format!("--isolation={isolation}");
    let input = "0123456789abcde\n".repeat(1 << 14);
    let script = "wc -c; echo after the end";
    let ran = host
        .engine
        .docker_with(&["run", "--rm", "-i", &flag, IMAGE, "sh", "-c", script], input.as_bytes());
    assert_eq!(ran.ok(), format!("{}\nafter the end", input.len()));

    let closed = run(host, isolation, &[IMAGE, "wc", "-c"]).ok();
    assert_eq!(closed, "0", "without -i there is nothing to read");
}

pub(crate) fn nothing_of_a_large_output_is_lost(host: &mut Host, isolation: Isolation) {
    let mut want = String::new();
    for number in 1..=100_000 {
        writeln!(want, "{number}").expect("text takes text");
    }
    let ran = run(host, isolation, &[IMAGE, "seq", "1", "100000"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out == want, "{} bytes of {}", ran.out.len(), want.len());
}

pub(crate) fn logs_keep_order_streams_and_times(host: &mut Host, isolation: Isolation) {
    let script = "for i in 1 2 3; do echo out $i; sleep 0.1; echo err $i >&2; sleep 0.1; done; \
                  printf unended";
    let id = detached(host, isolation, &[], &["sh", "-c", script]);
    host.docker(&["wait", &id]).ok();

    let logs = host.docker(&["logs", &id]);
    assert_eq!(logs.out, "out 1\nout 2\nout 3\nunended", "{logs}");
    assert_eq!(logs.err, "err 1\nerr 2\nerr 3\n", "{logs}");

    let tail = host.docker(&["logs", "--tail", "2", &id]);
    assert_eq!((&*tail.out, &*tail.err), ("unended", "err 3\n"), "{tail}");

    let with_times = host.docker(&["logs", "-t", &id]).ok();
    let times: Vec<_> = with_times.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(times.len(), 4, "{with_times}");
    assert!(times.iter().all(|time| time.len() >= 20 && time.ends_with('Z')), "{with_times}");
    assert!(times.is_sorted(), "{with_times}");
}

pub(crate) fn logs_follow_until_the_end(host: &mut Host, isolation: Isolation) {
    let script = "echo first; while [ ! -e /go ]; do sleep 0.1; done; echo last; exit 4";
    let id = detached(host, isolation, &[], &["sh", "-c", script]);
    let follower = host.engine.begin(&["logs", "-f", &id]);
    follower.out.expect("first\n");
    host.docker(&["exec", &id, "touch", "/go"]).ok();
    let ran = follower.wait();
    assert_eq!((ran.code, &*ran.out), (0, "first\nlast\n"), "{ran}");
}

pub(crate) fn attach_joins_a_running_program(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &["-i"], &["sh", "-c", "read line; echo got $line; exit 9"]);
    let mut attached = host.engine.begin(&["attach", &id]);
    attached.send(b"something\n");
    attached.out.expect("got something\n");
    assert_eq!(attached.wait().code, 9);
}
