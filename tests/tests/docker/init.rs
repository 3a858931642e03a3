//! `--init`: a PID 1 of Hull's that reaps, passes signals on and ends as the program did.

use std::thread;
use std::time::Duration;

use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::terminal::is_interrupted;
use super::{detached, field, run};

pub(crate) fn an_init_ends_as_its_program_did(host: &mut Host, isolation: Isolation) {
    let script = |script: &str, code: i32| {
        run(host, isolation, &["--init", IMAGE, "sh", "-c", script]).fails(code)
    };
    script("exit 7", 7);
    script("kill -9 $$", 137);
    let said = run(host, isolation, &["--init", IMAGE, "absent", "x"]).fails(127);
    assert!(said.contains("docker-init: exec absent: no such file"), "{said}");
    let said = run(host, isolation, &["--init", IMAGE, "/etc/passwd"]).fails(126);
    assert!(said.contains("docker-init: exec /etc/passwd: permission denied"), "{said}");
    let piped = ["run", "--rm", "-i", "--init", &format!("--isolation={isolation}"), IMAGE, "cat"];
    assert_eq!(host.engine.docker_with(&piped, b"through").ok(), "through");
}

pub(crate) fn an_init_reaps_and_passes_signals_on(host: &mut Host, isolation: Isolation) {
    // The orphan's parent is PID 1, the program knows nothing of it.
    let script = "(sleep 0.1 & echo orphan $!); trap 'exit 9' USR1; \
                  while true; do sleep 0.1; done";
    let start = || detached(host, isolation, &["--init", "--user=1000"], &["sh", "-c", script]);
    let id = start();
    assert_eq!(field(host, &id, "{{.HostConfig.Init}} {{.Path}}"), "true sh");
    let listed = host.docker(&["top", &id, "-o", "pid,args"]).ok();
    assert!(listed.contains("/sbin/docker-init -- sh -c"), "{listed}");
    let inside = host.docker(&["exec", &id, "cat", "/proc/1/comm"]).ok();
    assert_eq!(inside, "docker-init");
    let orphan = host.docker(&["logs", &id]).ok().replace("orphan ", "/proc/");
    eventually("the orphan is reaped", || {
        host.docker(&["exec", &id, "test", "-e", &orphan]).code == 1
    });
    // The second is one of real time, which the program has no answer to.
    for (signal, code) in [("USR1", "9"), ("37", "165")] {
        let id = start();
        eventually("the program runs", || host.docker(&["logs", &id]).ok().contains("orphan"));
        thread::sleep(Duration::from_millis(100));
        host.docker(&["kill", "-s", signal, &id]).ok();
        assert_eq!(host.docker(&["wait", &id]).ok(), code, "{signal}");
    }
}

pub(crate) fn a_program_behind_an_init_has_the_terminal(host: &mut Host, isolation: Isolation) {
    let flag = format!("--isolation={isolation}");
    let arguments = ["run", "--rm", "-it", "--init", &flag, IMAGE, "sh"];
    let mut pty = host.engine.on_terminal(&arguments, 24, 80);
    pty.send("echo at $((40 + 2))\n");
    pty.screen.expect("at 42\r\n");
    is_interrupted(&mut pty);
    pty.send("exit 6\n");
    assert_eq!(pty.wait(), 6);
}
