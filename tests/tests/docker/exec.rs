//! `docker exec`: another program in a container that runs.

use serde_json::{Value, json};
use spec::Isolation;
use tests::Host;
use tests::command::eventually;

use super::client::whole_chunks;
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

/// By the body of the start, whether there is a terminal or not: `docker` says there what it said before,
/// libraries may not.
pub(crate) fn a_client_says_whether_it_wants_frames(host: &mut Host, isolation: Isolation) {
    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    for (terminal, start, framed, want) in [
        (true, json!({ "Tty": false }), true, "hi\r\n"),
        (true, json!({ "Tty": true }), false, "hi\r\n"),
        (false, json!({ "Tty": true }), false, "hi\n"),
        (false, json!({}), true, "hi\n"),
    ] {
        let body = json!({ "AttachStdout": true, "Tty": terminal, "Cmd": ["echo", "hi"] });
        let (_, said) = host.engine.post(&format!("/containers/{id}/exec"), &body);
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let exec = said["Id"].as_str().expect("an id");
        let (status, said) = host.engine.post(&format!("/exec/{exec}/start"), &start);
        assert_eq!(status, 200, "{terminal} {start}: {said:?}");
        let body = whole_chunks(said.as_bytes()).expect("an end");
        let got = if framed { unframed(&body) } else { body };
        assert_eq!(got, want.as_bytes(), "{terminal} {start}: {said:?}");
    }
}

/// What frames of standard output hold; a program may write in as many as it likes.
fn unframed(mut frames: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let [head @ .., length, _] = frames.get(..9).unwrap_or_default() {
        assert_eq!(head, b"\x01\0\0\0\0\0\0", "{frames:?}");
        let end = 8 + usize::from(*length);
        text.extend(&frames[8..end]);
        frames = &frames[end..];
    }
    assert_eq!(frames, b"", "a whole frame");
    text
}

pub(crate) fn a_user_that_is_not_there_is_refused_before_it_starts(
    host: &mut Host,
    isolation: Isolation,
) {
    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    for (user, want) in [
        ("nowho", "unable to find user nowho: no matching entries in passwd file"),
        ("1:nowhere", "unable to find group nowhere: no matching entries in group file"),
    ] {
        let body = json!({ "Cmd": ["id"], "User": user });
        let (status, said) = host.engine.post(&format!("/containers/{id}/exec"), &body);
        assert_eq!(status, 400, "{said}");
        assert!(said.contains(want), "{said}");
    }
}
