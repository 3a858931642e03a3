//! Debian's podman 4.3 with `--runtime hull-runtime`, without systemd: cgroups by path, no network.

use std::process::Command;

use tests::command::{Ran, run};
use tests::pty::Pty;

use tests::machine::{Machine, holds, lines, runtime};

const IMAGE: &str = "localhost/busybox:latest";
/// Where the runtime keeps its state when nobody says.
const STATE: &str = "/run/hull/runtime";

struct Podman(Machine);

impl Podman {
    fn start() -> Option<Self> {
        let podman = Self(Machine::new()?);
        let archive = podman.0.archive("docker-archive", IMAGE);
        podman.podman(&["load", "-q", "-i", &archive]).ok();
        Some(podman)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut podman = self.0.command("podman");
        podman.arg("--root").arg(self.0.at("root")).arg("--runtime").arg(runtime());
        podman.args(["--cgroup-manager=cgroupfs", "--events-backend=file"]).args(args);
        podman
    }

    #[track_caller]
    fn podman(&self, args: &[&str]) -> Ran {
        run(self.command(args), b"")
    }

    /// `podman VERB` with this machine's cgroup and no network, `flags`, the image and `program`.
    #[track_caller]
    fn make(&self, verb: &[&str], flags: &[&str], program: &[&str]) -> Ran {
        run(self.making(verb, flags, program), b"")
    }

    fn making(&self, verb: &[&str], flags: &[&str], program: &[&str]) -> Command {
        let parent = format!("--cgroup-parent=/{}", self.0.name);
        let own = [parent.as_str(), "--network=none"];
        self.command(&[verb, &own, flags, &[IMAGE], program].concat())
    }

    /// Runs a container to its end and removes it.
    #[track_caller]
    fn once(&self, flags: &[&str], program: &[&str]) -> Ran {
        self.make(&["run", "--rm"], flags, program)
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        self.0.nothing_is_left(STATE);
    }
}

#[test]
fn podman_runs_execs_pauses_stops_and_removes() {
    let Some(podman) = Podman::start() else { return };
    let id = podman.make(&["run", "-d"], &["--name=web"], &["sleep", "1000"]).ok();
    assert_eq!(podman.podman(&["exec", "web", "hostname"]).ok(), id[..12]);
    assert_eq!(podman.podman(&["exec", "web", "sh", "-c", "exit 7"]).code, 7);
    let exec = ["exec", "-u", "1000:10", "-w", "/tmp", "-e", "A=b", "web", "sh", "-c"];
    let exec = [&exec[..], &["id -u; id -g; pwd; echo $A"]].concat();
    assert_eq!(lines(podman.podman(&exec)), ["1000", "10", "/tmp", "b"]);
    let state = ["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"];
    holds(&podman.podman(&["top", "web", "pid", "args"]).ok(), &["1", "sleep 1000"]);
    podman.podman(&["pause", "web"]).ok();
    assert_eq!(podman.podman(&state).ok(), "paused 0");
    podman.podman(&["unpause", "web"]).ok();
    holds(&podman.podman(&["stats", "--no-stream", "web"]).ok(), &["web", &id[..12]]);
    podman.podman(&["stop", "-t", "1", "web"]).ok();
    assert_eq!(podman.podman(&state).ok(), "exited 137");
    podman.podman(&["start", "web"]).ok();
    podman.podman(&["restart", "-t", "0", "web"]).ok();
    podman.podman(&["kill", "-s", "KILL", "web"]).ok();
    assert_eq!(podman.podman(&["wait", "web"]).ok(), "137");
    podman.podman(&["rm", "web"]).ok();
    podman.nothing_is_left();
}

#[test]
fn podman_tells_how_a_program_ended_or_why_it_did_not_start() {
    let Some(podman) = Podman::start() else { return };
    assert_eq!(podman.once(&[], &["sh", "-c", "exit 9"]).code, 9);
    let typed = run(podman.making(&["run", "--rm", "-i"], &[], &["cat"]), b"typed\n");
    assert_eq!(typed.ok(), "typed");
    for (program, code, word) in [
        ("/no/such", 127, "no such file or directory"),
        ("no-such", 127, "executable file not found in $PATH"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, ""),
    ] {
        let error = podman.once(&[], &[program]).fails(code);
        holds(&error.to_lowercase(), &[&word.to_lowercase()]);
    }
    let hungry = "a=aaaaaaaa; while true; do a=$a$a; done";
    let limit = ["--memory=16m", "--memory-swap=16m"];
    assert_eq!(podman.once(&limit, &["sh", "-c", hungry]).code, 137);
    podman.nothing_is_left();
}

