//! `docker run`: the program, its surroundings, its end.

use spec::Isolation;
use tests::Host;
use tests::host::IMAGE;

use super::{detached, field, run};

pub(crate) fn the_kernel_is_the_hosts_only_without_a_vm(host: &mut Host, isolation: Isolation) {
    let inside = run(host, isolation, &[IMAGE, "uname", "-r"]).ok();
    let outside = host.engine.on_host("uname", &["-r"]).ok();
    assert_eq!(inside == outside, isolation == Isolation::Process, "{inside} and {outside}");
}

pub(crate) fn exit_codes_are_those_of_the_program(host: &mut Host, isolation: Isolation) {
    run(host, isolation, &[IMAGE, "true"]).ok();
    run(host, isolation, &[IMAGE, "sh", "-c", "exit 7"]).fails(7);
    let not_executable = run(host, isolation, &[IMAGE, "/etc/passwd"]).fails(126);
    assert!(not_executable.contains("/etc/passwd"), "{not_executable}");
    let not_found = run(host, isolation, &[IMAGE, "no-such-program"]).fails(127);
    assert!(not_found.contains("no-such-program"), "{not_found}");

    let id = detached(host, isolation, &[], &["sleep", "1000"]);
    host.docker(&["kill", &id]).ok();
    assert_eq!(host.docker(&["wait", &id]).ok(), "137");
    assert_eq!(field(host, &id, "{{.State.ExitCode}}"), "137");
}

pub(crate) fn a_detached_container_gives_its_id_and_can_be_waited_for(
    host: &mut Host,
    isolation: Isolation,
) {
    let id = detached(host, isolation, &[], &["sh", "-c", "sleep 1; exit 5"]);
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(host.docker(&["wait", &id]).ok(), "5");
    assert_eq!(field(host, &id, "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
}

pub(crate) fn the_image_is_seen_through_its_layers_and_can_be_written(
    host: &mut Host,
    isolation: Isolation,
) {
    let script = "cat /usr/share/added; ls /usr/share; echo new >/usr/share/own; \
                  rm /usr/share/added; cat /usr/share/own; ls /usr/share";
    let seen = run(host, isolation, &[IMAGE, "sh", "-c", script]).ok();
    assert_eq!(seen, "from the second layer\nadded\nnew\nown");
    let again = run(host, isolation, &[IMAGE, "ls", "/usr/share"]).ok();
    assert_eq!(again, "added", "the image itself does not change");
}

pub(crate) fn the_program_gets_what_was_asked_for(host: &mut Host, isolation: Isolation) {
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "id -u; pwd; echo $IMAGE", "0\n/\nbusybox"),
        (&["-u", "guest"], "id -u; id -g; id -G; echo $HOME", "1000\n1000\n1000 10\n/tmp"),
        (&["-u", "65534:10"], "id -u; id -g", "65534\n10"),
        (&["-w", "/made/for/it"], "pwd", "/made/for/it"),
        (&["-e", "A=b c", "-e", "IMAGE=mine"], "echo $A; echo $IMAGE", "b c\nmine"),
        (&["--hostname", "wall"], "hostname; grep -c wall /etc/hosts", "wall\n1"),
        (&["--entrypoint", "echo"], "x", "-c x"),
    ];
    for (flags, script, want) in cases {
        let command: &[&str] =
            if flags.contains(&"--entrypoint") { &["-c", script] } else { &["sh", "-c", script] };
        let got = run(host, isolation, &[*flags, &[IMAGE], command].concat()).ok();
        assert_eq!(got, *want, "{flags:?} {script}");
    }
    let hostname = run(host, isolation, &["--name", "named", IMAGE, "hostname"]).ok();
    assert!(hostname.len() == 12, "the id's first twelve digits: {hostname}");
}

pub(crate) fn a_container_that_wants_too_much_memory_is_killed(
    host: &mut Host,
    isolation: Isolation,
) {
    // tail keeps in memory what it may have to print.
    let script = "tail -c 200000000 /dev/zero & wait $!; exit $?";
    let ran = run(host, isolation, &["--memory", "64m", IMAGE, "sh", "-c", script]);
    assert_eq!(ran.code, 137, "{ran}");
    run(host, isolation, &["--memory", "64m", IMAGE, "true"]).ok();

    // The shell outlives what the kernel kills: its own end does not tell.
    let script = "tail -c 200000000 /dev/zero; exit 0";
    let wall = format!("--isolation={isolation}");
    let hungry = ["run", "--name", "hungry", &wall, "--memory", "64m", IMAGE, "sh", "-c", script];
    host.docker(&hungry).ok();
    let killed = ["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "hungry"];
    assert_eq!(host.docker(&killed).ok(), "true 0");
}

pub(crate) fn containers_run_side_by_side(host: &mut Host, isolation: Isolation) {
    let names = ["one", "two", "three"];
    for name in names {
        detached(host, isolation, &["--name", name], &["sh", "-c", "echo $HOSTNAME; sleep 1000"]);
    }
    let running = host.docker(&["ps", "--format", "{{.Names}}"]).ok();
    let mut running: Vec<_> = running.lines().collect();
    running.sort_unstable();
    assert_eq!(running, ["one", "three", "two"]);

    host.docker(&["rm", "-f", "two"]).ok();
    for name in ["one", "three"] {
        assert_eq!(host.docker(&["exec", name, "echo", "alive"]).ok(), "alive");
    }
}
