//! Networks of hulld and of Debian's dockerd, with the same client, image and probe; hulld's VMs beside
//! them, in races of their own: an emulated processor needs longer by far.
//!
//! ```text
//!   connect      docker network connect of a container that runs
//!   ports        docker run -d with 100 ports published
//!   TCP          bytes to a neighbour, and from the host to a container
//!   requests     one byte there and back, on one connection, the same ways
//!   names        a neighbour's address, asked of 127.0.0.11 by eight at a time
//! ```
//!
//! Of the first two the client's own start-up is taken off; of the others the probe tells the time, which
//! begins once it is connected.

pub(crate) mod probe;

use std::process::Command;
use std::time::Duration;

use tests::Host;
use tests::host::IMAGE;

use crate::contest::{Contestant, Times, millis, race};
use crate::peers::{Dockerd, finish};

const ROUNDS: usize = 9;
const VM_ROUNDS: usize = 3;
/// What is sent, in MiB.
const BYTES: u32 = 512;
const VM_BYTES: u32 = 32;
const REQUESTS: u32 = 10_000;
const VM_REQUESTS: u32 = 500;
const NAMES: u32 = 8_000;
const VM_NAMES: u32 = 400;

const PORTS: &str = "20000-20099:20000-20099";
const SERVER: &str = "server";

/// An engine, and containers of it: a server, a client beside it, and one that comes to another network.
struct Side<'a> {
    name: &'static str,
    engine: Engine<'a>,
    /// Which wall is asked for.
    wall: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Engine<'a> {
    Hull(&'a Host),
    Dockerd(&'a Dockerd),
}

/// Where a probe is.
#[derive(Clone, Copy)]
enum From {
    Neighbour,
    Host,
}

/// Prints how they compare.
pub(crate) fn compare(host: &Host) {
    let dockerd = Dockerd::start();
    let hull = |name, wall| Side { name, engine: Engine::Hull(host), wall };
    let other = Side { name: "dockerd", engine: Engine::Dockerd(&dockerd), wall: &[] };
    let process = [hull("hulld", &["--isolation=process"]), other];
    measure(&process, ROUNDS, [BYTES, REQUESTS, NAMES]);
    let vm = [hull("hulld, hyperv", &["--isolation=hyperv"])];
    measure(&vm, VM_ROUNDS, [VM_BYTES, VM_REQUESTS, VM_NAMES]);
}

fn measure(sides: &[Side<'_>], rounds: usize, [bytes, requests, names]: [u32; 3]) {
    sides.iter().for_each(Side::begin);
    let versions =
        sides.iter().map(|side| Contestant::new(side.name, || side.docker(&["version"])));
    let clients = race(rounds, versions.collect());
    let commands = |title: &str, job: &[&str], back: &[&str]| {
        let jobs = sides.iter().map(|side| {
            Contestant::new(side.name, || side.run(job))
                .then(|| side.docker(back))
                .less(clients.median(side.name))
        });
        race(rounds, jobs.collect()).print(title);
    };
    let (connect, leave) =
        (["network", "connect", "more", SERVER], ["network", "disconnect", "more", SERVER]);
    commands("network connect of a container that runs", &connect, &leave);
    let (publish, remove) = (["run", "-d", "--name=open", "-p", PORTS], ["rm", "-f", "open"]);
    commands("run -d -p of 100 ports", &publish, &remove);

    for (from, way) in [(From::Neighbour, "to a neighbour"), (From::Host, "from the host")] {
        let times = probes(sides, rounds, from, &["stream", &bytes.to_string()]);
        times.print(&format!("{bytes} MiB by TCP, {way}"));
        let gigabits = f64::from(bytes) * f64::from(1 << 20) * 8.0 / 1e9;
        times.print_as("Gbit/s", |time| gigabits / time.as_secs_f64());
        let times = probes(sides, rounds, from, &["requests", &requests.to_string()]);
        times.print(&format!("{requests} requests by TCP, {way}"));
        times.print_as("µs each", |time| millis(time) * 1000.0 / f64::from(requests));
    }
    let times = probes(sides, rounds, From::Neighbour, &["names", &names.to_string()]);
    times.print(&format!("{names} queries for a neighbour's name"));
    times.print_as("queries a second", |time| f64::from(names) / time.as_secs_f64());
    sides.iter().for_each(Side::end);
}

fn probes(sides: &[Side<'_>], rounds: usize, from: From, words: &[&str]) -> Times {
    let jobs = sides.iter().map(|side| Contestant::told(side.name, || side.probe(from, words)));
    race(rounds, jobs.collect())
}

impl Engine<'_> {
    fn client(self, arguments: &[&str]) -> Command {
        match self {
            Self::Hull(host) => host.engine.client(arguments),
            Self::Dockerd(dockerd) => dockerd.client(arguments),
        }
    }

    /// What a program says that runs on the host.
    fn on_host(self, program: &str, arguments: &[&str]) -> String {
        match self {
            Self::Hull(host) => host.engine.on_host(program, arguments).ok(),
            Self::Dockerd(dockerd) => {
                let mut command = dockerd.program(program);
                command.args(arguments);
                finish(command)
            }
        }
    }
}

impl Side<'_> {
    fn begin(&self) {
        for network in ["speed", "more"] {
            self.docker(&["network", "create", network]);
        }
        // The probe, and what it is linked to, are the same everywhere.
        let here = probe::program();
        let mounts = probe::needs().into_iter().map(|path| format!("-v={path}:{path}:ro"));
        let mut mounts: Vec<_> = mounts.collect();
        mounts.push(format!("-v={here}:{}:ro", probe::INSIDE));
        let mounts: Vec<_> = mounts.iter().map(String::as_str).collect();
        for (name, program) in [
            (SERVER, &[probe::INSIDE, probe::AGAIN, "serve"][..]),
            ("client", &["sleep", "100000"]),
        ] {
            let named = ["run", "-d", "--network=speed", "--name", name];
            self.docker(&[&named, self.wall, &mounts, &[IMAGE], program].concat());
        }
    }

    fn end(&self) {
        self.docker(&["rm", "-f", SERVER, "client"]);
        self.docker(&["network", "rm", "speed", "more"]);
    }

    fn docker(&self, arguments: &[&str]) {
        finish(self.engine.client(arguments));
    }

    /// A command of the client; a container that it runs sleeps behind this wall.
    fn run(&self, words: &[&str]) {
        if let ["run", rest @ ..] = words {
            return self.docker(&[&["run"], self.wall, rest, &[IMAGE, "sleep", "1000"]].concat());
        }
        self.docker(words);
    }

    /// How long the probe needed.
    fn probe(&self, from: From, words: &[&str]) -> Duration {
        let said = match from {
            From::Neighbour => {
                let exec = ["exec", "client", probe::INSIDE, probe::AGAIN, SERVER];
                finish(self.engine.client(&[&exec, words].concat()))
            }
            From::Host => {
                let address = "{{.NetworkSettings.Networks.speed.IPAddress}}";
                let address = finish(self.engine.client(&["inspect", "-f", address, SERVER]));
                let words = [&[probe::AGAIN, &address], words].concat();
                self.engine.on_host(&probe::program(), &words)
            }
        };
        Duration::from_nanos(said.parse().unwrap_or_else(|_| panic!("the probe: {said}")))
    }
}