#[test]
fn podman_sets_limits_and_rights() {
    let Some(podman) = Podman::start() else { return };
    let flags = ["--memory=32m", "--cpus=0.5", "--pids-limit=20", "--cpu-shares=512"];
    let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max \
                 cpu/cpu.cfs_quota_us cpu/cpu.shares";
    let seen = lines(podman.once(&flags, &["sh", "-c", files]));
    assert_eq!(seen, ["33554432", "20", "50000", "512"]);
    let flags =
        ["--cap-drop=all", "--cap-add=net_bind_service", "--security-opt=no-new-privileges"];
    let status = podman.once(&flags, &["cat", "/proc/self/status"]).ok();
    let caps = ["CapEff:\t0000000000000400", "CapBnd:\t0000000000000400"];
    holds(&status, &[&caps[..], &["NoNewPrivs:\t1", "Seccomp:\t2"]].concat());
    let status =
        podman.once(&["--privileged"], &["sh", "-c", "cat /proc/self/status; ls /dev"]).ok();
    holds(&status, &["Seccomp:\t0", "kmsg", "ptmx"]);
    let seen = podman
        .once(&["--user=1000:10", "--group-add=7", "--umask=0077"], &["sh", "-c", "id; umask"]);
    holds(&seen.ok(), &["uid=1000(guest) gid=10(wheel)", "7", "0077"]);
    let limits =
        lines(podman.once(&["--ulimit=nofile=100:200"], &["sh", "-c", "ulimit -n; ulimit -Hn"]));
    assert_eq!(limits, ["100", "200"]);
    let sysctl = ["--sysctl=net.ipv4.ip_forward=1", "--sysctl=kernel.msgmax=1000"];
    let files = ["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"];
    assert_eq!(lines(podman.once(&sysctl, &files)), ["1", "1000"]);
    let device =
        podman.once(&["--device=/dev/null:/dev/xyz:rw"], &["stat", "-c", "%t %T", "/dev/xyz"]);
    assert_eq!(device.ok(), "1 3");
    podman.nothing_is_left();
}

#[test]
fn podman_mounts() {
    let Some(podman) = Podman::start() else { return };
    let volume = format!("--volume={}:/layout:ro", podman.0.at("layout"));
    let flags = ["--read-only", "--tmpfs=/t:size=1m,mode=1777", &volume];
    let script = "touch /t/a && ls /layout; touch /x; touch /layout/x; stat -f -c %T /t";
    let ran = podman.once(&flags, &["sh", "-c", script]);
    holds(&ran.err, &["/x: Read-only file system", "/layout/x: Read-only file system"]);
    holds(&ran.ok(), &["index.json", "tmpfs"]);
    let copied = podman.once(&["--tmpfs=/etc:tmpcopyup"], &["ls", "/etc"]).ok();
    holds(&copied, &["passwd", "group"]);
    let masked = ["--security-opt=mask=/proc/version", "--security-opt=unmask=/proc/kcore"];
    assert_eq!(podman.once(&masked, &["cat", "/proc/version"]).ok(), "");
    let init = ["--init", "--init-path=/usr/bin/docker-init"];
    holds(&podman.once(&init, &["ps"]).ok(), &["/run/podman-init -- ps", "root     ps"]);
    podman.nothing_is_left();
}

#[test]
fn podman_gives_a_terminal() {
    let Some(podman) = Podman::start() else { return };
    let command = podman.making(
        &["run", "--rm", "-it"],
        &[],
        &["sh", "-c", "tty; stty size; read x; exit $x"],
    );
    let mut pty = Pty::start(&command, 33, 111);
    pty.screen.expect("/dev/pts/0");
    pty.screen.expect("33 111");
    pty.send("5\n");
    assert_eq!(pty.wait(), 5);
    podman.make(&["run", "-d"], &["--name=web"], &["sleep", "1000"]).ok();
    let command = podman.command(&["exec", "-it", "web", "sh", "-c", "tty; read x; exit $x"]);
    let mut pty = Pty::start(&command, 24, 80);
    pty.screen.expect("/dev/pts/");
    pty.send("6\n");
    assert_eq!(pty.wait(), 6);
    podman.podman(&["rm", "-f", "-t", "0", "web"]).ok();
    podman.nothing_is_left();
}

#[test]
fn podman_shares_namespaces_in_a_pod() {
    let Some(podman) = Podman::start() else { return };
    let infra = format!("--infra-image={IMAGE}");
    let parent = format!("--cgroup-parent=/{}", podman.0.name);
    let create = [
        "pod",
        "create",
        "--name=pod",
        &parent,
        "--network=none",
        "--share=ipc,net,uts,pid",
        &infra,
    ];
    podman.podman(&[&create[..], &["--infra-command=sleep 1000"]].concat()).ok();
    let run = ["run", "-d", "--pod=pod", "--name=one", IMAGE, "sleep", "1001"];
    podman.podman(&run).ok();
    let seen = podman.podman(&["exec", "one", "ps"]).ok();
    holds(&seen, &["sleep 1000", "sleep 1001"]);
    podman.podman(&["pod", "rm", "-f", "-t", "0", "pod"]).ok();
    // podman does not know of the hierarchy where runtimes make the pod's cgroup too.
    podman.0.remove_cgroups("systemd");
    podman.nothing_is_left();
}

#[test]
fn podman_updates() {
    let Some(podman) = Podman::start() else { return };
    podman.make(&["run", "-d"], &["--name=web"], &["sleep", "1000"]).ok();
    podman.podman(&["update", "--memory=64m", "--cpu-shares=300", "web"]).ok();
    let files = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/cpu/cpu.shares"];
    let seen = podman.podman(&[&["exec", "web", "cat"], &files[..]].concat());
    assert_eq!(lines(seen), ["67108864", "300"]);
    podman.podman(&["rm", "-f", "-t", "0", "web"]).ok();
    podman.nothing_is_left();
}

#[test]
fn podman_maps_users() {
    let Some(podman) = Podman::start() else { return };
    let flags = ["--uidmap=0:100000:65536", "--gidmap=0:100000:65536"];
    let script = "cat /proc/self/uid_map; id -u; touch /x && stat -c %u /x";
    let seen = lines(podman.once(&flags, &["sh", "-c", script]));
    let map: Vec<_> = seen[0].split_whitespace().collect();
    assert_eq!((map, &seen[1..]), (vec!["0", "100000", "65536"], &["0".into(), "0".into()][..]));
    podman.nothing_is_left();
}
