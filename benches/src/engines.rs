//! `docker run --rm IMAGE true`, `docker exec` and twenty `docker run -d` at once by hulld and by
//! Debian's dockerd, with a bridge, the same client and the same image; beside them the nearest that
//! containerd's `ctr`, which makes no network, and podman do.
//!
//! A client's own start-up is taken off: `docker version`, `ctr version`, `podman --version`.

use std::thread;
use std::time::Duration;

use tests::Host;
use tests::host::IMAGE;

use crate::contest::{Contestant, Times, race};
use crate::peers::{Containerd, Dockerd, Podman, finish, fresh};

const ROUNDS: usize = 25;
const PARALLEL_ROUNDS: usize = 5;
/// How many are started at once.
const PARALLEL: usize = 20;

const DOCKER: &str = "docker";
const CTR: &str = "ctr";
const PODMAN: &str = "podman";

/// Everyone, and what their clients' start-up takes.
struct Field<'a> {
    host: &'a Host,
    dockerd: Dockerd,
    containerd: Containerd,
    podman: Podman,
    clients: Times,
}

/// Prints how they compare.
pub(crate) fn compare(host: &Host) {
    let (dockerd, containerd, podman) = (Dockerd::start(), Containerd::start(), Podman::start());
    let clients = vec![
        Contestant::new(DOCKER, || drop(finish(host.engine.client(&["version"])))),
        Contestant::new(CTR, || drop(containerd.ctr(&["version"]))),
        Contestant::new(PODMAN, || drop(podman.podman(&["--version"]))),
    ];
    let clients = race(ROUNDS, clients);
    clients.print("what the clients' own start-up takes, taken off below");
    let field = Field { host, dockerd, containerd, podman, clients };
    field.once();
    field.exec();
    field.at_once();
}

impl Field<'_> {
    fn hull(&self, arguments: &[&str]) {
        finish(self.host.engine.client(arguments));
    }

    fn client(&self, name: &str) -> Duration {
        self.clients.median(name)
    }

    fn once(&self) {
        let run = &["run", "--rm", IMAGE, "true"];
        let ctr = |runtime| {
            move || self.containerd.run(runtime, &["--rm"], &fresh("once"), &["/bin/true"])
        };
        let (docker, for_ctr, for_podman) =
            (self.client(DOCKER), self.client(CTR), self.client(PODMAN));
        let contestants = vec![
            Contestant::new("hulld", || self.hull(run)).less(docker),
            Contestant::new("dockerd", || drop(self.dockerd.docker(run))).less(docker),
            Contestant::new("podman", || self.podman.run(&["--rm"], &["true"])).less(for_podman),
            Contestant::new("ctr, runc, no network", ctr(Containerd::RUNC)).less(for_ctr),
            Contestant::new("ctr, our shim, no network", ctr(Containerd::HULL)).less(for_ctr),
        ];
        race(ROUNDS, contestants).print("run --rm IMAGE true, on a bridge");
    }

    fn exec(&self) {
        let idle = ["run", "-d", "--name", "idle", IMAGE, "sleep", "1000"];
        self.hull(&idle);
        self.dockerd.docker(&idle);
        self.podman.run(&["-d", "--name", "idle"], &["sleep", "1000"]);
        let ids = [Containerd::RUNC, Containerd::HULL].map(|runtime| {
            let id = fresh("idle");
            self.containerd.run(runtime, &["-d"], &id, &["sleep", "1000"]);
            id
        });
        let exec = &["exec", "idle", "true"];
        let ctr = |id| {
            move || {
                let exec = ["task", "exec", "--exec-id", &fresh("e"), id, "/bin/true"];
                self.containerd.ctr(&exec);
            }
        };
        let (docker, for_ctr, for_podman) =
            (self.client(DOCKER), self.client(CTR), self.client(PODMAN));
        let contestants = vec![
            Contestant::new("hulld", || self.hull(exec)).less(docker),
            Contestant::new("dockerd", || drop(self.dockerd.docker(exec))).less(docker),
            Contestant::new("podman", || drop(self.podman.podman(exec))).less(for_podman),
            Contestant::new("ctr, runc", ctr(&ids[0])).less(for_ctr),
            Contestant::new("ctr, our shim", ctr(&ids[1])).less(for_ctr),
        ];
        race(ROUNDS, contestants).print("exec C true");
        self.hull(&["rm", "-f", "idle"]);
        self.dockerd.docker(&["rm", "-f", "idle"]);
        self.podman.podman(&["rm", "--force", "--time=0", "idle"]);
        for id in &ids {
            self.containerd.remove(id);
        }
    }

    fn at_once(&self) {
        let names: Vec<String> = (0..PARALLEL).map(|number| format!("many-{number}")).collect();
        let client = Contestant::new("clients", || {
            all(&names, |_| self.hull(&["version"]));
        });
        let docker = race(PARALLEL_ROUNDS, vec![client]).median("clients");
        let remove = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).chain(names.iter().cloned()).collect()
        };
        let gone = remove(&["rm", "-f"]);
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        let hull = |name: &str| self.hull(&["run", "-d", "--name", name, IMAGE, "sleep", "1000"]);
        let dockerd = |name: &str| {
            self.dockerd.docker(&["run", "-d", "--name", name, IMAGE, "sleep", "1000"]);
        };
        let podman = |name: &str| self.podman.run(&["-d", "--name", name], &["sleep", "1000"]);
        let ctr = |runtime: &'static str| {
            move |name: &str| self.containerd.run(runtime, &["-d"], name, &["sleep", "1000"])
        };
        let (runc, ours) = (ctr(Containerd::RUNC), ctr(Containerd::HULL));
        let forget = || names.iter().for_each(|name| self.containerd.remove(name));
        let contestants = vec![
            Contestant::new("hulld", || all(&names, hull)).then(|| self.hull(&gone)).less(docker),
            Contestant::new("dockerd", || all(&names, dockerd))
                .then(|| drop(self.dockerd.docker(&gone)))
                .less(docker),
            Contestant::new("podman", || all(&names, podman))
                .then(|| drop(self.podman.podman(&["rm", "--all", "--force", "--time=0"]))),
            Contestant::new("ctr, runc, no network", || all(&names, runc)).then(forget),
            Contestant::new("ctr, our shim, no network", || all(&names, ours)).then(forget),
        ];
        let title = format!(
            "{PARALLEL} times run -d at once, of docker {PARALLEL} times docker version taken off"
        );
        race(PARALLEL_ROUNDS, contestants).print(&title);
    }
}

/// Has the job done for every name at the same time.
fn all(names: &[String], job: impl Fn(&str) + Sync) {
    thread::scope(|scope| {
        for name in names {
            scope.spawn(|| job(name));
        }
    });
}
