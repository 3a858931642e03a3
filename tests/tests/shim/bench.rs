//! One container on one shim, as our engine would have it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_shim_protos::api::{
    CreateTaskRequest, DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest,
    ShutdownRequest, StartRequest, WaitRequest,
};
use containerd_shim_protos::types::mount::Mount;
use containerd_shim_protos::{Client, TaskClient};
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use serde_json::{Value, json};
use spec::Isolation;
use tempfile::TempDir;
use tests::command::{eventually, run};
use tests::leaks::{Places, Snapshot};
use tests::programs::{kernel, program};
use ttrpc::context::Context;

/// The calls' context: without a deadline.
pub(crate) fn context() -> Context {
    ttrpc::context::with_timeout(0)
}

/// A bundle, the shim for it and a connection to that.
pub(crate) struct Bench {
    /// Short, as the paths of sockets are.
    exec_root: TempDir,
    data: TempDir,
    netns: File,
    before: Snapshot,
    id: String,
    wall: Isolation,
    pub(crate) tasks: TaskClient,
}

impl Bench {
    /// A container that is created and will execute `args`; `terminal` gives it one, `stdin` an
    /// input that stays open.
    pub(crate) fn created(name: &str, args: &[&str], terminal: bool, stdin: bool) -> Self {
        let bench = Self::new(name);
        bench.configure(args, terminal);
        bench.create(terminal, stdin).expect("created");
        bench
    }

    /// A shim with a bundle that has no configuration yet, for process isolation.
    pub(crate) fn new(name: &str) -> Self {
        Self::behind(Isolation::Process, name)
    }

    /// A shim with a bundle that has no configuration yet.
    pub(crate) fn behind(wall: Isolation, name: &str) -> Self {
        let exec_root = tempfile::Builder::new().prefix("s").rand_bytes(4).tempdir_in("/run");
        let exec_root = exec_root.expect("a directory in /run");
        let data = tempfile::Builder::new().prefix("hull-shim-").tempdir().expect("a directory");
        let netns = File::open("/proc/self/ns/net").expect("proc is mounted");
        let id = format!("{name}-{}", std::process::id());
        let bundle = data.path().join("containers").join(&id);
        for dir in ["upper", "work", "lower:a,b"] {
            fs::create_dir_all(bundle.join(dir)).expect("a directory");
        }
        // Directories that every container of this root shares.
        for dir in ["io", "shim", "runtime"] {
            fs::create_dir(exec_root.path().join(dir)).expect("a directory");
        }
        populate(&bundle.join("lower:a,b"));
        let before = Snapshot::take(&places(&exec_root, &data, &netns));
        let address = shim(exec_root.path(), &bundle, &id, "start");
        let address = String::from_utf8(address).expect("an address is text");
        let tasks = TaskClient::new(Client::connect(&address).expect("the shim listens"));
        Self { exec_root, data, netns, before, id, wall, tasks }
    }

    pub(crate) fn configure(&self, args: &[&str], terminal: bool) {
        self.configure_with(args, terminal, |_| {});
    }

    /// Writes the configuration after `change`.
    pub(crate) fn configure_with(
        &self,
        args: &[&str],
        terminal: bool,
        change: impl FnOnce(&mut Value),
    ) {
        let mut config = config(&self.id, args, terminal);
        config["annotations"] = json!({ "dev.hull.isolation": self.wall.to_string() });
        change(&mut config);
        let config = config.to_string();
        fs::write(self.bundle().join("config.json"), config).expect("a file");
    }

    pub(crate) fn create(&self, terminal: bool, stdin: bool) -> ttrpc::Result<u32> {
        let bundle = self.bundle();
        let path = |name: &str| bundle.join(name).display().to_string();
        let mut request = CreateTaskRequest::new();
        request.id.clone_from(&self.id);
        request.bundle = bundle.display().to_string();
        request.terminal = terminal;
        let mut mount = Mount::new();
        mount.type_ = "overlay".into();
        mount.options = vec![
            format!("lowerdir={}", path("lower:a,b").replace(':', "\\:")),
            format!("upperdir={}", path("upper")),
            format!("workdir={}", path("work")),
        ];
        request.rootfs = vec![mount];
        let mut options =
            json!({ "data_root": self.data.path(), "exec_root": self.exec_root.path() });
        if self.wall == Isolation::Vm {
            let (kernel, modules) = kernel();
            options["vm"] =
                json!({ "kernel": kernel, "modules": modules, "agent": program("hull-agent") });
        }
        request.options = any("dev.hull.Options", &options);
        let streams = self.streams();
        request.stdin = if stdin { streams.clone() } else { String::new() };
        request.stdout.clone_from(&streams);
        request.stderr = if terminal { String::new() } else { streams };
        self.tasks.create(context(), &request).map(|response| response.pid)
    }

