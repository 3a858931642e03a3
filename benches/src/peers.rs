//! Debian's engines beside ours: dockerd, containerd by `ctr`, and podman. Each has mount and network
//! namespaces of its own, with the image that the host's registry serves, loaded from an archive.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tests::Host;
use tests::command::eventually;
use tests::host::IMAGE;
use tests::machine::Machine;
use tests::programs::program;

/// Runs `command` to its end, which must be good; gives what it printed. Waits without looking every
/// few milliseconds, as the suites' `run` does.
pub(crate) fn finish(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {told}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Debian's dockerd with its own roots.
pub(crate) struct Dockerd {
    /// Ends before its machine is looked at.
    child: Child,
    machine: Machine,
}

impl Dockerd {
    /// Starts it in a network namespace of its own, with the image.
    pub(crate) fn start() -> Self {
        Self::start_on(machine())
    }

    /// The same with its roots beneath `dir`.
    pub(crate) fn start_beneath(dir: &Path) -> Self {
        Self::start_on(machine_beneath(dir))
    }

    fn start_on(machine: Machine) -> Self {
        let mut command = machine.command("dockerd");
        let dockerd = Self::start_by(machine, &mut command, |it| it.spawn().expect("util-linux"));
        let archive = dockerd.machine.archive("docker-archive", &format!("{IMAGE}:latest"));
        dockerd.docker(&["load", "-q", "-i", &archive]);
        dockerd
    }

    /// The same without the image beside the host's engine, where its registry is; it has no network
    /// for containers then.
    pub(crate) fn beside(host: &Host) -> Self {
        let mut command = Command::new("dockerd");
        command.args(["--bridge", "none", "--iptables=false", "--ip-forward=false"]);
        Self::start_by(machine(), &mut command, |command| host.engine.spawn_beside(command))
    }

    fn start_by(
        machine: Machine,
        command: &mut Command,
        spawn: impl FnOnce(&mut Command) -> Child,
    ) -> Self {
        let log = File::create(machine.at("log")).expect("a file");
        command
            .args(["--data-root", &machine.at("data"), "--exec-root", &machine.at("exec")])
            .args(["--pidfile", &machine.at("pid")])
            .args(["--host", &format!("unix://{}", machine.at("sock"))])
            .args(["--cgroup-parent", &format!("/{}", machine.name)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let dockerd = Self { child: spawn(command), machine };
        eventually("dockerd answers", || {
            let mut version = dockerd.client(&["version"]);
            version.output().is_ok_and(|output| output.status.success())
        });
        dockerd
    }

    /// The client, told to talk to it.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.machine.at("sock")))
            .env("DOCKER_CONFIG", self.machine.at("client"))
            .env_remove("DOCKER_CONTEXT");
        docker
    }

    /// Runs the client to its end.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        finish(self.client(arguments))
    }

    /// A program on the host that it has for itself.
    pub(crate) fn program(&self, name: &str) -> Command {
        self.machine.command(name)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: dockerd ends its containerd and unmounts what it mounted.
        terminate(&mut self.child);
    }
}

/// Debian's containerd with its own roots; its shims are runc's or ours.
pub(crate) struct Containerd {
    child: Child,
    machine: Machine,
}

impl Containerd {
    pub(crate) const RUNC: &str = "io.containerd.runc.v2";
    pub(crate) const HULL: &str = "io.containerd.hull.v2";
    const IMAGE: &str = "docker.io/hull/busybox:latest";

    /// Starts it with the image.
    pub(crate) fn start() -> Self {
        let machine = machine();
        let archive = machine.archive("oci-archive", "latest");
        let config = machine.at("config.toml");
        let text = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{}\"\n",
            machine.at("root"),
            machine.at("state"),
            machine.at("sock")
        );
        fs::write(&config, text).expect("a file");
        let shim = program("containerd-shim-hull-v2");
        let programs = fs::canonicalize(shim.parent().expect("it is in a directory"));
        let programs = programs.expect("it exists").display().to_string();
        let mut containerd = machine.command("containerd");
        containerd
            .args(["--config", &config])
            .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(machine.at("log")).expect("a file"));
        let child = containerd.spawn().expect("util-linux");
        let containerd = Self { child, machine };
        eventually("containerd answers", || {
            let mut version = containerd.client(&["version"]);
            version.output().is_ok_and(|output| output.status.success())
        });
        let import = ["image", "import", "--base-name", "docker.io/hull/busybox", &archive];
        containerd.ctr(&import);
        containerd
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut ctr = self.machine.command("ctr");
        ctr.args(["--address", &self.machine.at("sock"), "--namespace", &self.machine.name]);
        ctr.args(arguments);
        ctr
    }

    /// Runs `ctr` to its end.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> String {
        finish(self.client(arguments))
    }

    /// `ctr run` with `flags` of a container with a name of its own.
    pub(crate) fn run(&self, runtime: &str, flags: &[&str], id: &str, arguments: &[&str]) {
        let own = ["run", "--runtime", runtime];
        self.ctr(&[&own, flags, &[Self::IMAGE, id], arguments].concat());
    }

    /// Ends and removes a container.
    pub(crate) fn remove(&self, id: &str) {
        self.ctr(&["task", "rm", "--force", id]);
        self.ctr(&["container", "rm", id]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        terminate(&mut self.child);
    }
}

