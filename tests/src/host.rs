//! A machine for a suite: its own network, registry and engine.

mod beside;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use sys::netlink::Netlink;
use tempfile::TempDir;

use crate::command::{self, Ran, Running, eventually, wait};
use crate::leaks::{self, Places, Snapshot};
use crate::programs;
use crate::pty::Pty;
use crate::registry::Registry;
use crate::relay::{Relay, Wire};
use crate::wall;

/// The image that the registry serves, as a client names it there.
pub const IMAGE: &str = "127.0.0.1:5000/busybox";

/// Bridge and subnet of the shared engine, and of one beside it.
const FIRST: [&str; 2] = ["hull0", "172.30.0.0/16"];
const SECOND: [&str; 2] = ["hull9", "10.99.9.0/24"];

/// One `hulld` with its own roots, in the suite's network namespace.
#[derive(Debug)]
pub struct Engine {
    /// Short, and beside /run/hull: sockets have paths of at most 107 bytes.
    exec_root: TempDir,
    data_root: TempDir,
    netns: File,
    bridge: [&'static str; 2],
    kernel: PathBuf,
    modules: PathBuf,
    path: Option<PathBuf>,
    mounts: Option<String>,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// A network namespace with a registry and an engine in it.
#[derive(Debug)]
pub struct Host {
    /// The engine that the cases share. Dropped before the registry.
    pub engine: Engine,
    registry: Registry,
    dir: TempDir,
}

impl Host {
    /// Starts all of it, with the sample image in the registry and pulled.
    pub fn start() -> Self {
        assert!(rustix::process::geteuid().is_root(), "the suites need root");
        let dir = tempfile::Builder::new().prefix("hull-test-").tempdir().expect("a directory");
        let netns = File::from(sys::netns::make().expect("a network namespace"));
        raise_loopback(&netns);
        let registry = Registry::start(&netns, dir.path());
        let host = Self { engine: Engine::new(&netns, FIRST), registry, dir };
        host.publish();
        let mut host = host;
        host.engine.start();
        host.docker(&["pull", "-q", IMAGE]).ok();
        // What the engine makes at the first run of all (a VM's template, for one) is no leak of
        // the first case.
        for isolation in ["--isolation=process", "--isolation=hyperv"] {
            host.docker(&["run", "--rm", isolation, IMAGE, "true"]).ok();
        }
        host
    }

    /// A `docker` that talks to the shared engine.
    pub fn docker(&self, arguments: &[&str]) -> Ran {
        self.engine.docker(arguments)
    }

    /// A directory for the case's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops the registry, as a network does.
    pub fn stop_registry(&mut self) {
        self.registry.stop();
    }

    /// Starts it again, with what it had.
    pub fn start_registry(&mut self) {
        self.registry = Registry::start(&self.engine.netns, self.dir.path());
    }

    /// A registry beside the first, at `address`; `more` is YAML of its configuration, and of its key
    /// `http`. It ends when it is dropped.
    pub fn another_registry(&self, address: &str, http: &str, more: &str) -> Registry {
        let dir = self.dir().join(address.replace(':', "-"));
        fs::create_dir_all(&dir).expect("a directory");
        Registry::start_at(&self.engine.netns, &dir, address, http, more)
    }

    /// Builds the sample image and pushes it, by its own name and as Docker Hub's.
    fn publish(&self) {
        let layout = self.dir().join("busybox");
        let mut build = Command::new(programs::source().join("scripts/busybox-image.sh"));
        build.arg(&layout);
        command::run(build, b"").ok();
        for name in ["busybox", "library/busybox"] {
            let mut push = Command::new("skopeo");
            push.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
                .arg(format!("oci:{}:latest", layout.display()))
                .arg(format!("docker://127.0.0.1:5000/{name}:latest"));
            run_inside(&self.engine.netns, push).ok();
        }
    }
}

impl Engine {
    fn new(netns: &File, bridge: [&'static str; 2]) -> Self {
        Self::beneath(&std::env::temp_dir(), netns, bridge)
    }

    /// One whose data root is beneath `data`.
    fn beneath(data: &Path, netns: &File, bridge: [&'static str; 2]) -> Self {
        let dir = |builder: &mut tempfile::Builder<'_, '_>, at: &Path| {
            builder.tempdir_in(at).expect("a directory")
        };
        Self {
            exec_root: dir(tempfile::Builder::new().prefix("h").rand_bytes(3), Path::new("/run")),
            data_root: dir(tempfile::Builder::new().prefix("hull-data-"), data),
            netns: netns.try_clone().expect("a descriptor"),
            bridge,
            kernel: programs::kernel().0,
            modules: programs::kernel().1,
            path: None,
            mounts: None,
            arguments: Vec::new(),
            child: None,
        }
    }

    /// What does not survive a reboot.
    pub fn exec_root(&self) -> &Path {
        self.exec_root.path()
    }

    /// What does.
    pub fn data_root(&self) -> &Path {
        self.data_root.path()
    }

    /// What it wrote to its log since its first start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.data_root.path().join("hulld.log")
    }

    fn socket(&self) -> PathBuf {
        self.exec_root.path().join("hull.sock")
    }

    /// Starts `hulld` and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut hulld = self.hulld();
        hulld
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--data-root")
            .arg(self.data_root())
            .args(["--bridge", self.bridge[0], "--subnet", self.bridge[1]])
            .arg("--vm-kernel")
            .arg(&self.kernel)
            .arg("--vm-modules")
            .arg(&self.modules)
            .args(["--registry-mirror", "http://127.0.0.1:5000", "--log-level", "debug"])
            .arg("--registry-certs")
            .arg(self.data_root().join("certs"))
            .arg("--cdi-spec-dirs")
            .arg(self.data_root().join("cdi"))
            .args(wall::arguments(&self.arguments))
            .args(&self.arguments)
            // What hulld starts inherits this, and so is told from another engine's.
            .env("HULL_TEST", self.exec_root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .envs(self.path.iter().map(|path| ("PATH", path)));
        self.child = Some(spawn_inside(&self.netns, &mut hulld));
        let deadline = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none() && Instant::now() < deadline, "hulld: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends `hulld` as `systemctl stop` does.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Ends `hulld` without a word.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            stop(&mut child, signal);
        }
    }

    /// The process number of `hulld`.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The stock client, told to talk to this engine.
    pub fn client(&self, arguments: &[&str]) -> Command {
        self.other_client("docker", arguments)
    }

    /// Any program that reads the stock client's variables, told to talk to this engine.
    pub fn other_client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut client = Command::new(program);
        client
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.data_root().join("client"))
            .env_remove("DOCKER_CONTEXT");
        client
    }