    pub(crate) fn start(&self, exec: &str) -> ttrpc::Result<u32> {
        let mut request = StartRequest::new();
        request.id.clone_from(&self.id);
        request.exec_id = exec.into();
        self.tasks.start(context(), &request).map(|response| response.pid)
    }

    /// Makes a process in the container, with an input when `stdin`.
    pub(crate) fn exec(&self, exec: &str, args: &[&str], stdin: bool) -> ttrpc::Result<()> {
        let mut request = ExecProcessRequest::new();
        request.id.clone_from(&self.id);
        request.exec_id = exec.into();
        request.spec =
            any("types.containerd.io/opencontainers/runtime-spec/1/Process", &process(args, false));
        request.stdin = if stdin { self.streams() } else { String::new() };
        request.stdout = self.streams();
        request.stderr = self.streams();
        self.tasks.exec(context(), &request).map(drop)
    }

    pub(crate) fn wait(&self, exec: &str) -> u32 {
        wait(&self.tasks, &self.id, exec)
    }

    pub(crate) fn kill(&self, exec: &str, signal: u32) -> ttrpc::Result<()> {
        let mut request = KillRequest::new();
        request.id.clone_from(&self.id);
        request.exec_id = exec.into();
        request.signal = signal;
        self.tasks.kill(context(), &request).map(drop)
    }

    pub(crate) fn delete(&self, exec: &str) -> ttrpc::Result<DeleteResponse> {
        let mut request = DeleteRequest::new();
        request.id.clone_from(&self.id);
        request.exec_id = exec.into();
        self.tasks.delete(context(), &request)
    }

    /// Attaches to a process's streams.
    pub(crate) fn attach(&self, exec: &str, greeting: &str) -> UnixStream {
        let name = if exec.is_empty() { "attach.sock".into() } else { format!("exec-{exec}.sock") };
        let path = self.exec_root.path().join("io").join(name);
        let mut client = UnixStream::connect(path).expect("the shim listens");
        writeln!(client, "{greeting}").expect("it reads");
        let mut answer = [0];
        client.read_exact(&mut answer).expect("it answers");
        client
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.data.path().join("containers").join(&self.id)
    }

    fn streams(&self) -> String {
        format!("hull:{}", self.exec_root.path().join("io").display())
    }

    /// Each line of the log with its stream.
    pub(crate) fn log(&self) -> Vec<(String, String)> {
        let path = self.exec_root.path().join("io/json.log");
        let text = fs::read_to_string(path).expect("a log");
        let entry = |line: &str| {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            let field = |name: &str| entry[name].as_str().expect("a string").to_owned();
            (field("stream"), field("log"))
        };
        text.lines().map(entry).collect()
    }

    /// The server's process.
    pub(crate) fn shim_pid(&self) -> i32 {
        let pid = fs::read_to_string(self.bundle().join("shim.pid")).expect("a pid file");
        pid.parse().expect("a number")
    }

    /// The shim's `start`, once more.
    pub(crate) fn starting(&self) -> Command {
        shim_command(self.exec_root.path(), &self.bundle(), &self.id, "start")
    }

    /// Runs the shim's `delete` and gives what it says.
    pub(crate) fn clean_up(&self) -> DeleteResponse {
        let printed = shim(self.exec_root.path(), &self.bundle(), &self.id, "delete");
        DeleteResponse::parse_from_bytes(&printed).expect("a delete response")
    }

