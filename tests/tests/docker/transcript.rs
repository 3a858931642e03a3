//! REQUIREMENTS section E, word for word: what each side sees of a ping behind each wall.

use std::collections::BTreeSet;
use std::fs;

use tests::Host;
use tests::host::IMAGE;

pub(crate) fn the_isolation_transcript_holds(host: &mut Host) {
    let pings_before = pids(host, "ping");

    // E1, E2: the process container's ping, by docker top.
    let process = ping(host, "process");
    let top = host.docker(&["top", &process]).ok();
    let titles: Vec<_> = top.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], "{top}");
    let seen_by_top = top_of_ping(host, &process);

    // E3: the host sees the same process, and that it is in another world.
    let pings: BTreeSet<_> = pids(host, "ping").difference(&pings_before).cloned().collect();
    assert_eq!(pings, BTreeSet::from([seen_by_top.clone()]), "the same process, seen from both");
    let state_pid = super::field(host, &process, "{{.State.Pid}}");
    assert_eq!(state_pid, seen_by_top);
    let root = format!("/proc/{seen_by_top}/root/usr/share/added");
    assert!(fs::exists(root).unwrap_or(false), "its root is the image");
    let status = fs::read_to_string(format!("/proc/{seen_by_top}/status")).expect("it runs");
    let numbers = status.lines().find(|line| line.starts_with("NSpid:")).expect("a pid namespace");
    assert!(numbers.ends_with("\t1"), "inside it is number 1: {numbers}");

    // E4, E5: the same behind a VM; docker top knows the guest's processes.
    let vm = ping(host, "hyperv");
    top_of_ping(host, &vm);

    // E6: the host does not.
    host.docker(&["rm", "-f", &process]).ok();
    assert_eq!(pids(host, "ping"), pings_before, "no ping of the guest is on the host");

    // E7: it sees the worker, one for each VM, and that alone.
    let worker = super::field(host, &vm, "{{.State.Pid}}");
    let comm = fs::read_to_string(format!("/proc/{worker}/comm")).expect("the worker runs");
    assert_eq!(comm.trim(), "hull-vmwp");
    assert!(pids(host, "hull-vmwp").contains(&worker), "pgrep finds {worker}");
    assert_eq!(host.engine.processes("hull-vmwp"), [worker.parse::<u32>().expect("a number")]);
    assert_eq!(super::field(host, &vm, "{{.HostConfig.Isolation}}"), "hyperv");

    // E8: with the container goes the worker; the suite looks for everything else.
    host.docker(&["rm", "-f", &vm]).ok();
    assert!(!pids(host, "hull-vmwp").contains(&worker), "{worker} is gone");
}

fn ping(host: &Host, isolation: &str) -> String {
    let isolation = format!("--isolation={isolation}");
    let id = host.docker(&["run", "-d", &isolation, IMAGE, "ping", "localhost"]).ok();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    id
}

/// The number that `docker top -o pid,comm` gives for the one process, which is ping.
fn top_of_ping(host: &Host, id: &str) -> String {
    let top = host.docker(&["top", id, "-o", "pid,comm"]).ok();
    let rows: Vec<Vec<&str>> = top.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{top}");
    assert_eq!((rows[0][0], rows[0].len()), ("PID", 2), "{top}");
    assert_eq!(rows[1][1], "ping", "{top}");
    rows[1][0].to_owned()
}

/// What `pgrep -x` finds on the host.
fn pids(host: &Host, name: &str) -> BTreeSet<String> {
    let found = host.engine.on_host("pgrep", &["-x", name]).out;
    found.lines().map(str::to_owned).collect()
}