    /// Runs the client to its end, without input.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Ran {
        self.docker_with(arguments, b"")
    }

    /// Runs the client to its end with `input` as its standard input.
    #[track_caller]
    pub fn docker_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        command::run(self.client(arguments), input)
    }

    /// Starts the client.
    #[track_caller]
    pub fn begin(&self, arguments: &[&str]) -> Running {
        Running::start(self.client(arguments))
    }

    /// Starts the client on a terminal of `rows` and `columns`.
    pub fn on_terminal(&self, arguments: &[&str], rows: u16, columns: u16) -> Pty {
        Pty::start(&self.client(arguments), rows, columns)
    }

    /// What `docker inspect` says of the container or image.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let json = self.docker(&["inspect", name]).ok();
        let mut all: Vec<Value> = serde_json::from_str(&json).expect("inspect prints JSON");
        all.pop().expect("one was named")
    }

    /// Sends a request without a client between; gives the status and the body.
    pub fn post(&self, path: &str, body: &Value) -> (u16, String) {
        self.send("POST", path, &body.to_string())
    }

    /// Asks for a page without a client between; gives the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.send("GET", path, "")
    }

    /// Sends a request without a client between; gives the status and the body.
    pub fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut socket = self.ask(method, path, "Connection: close\r\n", body);
        let mut reply = String::new();
        socket.read_to_string(&mut reply).expect("text");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status line"), body.to_owned())
    }

    /// A connection on which nothing was said yet.
    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).expect("it listens")
    }

    /// Sends a request with more headers; gives the connection.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> UnixStream {
        let mut socket = self.connect();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
        .expect("it reads");
        socket
    }

    /// What a server at `address` answers to the host when it is asked for `/`; `None` for an error.
    pub fn fetch(&self, address: &str) -> Option<String> {
        self.fetch_page(address, "/")
    }

    /// The same for any page.
    pub fn fetch_page(&self, address: &str, page: &str) -> Option<String> {
        let mut server = self.within(|| std::net::TcpStream::connect(address)).ok()?;
        write!(server, "GET {page} HTTP/1.0\r\n\r\n").ok()?;
        let mut reply = String::new();
        server.read_to_string(&mut reply).ok()?;
        Some(reply.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// A wire from `at` to `to` in the engine's network namespace.
    pub fn relay(&self, at: &str, to: &'static str, wire: Wire) -> Relay {
        Relay::start(&self.netns, at, to, wire)
    }

    /// Has `call` done on the host, in the engine's network namespace.
    pub fn within<T: Send>(
        &self,
        call: impl FnOnce() -> std::io::Result<T> + Send,
    ) -> std::io::Result<T> {
        sys::netns::within(self.netns.as_fd(), call)
    }

    /// Starts a program on the host, in the engine's network namespace.
    pub fn spawn_beside(&self, command: &mut Command) -> Child {
        spawn_inside(&self.netns, command)
    }

    /// Runs a program on the host, in the engine's network namespace.
    #[track_caller]
    pub fn on_host(&self, program: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments);
        run_inside(&self.netns, command)
    }

    /// Waits until the container is in `state`, as `inspect` names it.
    #[track_caller]
    pub fn until(&self, name: &str, state: &str) {
        eventually(&format!("{name} is {state}"), || {
            let ran = self.docker(&["inspect", "-f", "{{.State.Status}}", name]);
            ran.code == 0 && ran.out.trim() == state
        });
    }

    /// Removes all containers, and the images without a name that builds leave.
    pub fn clear(&self) {
        let all = self.docker(&["ps", "-aq"]);
        let mut remove = vec!["rm", "-f", "-v"];
        remove.extend(all.out.split_whitespace());
        if remove.len() > 3 {
            let _ = self.docker(&remove);
        }
        let _ = self.docker(&["image", "prune", "-f"]);
    }

    /// The processes called `name` that this engine's containers and machines are made of.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        leaks::named(&self.places(), name)
    }

    /// What is on the machine now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.places())
    }

    /// What is on the machine beyond `before`.
    pub fn left_since(&self, before: &Snapshot) -> Vec<String> {
        before.added_since(&self.places())
    }

    fn places(&self) -> Places<'_> {
        Places {
            exec_root: self.exec_root(),
            data_root: self.data_root(),
            netns: &self.netns,
            known: self.child.iter().map(Child::id).collect(),
        }
    }

    /// Ends the engine and whatever it left: after a failed case that can be much.
    fn tear_down(&mut self) {
        if self.child.is_some() {
            self.clear();
        }
        self.stop();
        for process in leaks::processes(&self.places()) {
            let pid = process.split(' ').nth(1).and_then(|pid| Pid::from_raw(pid.parse().ok()?));
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| {
            Path::new(point).starts_with(self.exec_root())
                || Path::new(point).starts_with(self.data_root())
        }) {
            let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
        }
        // An engine leaves these to the next one; a cgroup that is in use stays.
        for parent in leaks::cgroup_parents() {
            let _ = fs::remove_dir(parent);
        }
        let _ = self.on_host("ip", &["link", "delete", self.bridge[0]]);
        let _ =
            self.on_host("nft", &["delete", "table", "inet", &format!("hull-{}", self.bridge[0])]);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tear_down();
    }
}

fn raise_loopback(netns: &File) {
    sys::netns::within(netns.as_fd(), || {
        let mut netlink = Netlink::open()?;
        let lo = netlink.index("lo")?;
        netlink.set_up(lo, true)
    })
    .expect("lo comes up");
}

pub(crate) fn spawn_inside(netns: &File, command: &mut Command) -> Child {
    let name = command.get_program().to_owned();
    sys::netns::within(netns.as_fd(), || command.spawn())
        .unwrap_or_else(|error| panic!("start {}: {error}", name.to_string_lossy()))
}

#[track_caller]
fn run_inside(netns: &File, command: Command) -> Ran {
    sys::netns::within(netns.as_fd(), || Ok(Running::start(command))).expect("started").wait()
}

fn stop(child: &mut Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended already; it was not waited for, so the number is still its own.
        let _ = rustix::process::kill_process(pid, signal);
    }
    wait(child, Instant::now() + Duration::from_secs(10));
}