    /// Ends the shim, which holds nothing any more.
    pub(crate) fn shut_down(&self) {
        let mut request = ShutdownRequest::new();
        request.id.clone_from(&self.id);
        // It may end before it answers.
        let _ = self.tasks.shutdown(context(), &request);
    }

    /// Nothing of the container or of its shim is left on the machine.
    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        // The harness's own; the engine would remove them with the bundle and the streams.
        for file in ["config.json", "isolation.json", "shim.log", "scratch.ext4"] {
            let _ = fs::remove_file(self.bundle().join(file));
        }
        for dir in ["rootfs", "upper", "work"] {
            let _ = fs::remove_dir_all(self.bundle().join(dir));
            if dir != "rootfs" {
                fs::create_dir(self.bundle().join(dir)).expect("a directory");
            }
        }
        let _ = fs::remove_file(self.exec_root.path().join("io/json.log"));
        // What all VMs of this root share.
        let _ = fs::remove_dir_all(self.exec_root.path().join("vm"));
        let places = places(&self.exec_root, &self.data, &self.netns);
        // Cgroups have no root of ours in their paths: other tests' containers are there too.
        let others = |line: &String| line.starts_with("cgroup ") && !line.ends_with(&self.id);
        let left = self.before.added_since(&places);
        let left: Vec<_> = left.into_iter().filter(|line| !others(line)).collect();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Drop for Bench {
    /// After a failed test something may be left.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.bundle().join("shim.log")).unwrap_or_default();
            eprintln!("--- shim.log of {}:\n{log}---", self.id);
        }
        self.clean_up();
    }
}

pub(crate) fn wait(tasks: &TaskClient, id: &str, exec: &str) -> u32 {
    let mut request = WaitRequest::new();
    request.id = id.into();
    request.exec_id = exec.into();
    tasks.wait(context(), &request).expect("it can be waited for").exit_status
}

/// Kills a process by number without a word and waits until it is gone.
pub(crate) fn kill_9(pid: i32) {
    let process = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("killed");
    eventually("the process is gone", || is_gone(pid));
}

/// Whether a process has ended; its parent may take its time to reap it.
pub(crate) fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// A root filesystem of Debian's static busybox.
fn populate(root: &Path) {
    for dir in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(dir)).expect("a directory");
    }
    let busybox =
        ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.expect("busybox-static is installed"), root.join("bin/busybox"))
        .expect("copied");
    for applet in ["sh", "cat", "echo", "sleep", "stty", "true", "seq"] {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    fs::write(root.join("etc/plain"), "not a program").expect("a file");
    fs::write(root.join("etc/garbage"), "no program either").expect("a file");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("etc/garbage"), executable).expect("ours");
}

fn shim(exec_root: &Path, bundle: &Path, id: &str, command: &str) -> Vec<u8> {
    let output = shim_command(exec_root, bundle, id, command).output().expect("the shim runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn shim_command(exec_root: &Path, bundle: &Path, id: &str, command: &str) -> Command {
    let mut shim = Command::new(program("containerd-shim-hull-v2"));
    shim.args(["-namespace", "hull", "-id", id, "-address"])
        .arg(exec_root.join("hull.sock"))
        .arg("-bundle")
        .arg(bundle)
        .arg(command)
        .env("HULL_EXEC_ROOT", exec_root)
        .current_dir(bundle);
    shim
}

fn places<'a>(exec_root: &'a TempDir, data: &'a TempDir, netns: &'a File) -> Places<'a> {
    Places { exec_root: exec_root.path(), data_root: data.path(), netns, known: Vec::new() }
}

fn any(type_url: &str, value: &Value) -> MessageField<Any> {
    let mut any = Any::new();
    any.type_url = type_url.into();
    any.value = value.to_string().into_bytes();
    MessageField::some(any)
}

fn process(args: &[&str], terminal: bool) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]);
    json!({
        "terminal": terminal,
        "user": { "uid": 0, "gid": 0 },
        "args": args,
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
    })
}

fn config(id: &str, args: &[&str], terminal: bool) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": process(args, terminal),
        "root": { "path": "rootfs" },
        "hostname": "shim-test",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
        ],
        "linux": {
            "cgroupsPath": format!("/hull/{id}"),
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network" },
            ],
        },
    })
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn output(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    run(command, b"").ok()
}
