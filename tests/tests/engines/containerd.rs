//! Debian's containerd 1.6 with `io.containerd.runc.v2` and its option `BinaryName`, by `ctr`.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use containerd_shim_protos::Client;
use containerd_shim_protos::api::UpdateTaskRequest;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use serde_json::json;
use tests::command::{Ran, eventually, run};
use tests::pty::Pty;

use tests::machine::{Machine, holds, lines, runtime};

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

    /// Asks the shim of a container as containerd asks it: `ctr` has no verb for `update`.
    fn update(&self, request: &UpdateTaskRequest) {
        let state = format!("state/io.containerd.runtime.v2.task/{}", self.machine.name);
        let address = self.machine.at(&format!("{state}/{}/address", request.id));
        let address = fs::read_to_string(address).expect("a file");
        let path = address.strip_prefix("unix://").expect("a unix socket");
        let address = format!("unix://{}", self.machine.seen(path).display());
        let client = Client::connect(&address).expect("the shim listens");
        let mut call = ttrpc::Request::new();
        // The second version of the API, which is containerd 1.6's.
        call.service = "containerd.task.v2.Task".into();
        call.method = "Update".into();
        call.payload = request.write_to_bytes().expect("it fits");
        client.request(call).expect("updated");
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

#[test]
fn containerd_updates() {
    let Some(containerd) = Containerd::start() else { return };
    containerd.run(&["-d"], "web", &["sleep", "1000"]).ok();
    let resources = json!({"memory": {"limit": 67_108_864}, "cpu": {"shares": 300}});
    let mut request = UpdateTaskRequest::new();
    request.id = "web".to_owned();
    let mut any = Any::new();
    any.type_url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned();
    any.value = resources.to_string().into_bytes();
    request.resources = MessageField::some(any);
    containerd.update(&request);
    let cgroup = |file: &str| {
        let (controller, _) = file.split_once('.').expect("its controller's");
        let path = format!("/sys/fs/cgroup/{controller}/{}/web/{file}", containerd.machine.name);
        fs::read_to_string(path).expect("a file").trim().to_owned()
    };
    assert_eq!(cgroup("memory.limit_in_bytes"), "67108864");
    assert_eq!(cgroup("cpu.shares"), "300");
    containerd.ctr(&["task", "rm", "-f", "web"]);
    containerd.ctr(&["container", "rm", "web"]).ok();
    containerd.nothing_is_left();
}