/// Debian's podman with its own roots. It has no daemon.
pub(crate) struct Podman(Machine);

impl Podman {
    pub(crate) const IMAGE: &str = "localhost/busybox:latest";

    /// Makes its store, with the image.
    pub(crate) fn start() -> Self {
        Self::start_on(machine())
    }

    /// The same with its store beneath `dir`.
    pub(crate) fn start_beneath(dir: &Path) -> Self {
        Self::start_on(machine_beneath(dir))
    }

    fn start_on(machine: Machine) -> Self {
        let podman = Self(machine);
        let archive = podman.0.archive("docker-archive", Self::IMAGE);
        podman.podman(&["load", "-q", "-i", &archive]);
        podman
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut podman = self.0.command("podman");
        // crun 1.8 fails on a hybrid cgroup tree.
        podman.args(["--root", &self.0.at("root"), "--runtime", "runc"]);
        podman.args(["--cgroup-manager=cgroupfs", "--events-backend=file"]).args(arguments);
        // Where it keeps a layer that it packs.
        podman.env("TMPDIR", self.0.at(""));
        podman
    }

    /// Runs it to its end.
    pub(crate) fn podman(&self, arguments: &[&str]) -> String {
        finish(self.client(arguments))
    }

    /// `podman build`.
    pub(crate) fn build(&self, words: &[&str]) {
        let [build, rest @ ..] = words else { return };
        let limits =
            ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--network=none", "--layers"];
        let parent = format!("--cgroup-parent=/{}", self.0.name);
        self.podman(&[&[*build], &limits[..], &[&parent], rest].concat());
    }

    /// `podman run` with `flags`, on its default bridge.
    pub(crate) fn run(&self, flags: &[&str], arguments: &[&str]) {
        let parent = format!("--cgroup-parent=/{}", self.0.name);
        // Its own limits are above what a machine without CAP_SYS_RESOURCE may allow.
        self.podman(
            &[
                &["run", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", &parent],
                flags,
                &[Self::IMAGE],
                arguments,
            ]
            .concat(),
        );
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.client(&["rm", "--all", "--force", "--time=0"]).output();
    }
}

fn machine() -> Machine {
    machine_beneath(&std::env::temp_dir())
}

fn machine_beneath(dir: &Path) -> Machine {
    Machine::beneath(dir).expect("the suites' host has checked that this is root")
}

/// Ends an engine that was not waited for, so that its number is still its own.
fn terminate(child: &mut Child) {
    let told = Command::new("kill").arg(child.id().to_string()).status();
    if !told.is_ok_and(|status| status.success()) || child.wait().is_err() {
        eprintln!("process {} did not end", child.id());
    }
}

/// A name that no container of this run has had.
pub(crate) fn fresh(word: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{word}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
