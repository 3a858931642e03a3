//! Debian's dockerd 20.10 with `--add-runtime`, and its containerd with the shim for runc.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use tests::command::{Ran, eventually, run};
use tests::pty::Pty;

use tests::machine::{Machine, holds, lines, runtime};

const IMAGE: &str = "hull/busybox:latest";

/// Dropped in order: the daemon ends before its machine is looked at.
struct Docker {
    child: Child,
    machine: Machine,
}

impl Docker {
    fn start() -> Option<Self> {
        let machine = Machine::new()?;
        let archive = machine.archive("docker-archive", IMAGE);
        let log = File::create(machine.at("log")).expect("a file");
        let mut dockerd = machine.command("dockerd");
        dockerd
            .args(["--data-root", &machine.at("data"), "--exec-root", &machine.at("exec")])
            .args(["--pidfile", &machine.at("pid")])
            .args(["--host", &format!("unix://{}", machine.at("sock"))])
            .arg(format!("--add-runtime=hull={}", runtime().display()))
            .args(["--default-runtime=hull", &format!("--cgroup-parent=/{}", machine.name)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log);
        let child = dockerd.spawn().expect("util-linux");
        let docker = Self { child, machine };
        eventually("dockerd answers", || docker.docker(&["version"]).code == 0);
        docker.docker(&["load", "-q", "-i", &archive]).ok();
        Some(docker)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker
            .args(args)
            .env("DOCKER_HOST", format!("unix://{}", self.machine.at("sock")))
            .env("DOCKER_CONFIG", self.machine.at("client"))
            .env_remove("DOCKER_CONTEXT");
        docker
    }

    #[track_caller]
    fn docker(&self, args: &[&str]) -> Ran {
        run(self.command(args), b"")
    }

    /// Runs a container to its end and removes it.
    #[track_caller]
    fn once(&self, flags: &[&str], program: &[&str]) -> Ran {
        self.docker(&[&["run", "--rm"], flags, &[IMAGE], program].concat())
    }

    /// Starts the container `web`, which sleeps.
    #[track_caller]
    fn web(&self, flags: &[&str]) -> String {
        let own = ["run", "-d", "--name=web"];
        self.docker(&[&own, flags, &[IMAGE, "sleep", "1000"]].concat()).ok()
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        self.machine.nothing_is_left(&self.machine.at("exec/runtime-hull/moby"));
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.machine.at("log")).unwrap_or_default();
            eprintln!("--- dockerd:\n{log}---");
        }
        let all = self.docker(&["ps", "-aq"]);
        for id in all.out.split_whitespace() {
            let _ = self.docker(&["rm", "-f", id]);
        }
        // Not waited for yet, so the number is its own. SIGTERM: it ends its containerd first.
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("not zero");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn docker_runs_execs_pauses_stops_and_removes() {
    let Some(docker) = Docker::start() else { return };
    let id = docker.web(&[]);
    holds(&docker.docker(&["info", "-f", "{{.DefaultRuntime}}"]).ok(), &["hull"]);
    assert_eq!(docker.docker(&["exec", "web", "hostname"]).ok(), id[..12]);
    assert_eq!(docker.docker(&["exec", "web", "sh", "-c", "exit 7"]).code, 7);
    let exec = ["exec", "-u", "1000:10", "-w", "/tmp", "-e", "A=b", "web", "sh", "-c"];
    let exec = [&exec[..], &["id -u; id -g; pwd; echo $A"]].concat();
    assert_eq!(lines(docker.docker(&exec)), ["1000", "10", "/tmp", "b"]);
    let typed = run(docker.command(&["exec", "-i", "web", "cat"]), b"typed\n");
    assert_eq!(typed.ok(), "typed");
    docker.docker(&["exec", "-d", "web", "touch", "/tmp/later"]).ok();
    eventually("the exec in the background ran", || {
        docker.docker(&["exec", "web", "test", "-e", "/tmp/later"]).code == 0
    });
    let state = ["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"];
    holds(&docker.docker(&["top", "web"]).ok(), &["sleep 1000"]);
    docker.docker(&["pause", "web"]).ok();
    assert_eq!(docker.docker(&state).ok(), "paused 0");
    docker.docker(&["unpause", "web"]).ok();
    holds(&docker.docker(&["stats", "--no-stream", "web"]).ok(), &["web", &id[..12]]);
    docker.docker(&["stop", "-t", "1", "web"]).ok();
    assert_eq!(docker.docker(&state).ok(), "exited 137");
    docker.docker(&["start", "web"]).ok();
    docker.docker(&["restart", "-t", "0", "web"]).ok();
    docker.docker(&["kill", "-s", "KILL", "web"]).ok();
    assert_eq!(docker.docker(&["wait", "web"]).ok(), "137");
    docker.docker(&["rm", "web"]).ok();
    docker.nothing_is_left();
}

#[test]
fn docker_tells_how_a_program_ended_or_why_it_did_not_start() {
    let Some(docker) = Docker::start() else { return };
    assert_eq!(docker.once(&[], &["sh", "-c", "exit 9"]).code, 9);
    assert_eq!(run(docker.command(&["run", "--rm", "-i", IMAGE, "cat"]), b"typed\n").ok(), "typed");
    for (program, code, word) in [
        ("/no/such", 127, "exec /no/such: no such file or directory"),
        ("no-such", 127, "exec: \"no-such\": executable file not found in $PATH"),
        ("/etc/passwd", 126, "exec /etc/passwd: permission denied"),
        ("/etc", 126, "exec /etc: is a directory"),
    ] {
        holds(&docker.once(&[], &[program]).fails(code), &[word]);
    }
    let hungry = ["sh", "-c", "a=aaaaaaaa; while true; do a=$a$a; done"];
    let limits = ["--name=hungry", "--memory=16m", "--memory-swap=16m"];
    let flags = [&["run"], &limits[..], &[IMAGE], &hungry].concat();
    assert_eq!(docker.docker(&flags).code, 137);
    let state = docker.docker(&["inspect", "-f", "{{.State.OOMKilled}}", "hungry"]);
    assert_eq!(state.ok(), "true");
    docker.docker(&["rm", "hungry"]).ok();
    docker.nothing_is_left();
}

#[test]
fn docker_asks_after_a_container_s_health() {
    let Some(docker) = Docker::start() else { return };
    let check = ["--health-cmd=test -e /tmp/well", "--health-interval=200ms", "--health-retries=1"];
    docker.web(&check);
    let is = |want: &str| {
        let status = ["inspect", "-f", "{{.State.Health.Status}}", "web"];
        eventually(want, || docker.docker(&status).out.trim() == want);
    };
    is("unhealthy");
    docker.docker(&["exec", "web", "touch", "/tmp/well"]).ok();
    is("healthy");
    docker.docker(&["rm", "-f", "web"]).ok();
    docker.nothing_is_left();
}

#[test]
fn docker_sets_limits_and_rights() {
    let Some(docker) = Docker::start() else { return };
    let flags = ["--memory=32m", "--cpus=0.5", "--pids-limit=20", "--cpuset-cpus=0"];
    let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max \
                 cpu/cpu.cfs_quota_us cpuset/cpuset.cpus";
    let seen = lines(docker.once(&flags, &["sh", "-c", files]));
    assert_eq!(seen, ["33554432", "20", "50000", "0"]);
    let flags =
        ["--cap-drop=all", "--cap-add=net_bind_service", "--security-opt=no-new-privileges"];
    let status = docker.once(&flags, &["cat", "/proc/self/status"]).ok();
    let caps = ["CapEff:\t0000000000000400", "CapBnd:\t0000000000000400"];
    holds(&status, &[&caps[..], &["NoNewPrivs:\t1", "Seccomp:\t2"]].concat());
    let status =
        docker.once(&["--privileged"], &["sh", "-c", "cat /proc/self/status; ls /dev"]).ok();
    holds(&status, &["Seccomp:\t0", "kmsg", "ptmx"]);
    let seen = docker.once(&["--user=1000:10", "--group-add=7"], &["id"]).ok();
    holds(&seen, &["uid=1000(guest) gid=10(wheel)", "7"]);
    let limits =
        lines(docker.once(&["--ulimit=nofile=100:200"], &["sh", "-c", "ulimit -n; ulimit -Hn"]));
    assert_eq!(limits, ["100", "200"]);
    let sysctl = ["--sysctl=net.ipv4.ip_forward=1", "--sysctl=kernel.msgmax=1000"];
    let files = ["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"];
    assert_eq!(lines(docker.once(&sysctl, &files)), ["1", "1000"]);
    let device = ["--device=/dev/null:/dev/xyz:rw", "--device-cgroup-rule=c 10:229 rwm"];
    let script = "stat -c '%t %T' /dev/xyz; cat /sys/fs/cgroup/devices/devices.list";
    holds(&docker.once(&device, &["sh", "-c", script]).ok(), &["1 3", "c 10:229 rwm"]);
    let flags = ["--oom-score-adj=500", "--memory-reservation=10m", "--memory-swappiness=0"];
    assert_eq!(docker.once(&flags, &["cat", "/proc/self/oom_score_adj"]).ok(), "500");
    docker.nothing_is_left();
}

#[test]
fn docker_mounts_and_shares_namespaces() {
    let Some(docker) = Docker::start() else { return };
    let volume = format!("--volume={}:/layout:ro", docker.machine.at("layout"));
    let flags = ["--read-only", "--tmpfs=/t:size=1m,mode=1777", "--shm-size=1m", &volume];
    let script = "touch /t/a && ls /layout; touch /x; touch /layout/x; df /dev/shm";
    let ran = docker.once(&flags, &["sh", "-c", script]);
    holds(&ran.err, &["/x: Read-only file system", "/layout/x: Read-only file system"]);
    holds(&ran.ok(), &["index.json", "1024"]);
    let seen = docker.once(&["--init"], &["ps"]).ok();
    holds(&seen, &["/sbin/docker-init -- ps"]);
    let host = ["--net=host", "--ipc=host", "--uts=host", "--pid=host"];
    holds(&docker.once(&host, &["ps"]).ok(), &["dockerd"]);
    let named = ["--hostname=here", "--add-host=there:1.2.3.4"];
    let seen = docker.once(&named, &["sh", "-c", "hostname; cat /etc/hosts"]).ok();
    holds(&seen, &["here\n", "1.2.3.4\tthere"]);
    docker.web(&["--ipc=shareable"]);
    let joined = ["--net=container:web", "--ipc=container:web", "--pid=container:web"];
    holds(&docker.once(&joined, &["ps"]).ok(), &["1 root     sleep 1000"]);
    let cgroup = docker.once(&["--cgroupns=private"], &["cat", "/proc/self/cgroup"]).ok();
    assert!(!cgroup.contains(&docker.machine.name), "{cgroup}");
    docker.docker(&["rm", "-f", "web"]).ok();
    docker.nothing_is_left();
}

#[test]
fn docker_gives_a_terminal() {
    let Some(docker) = Docker::start() else { return };
    let script =
        "until [ -n \"$(stty size)\" ]; do sleep 0.1; done; tty; stty size; read x; exit $x";
    let command = docker.command(&["run", "--rm", "-it", IMAGE, "sh", "-c", script]);
    let mut pty = Pty::start(&command, 33, 111);
    pty.screen.expect("/dev/pts/0");
    pty.screen.expect("33 111");
    pty.send("5\n");
    assert_eq!(pty.wait(), 5);
    docker.web(&[]);
    let command = docker.command(&["exec", "-it", "web", "sh", "-c", "tty; read x; exit $x"]);
    let mut pty = Pty::start(&command, 24, 80);
    pty.screen.expect("/dev/pts/");
    pty.send("6\n");
    assert_eq!(pty.wait(), 6);
    docker.docker(&["rm", "-f", "web"]).ok();
    docker.nothing_is_left();
}

#[test]
fn docker_updates() {
    let Some(docker) = Docker::start() else { return };
    docker.web(&["--memory=32m", "--memory-swap=32m"]);
    let change = ["--memory=64m", "--memory-swap=64m", "--cpus=0.5", "--pids-limit=50"];
    docker.docker(&[&["update"], &change[..], &["web"]].concat()).ok();
    let files =
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us";
    let seen = docker.docker(&["exec", "web", "sh", "-c", files]);
    assert_eq!(lines(seen), ["67108864", "50", "50000"]);
    docker.docker(&["rm", "-f", "web"]).ok();
    docker.nothing_is_left();
}
