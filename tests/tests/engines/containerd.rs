//! Debian's containerd 1.6 with `io.containerd.runc.v2` and its option `BinaryName`, by `ctr`.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use tests::command::{Ran, eventually, run};
use tests::pty::Pty;

use crate::machine::{Machine, holds, lines, runtime};

const IMAGE: &str = "docker.io/hull/busybox:latest";

/// Dropped in order: the daemon ends before its machine is looked at.
struct Containerd {
    child: Child,
    machine: Machine,
}

impl Containerd {
    fn start() -> Option<Self> {
        let machine = Machine::new()?;
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
        let mut containerd = machine.command("containerd");
        containerd.args(["--config", &config]).stdin(Stdio::null()).stdout(Stdio::null());
        containerd.stderr(File::create(machine.at("log")).expect("a file"));
        let child = containerd.spawn().expect("util-linux");
        let containerd = Self { child, machine };
        eventually("containerd answers", || containerd.ctr(&["version"]).code == 0);
        let import = ["image", "import", "--base-name", "docker.io/hull/busybox", &archive];
        containerd.ctr(&import).ok();
        Some(containerd)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut ctr = self.machine.command("ctr");
        ctr.args(["--address", &self.machine.at("sock"), "--namespace", &self.machine.name]);
        ctr.args(args);
        ctr
    }

    #[track_caller]
    fn ctr(&self, args: &[&str]) -> Ran {
        run(self.command(args), b"")
    }

    fn making(&self, flags: &[&str], id: &str, program: &[&str]) -> Command {
        let binary = runtime().display().to_string();
        let own = ["run", "--runtime=io.containerd.runc.v2", "--runc-binary", &binary];
        self.command(&[&own, flags, &[IMAGE, id], program].concat())
    }

    /// `ctr run` with `flags`.
    #[track_caller]
    fn run(&self, flags: &[&str], id: &str, program: &[&str]) -> Ran {
        run(self.making(flags, id, program), b"")
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        self.machine.nothing_is_left(&format!("/run/containerd/runc/{}", self.machine.name));
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.machine.at("log")).unwrap_or_default();
            eprintln!("--- containerd:\n{log}---");
        }
        let tasks = self.ctr(&["task", "ls", "-q"]);
        for id in tasks.out.split_whitespace() {
            let _ = self.ctr(&["task", "rm", "-f", id]);
        }
        // It was not waited for, so the number is its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn containerd_runs_execs_pauses_kills_and_removes() {
    let Some(containerd) = Containerd::start() else { return };
    assert_eq!(containerd.run(&["--rm"], "one", &["echo", "hello"]).ok(), "hello");
    assert_eq!(containerd.run(&["--rm"], "two", &["sh", "-c", "exit 7"]).code, 7);
    let lost = containerd.run(&["--rm"], "lost", &["/no/such"]);
    holds(&lost.fails(1), &["exec /no/such: no such file or directory"]);
    containerd.run(&["-d"], "web", &["sleep", "1000"]).ok();
    let exec = ["task", "exec", "--exec-id", "e", "web", "sh", "-c", "echo inside; exit 4"];
    let ran = containerd.ctr(&exec);
    assert_eq!((ran.code, ran.out.trim()), (4, "inside"), "{ran}");
    containerd.ctr(&["task", "pause", "web"]).ok();
    holds(&containerd.ctr(&["task", "ls"]).ok(), &["PAUSED"]);
    containerd.ctr(&["task", "resume", "web"]).ok();
    holds(&containerd.ctr(&["task", "ls"]).ok(), &["RUNNING"]);
    assert_eq!(containerd.ctr(&["task", "ps", "web"]).ok().lines().count(), 2);
    holds(&containerd.ctr(&["task", "metrics", "web"]).ok(), &["memory.usage_in_bytes"]);
    containerd.ctr(&["task", "kill", "-s", "SIGKILL", "web"]).ok();
    eventually("the task has stopped", || containerd.ctr(&["task", "ls"]).out.contains("STOPPED"));
    let _ = containerd.ctr(&["task", "rm", "web"]);
    containerd.ctr(&["container", "rm", "web"]).ok();
    containerd.nothing_is_left();
}

#[test]
fn containerd_sets_limits_and_rights() {
    let Some(containerd) = Containerd::start() else { return };
    let flags = ["--rm", "--memory-limit=33554432", "--cpus=0.5", "--read-only", "--seccomp"];
    let script = "grep Seccomp: /proc/self/status; touch /x; cat /proc/self/cgroup";
    let ran = containerd.run(&flags, "low", &["sh", "-c", script]);
    holds(&ran.err, &["/x: Read-only file system"]);
    holds(&ran.ok(), &["Seccomp:\t2", &format!(":memory:/{}/low", containerd.machine.name)]);
    let bind = format!(
        "--mount=type=bind,src={},dst=/layout,options=rbind:ro",
        containerd.machine.at("layout")
    );
    let seen = lines(containerd.run(
        &["--rm", &bind, "--env=A=b", "--cwd=/tmp"],
        "bind",
        &["sh", "-c", "ls /layout; echo $A; pwd"],
    ));
    assert_eq!(seen, ["blobs", "index.json", "oci-layout", "b", "/tmp"]);
    let all = containerd.run(&["--rm", "--privileged"], "all", &["cat", "/proc/self/status"]);
    holds(&all.ok(), &["Seccomp:\t0"]);
    containerd.nothing_is_left();
}

#[test]
fn containerd_gives_a_terminal() {
    let Some(containerd) = Containerd::start() else { return };
    // ctr tells the size after the start.
    let script = "until [ -n \"$(stty size)\" ]; do sleep 0.1; done; stty size; tty";
    let command = containerd.making(&["--rm", "-t"], "tty", &["sh", "-c", script]);
    let pty = Pty::start(&command, 33, 111);
    pty.screen.expect("33 111");
    pty.screen.expect("/dev/pts/0");
    pty.wait();
    containerd.nothing_is_left();
}
