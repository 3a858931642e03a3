//! What work costs in a container of either kind against the same on the host.

use std::io;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tests::Host;
use tests::host::IMAGE;

use super::{HYPERV, PROCESS};
use crate::contest::{Contestant, race};
use crate::peers::finish;

/// An emulated processor needs half a minute for some of it.
const ROUNDS: usize = 1;
/// How often the way into a container is gone.
const WAYS: usize = 7;

/// What is made before anything is timed: files to be read.
const FILES: &str = "mkdir -p /tmp/hull-bench && cd /tmp/hull-bench && \
    i=0; while [ $i -lt 10000 ]; do echo $i > $i; i=$((i+1)); done";
/// What is done, and what it is called.
const WORK: [(&str, &str); 3] = [
    ("sha256 of 100 MB", "head -c 104857600 /dev/zero | sha256sum > /dev/null"),
    ("10,000 small files read", "cat /tmp/hull-bench/* > /dev/null"),
    ("100 MB to the host by TCP", "head -c 104857600 /dev/zero | nc $HULL_BENCH"),
];

/// Prints the times of each in all places; the way into the container is taken off.
pub(crate) fn compare(host: &Host) {
    let docker = |arguments: &[&str]| finish(host.engine.client(arguments));
    let containers = [HYPERV, PROCESS]
        .map(|isolation| docker(&["run", "-d", isolation, IMAGE, "sleep", "10000"]));
    let gateway = ["inspect", "-f", "{{.NetworkSettings.Gateway}}", &containers[1]];
    let sink = Sink::open(host, &docker(&gateway));
    let inside = |id: &str, script: &str| {
        let variable = format!("HULL_BENCH={}", sink.address);
        docker(&["exec", "-e", &variable, id, "sh", "-c", script]);
    };
    let native = |script: &str| {
        let mut shell = Command::new("busybox");
        // The files lie in a tmpfs where nobody else is.
        shell.args(["sh", "-c", script]).env("HULL_BENCH", &sink.address);
        let child = host.engine.spawn_beside(&mut shell).wait();
        assert!(child.is_ok_and(|status| status.success()), "{script}");
    };
    for id in &containers {
        inside(id, FILES);
    }
    native(FILES);
    let ways = containers.each_ref().map(|id| Contestant::new("way", || inside(id, "true")));
    let [to_vm, to_process] =
        ways.map(|way| race(WAYS, vec![way]).median("way")).map(|time: Duration| time);
    for (title, script) in WORK {
        let contestants = vec![
            Contestant::new("native", || native(script)),
            Contestant::new("process", || inside(&containers[1], script)).less(to_process),
            Contestant::new("hyperv", || inside(&containers[0], script)).less(to_vm),
        ];
        race(ROUNDS, contestants).print(title);
    }
    native("rm -r /tmp/hull-bench");
    docker(&["rm", "-f", &containers[0], &containers[1]]);
}

/// Takes what is sent, in the engine's network namespace, for as long as this program runs.
struct Sink {
    /// Address and port, as busybox's `nc` takes them.
    address: String,
}

impl Sink {
    fn open(host: &Host, address: &str) -> Self {
        let listen = || TcpListener::bind((address, 0));
        let listener = host.engine.within(listen).expect("the bridge has this address");
        let port = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut { connection }, &mut io::sink()));
            }
        });
        Self { address: format!("{address} {port}") }
    }
}
