//! Health checks.

use spec::Isolation;
use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;

use super::{detached, field};

pub(crate) fn a_check_finds_out_whether_it_works(host: &mut Host, isolation: Isolation) {
    let flags = [
        "--health-cmd=cat /up",
        "--health-interval=300ms",
        "--health-timeout=10s",
        "--health-retries=2",
    ];
    let script = "echo fine >/up; exec sleep 1000";
    let id = detached(host, isolation, &flags, &["sh", "-c", script]);
    let status = |host: &Host| field(host, &id, "{{.State.Health.Status}}");
    eventually("it is healthy", || status(host) == "healthy");
    let row = host.docker(&["ps", "--format", "{{.Status}}", "--filter", "health=healthy"]).ok();
    assert!(row.ends_with(" (healthy)"), "{row}");
    let log = field(host, &id, "{{(index .State.Health.Log 0).Output}}");
    assert_eq!(log, "fine");

    host.docker(&["exec", &id, "rm", "/up"]).ok();
    eventually("it is unhealthy", || status(host) == "unhealthy");
    host.docker(&["stop", "-t", "0", &id]).ok();
    let events = ["events", "--since", "1h", "--until=-1s", "--format", "{{.Action}}"];
    let this = format!("container={id}");
    let events = host.docker(&[&events[..], &["--filter", &this]].concat()).ok();
    let told: Vec<_> = events.lines().filter(|line| line.starts_with("health_status")).collect();
    assert_eq!(told, ["health_status: healthy", "health_status: unhealthy"], "{events}");
}

pub(crate) fn a_check_that_takes_too_long_has_failed(host: &mut Host) {
    let flags = [
        "--health-cmd=sleep 100",
        "--health-interval=100ms",
        "--health-timeout=200ms",
        "--health-retries=1",
    ];
    let id = detached(host, Isolation::Process, &flags, &["sleep", "1000"]);
    eventually("it is unhealthy", || field(host, &id, "{{.State.Health.Status}}") == "unhealthy");
    let log = field(host, &id, "{{(index .State.Health.Log 0).Output}}");
    assert!(log.starts_with("Health check exceeded timeout (200ms)"), "{log}");
    let none = ["--health-cmd=true", "--no-healthcheck"];
    let said = host.docker(&[&["run", "-d"], &none[..], &[IMAGE, "true"]].concat()).fails(125);
    assert!(said.contains("--no-healthcheck"), "{said}");
}
