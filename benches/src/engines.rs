//! `docker run --rm IMAGE true` by hulld and by Debian's dockerd, with a bridge, the same client and
//! the same image.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tests::Host;
use tests::command::{Ran, eventually, run};
use tests::host::IMAGE;

use crate::contest::{Contestant, race};

const ROUNDS: usize = 15;

/// Prints how they compare, the client's own start-up (`docker version`) taken off.
pub(crate) fn compare(host: &Host) {
    let dockerd = Dockerd::start();
    dockerd.take_image(host);
    let client =
        race(ROUNDS, vec![Contestant::new("client", || drop(host.docker(&["version"]).ok()))])
            .median("client");

    let hull = |arguments: &'static [&'static str]| move || drop(host.docker(arguments).ok());
    let other = |arguments: &'static [&'static str]| {
        let dockerd = &dockerd;
        move || drop(dockerd.docker(arguments, b"").ok())
    };
    let once = &["run", "--rm", IMAGE, "true"];
    race(
        ROUNDS,
        vec![Contestant::new("hulld", hull(once)), Contestant::new("dockerd", other(once))],
    )
    .print("docker run --rm IMAGE true, on a bridge, the client's own time taken off", client);

    let idle = ["run", "-d", "--name", "idle", IMAGE, "sleep", "1000"];
    host.docker(&idle).ok();
    dockerd.docker(&idle, b"").ok();
    let exec = &["exec", "idle", "true"];
    race(
        ROUNDS,
        vec![Contestant::new("hulld", hull(exec)), Contestant::new("dockerd", other(exec))],
    )
    .print("docker exec C true, the client's own time taken off", client);
    host.docker(&["rm", "-f", "idle"]).ok();
    dockerd.docker(&["rm", "-f", "idle"], b"").ok();
}

/// Debian's dockerd with its own roots.
pub(crate) struct Dockerd {
    dir: TempDir,
    child: Child,
}

impl Dockerd {
    /// Starts it in a network namespace of its own.
    fn start() -> Self {
        let mut inside = Command::new("unshare");
        inside.args(["--net", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh", "dockerd"]);
        Self::start_by(&mut inside, |command| command.spawn().expect("util-linux"))
    }

    /// The same beside the host's engine, where its registry is; it has no network for containers then.
    pub(crate) fn beside(host: &Host) -> Self {
        let mut command = Command::new("dockerd");
        command.args(["--bridge", "none", "--iptables=false", "--ip-forward=false"]);
        Self::start_by(&mut command, |command| host.engine.spawn_beside(command))
    }

    fn start_by(command: &mut Command, spawn: impl FnOnce(&mut Command) -> Child) -> Self {
        let dir = tempfile::Builder::new().prefix("hull-dockerd-").tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let log = File::create(dir.path().join("log")).expect("a file");
        command
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--pidfile", &at("pid"), "--host", &format!("unix://{}", at("sock"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let child = spawn(command);
        let dockerd = Self { dir, child };
        eventually("dockerd answers", || dockerd.docker(&["version"], b"").code == 0);
        dockerd
    }

    /// Runs the client to its end.
    pub(crate) fn docker(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.dir.path().join("sock").display()))
            .env("DOCKER_CONFIG", self.dir.path().join("client"))
            .env_remove("DOCKER_CONTEXT");
        run(docker, input)
    }

    /// Loads the image that the host's registry serves, under the same name.
    fn take_image(&self, host: &Host) {
        let archive = self.dir.path().join("image.tar");
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "-q"])
            .arg(format!("oci:{}:latest", host.dir().join("busybox").display()))
            .arg(format!("docker-archive:{}:{IMAGE}:latest", archive.display()));
        run(copy, b"").ok();
        self.docker(&["load", "-q", "-i", &archive.display().to_string()], b"").ok();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // SIGTERM, not SIGKILL: dockerd ends its containerd and unmounts what it mounted.
        let told = Command::new("kill").arg(pid).status();
        if !told.is_ok_and(|status| status.success()) || self.child.wait().is_err() {
            eprintln!("dockerd in {} did not end", self.dir.path().display());
        }
    }
}
