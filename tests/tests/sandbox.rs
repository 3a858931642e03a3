//! The promise of the seam: one body of tests, held by both walls.
//!
//! A container is made of two layers of busybox and handled through [`sandbox::Sandbox`] alone, first
//! with process isolation, then in a VM. Needs root, and for the VM the hypervisor, the guest's kernel
//! (`HULL_KERNEL_DIR`) and the static agent (`HULL_BIN_DIR`); says what it skips without them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::pipe::PipeFlags;
use sandbox::{Bundle, Facts, Recipients, Rootfs, Sandbox, Stdio, WindowSize};
use spec::files::{self, Answer};
use spec::oci::runtime as oci;
use spec::options::Options;
use spec::{ContainerId, Isolation, Kind, ProcessId, Signal, annotation};
use sys::netlink::{Address, Netlink, Peer, Route};

/// One case: a name that can be false, and its body.
type Case = (&'static str, fn(&Wall));

const CASES: &[Case] = &[
    ("output_and_exit_code_are_the_programs", output_and_exit_code_are_the_programs),
    ("what_is_typed_reaches_the_program_until_it_ends", what_is_typed_reaches_the_program),
    ("output_that_nobody_reads_yet_is_not_lost", output_that_nobody_reads_yet_is_not_lost),
    ("a_program_that_cannot_run_is_told_from_one_that_is_missing", programs_that_cannot_run),
    ("a_signal_ends_the_program", a_signal_ends_the_program),
    ("a_second_process_sees_the_first", a_second_process_sees_the_first),
    ("a_terminal_has_the_size_it_is_given", a_terminal_has_the_size_it_is_given),
    ("frozen_processes_do_nothing", frozen_processes_do_nothing),
    ("what_does_not_exist_is_not_found", what_does_not_exist_is_not_found),
    ("what_the_container_wrote_is_there_again", what_the_container_wrote_is_there_again),
    ("files_are_reached_whether_the_program_runs_or_not", files_are_reached),
    ("no_name_of_a_container_leads_out_of_it", no_name_leads_out),
    ("the_network_is_that_of_its_namespace", the_network_is_that_of_its_namespace),
    ("the_host_sees_the_wall_it_was_promised", the_host_sees_the_wall_it_was_promised),
    ("a_sandbox_that_is_killed_from_outside_ends_its_processes", killed_from_outside),
];

fn main() -> ExitCode {
    sandbox::dispatch();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in CASES {
            println!("{name}::process: test\n{name}::hyperv: test");
        }
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| {
        let mut words = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        words.peek().is_none() || words.any(|word| name.contains(word.as_str()))
    };
    let (mut passed, mut failed) = (0, 0);
    for isolation in [Isolation::Process, Isolation::Vm] {
        let place =
            tempfile::Builder::new().prefix("hull-sandbox.").tempdir().expect("a directory");
        let wall = Wall::new(isolation, place.path());
        for (name, body) in CASES {
            let name = format!("{name}::{isolation}");
            if wanted(&name) {
                let begun = Instant::now();
                let ran = std::panic::catch_unwind(|| body(&wall));
                let verdict = if ran.is_ok() { "ok" } else { "FAILED" };
                println!("test {name} ... {verdict} ({:.2} s)", begun.elapsed().as_secs_f64());
                passed += i32::from(ran.is_ok());
                failed += i32::from(ran.is_err());
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A wall, and what containers behind it are made from.
struct Wall {
    isolation: Isolation,
    options: Options,
    dir: PathBuf,
    lower: Vec<PathBuf>,
}

/// A container with its pipes.
struct Container<'a> {
    sandbox: Box<dyn Sandbox>,
    id: ContainerId,
    bundle: PathBuf,
    stdin: Option<File>,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    wall: &'a Wall,
}

impl Wall {
    fn new(isolation: Isolation, dir: &Path) -> Self {
        let mut options = Options { data_root: dir.join("data"), ..Options::default() };
        options.exec_root = dir.join("run");
        if isolation == Isolation::Vm {
            let (kernel, modules) = tests::programs::kernel();
            options.vm.kernel = Some(kernel);
            options.vm.modules = Some(modules);
            options.vm.agent = Some(tests::programs::program("hull-agent"));
            options.vm.scratch_mib = 256;
        }
        let lower = layers(&dir.join("layers"));
        Self { isolation, options, dir: dir.to_owned(), lower }
    }

    /// A configuration that runs a shell script.
    fn spec(&self, script: &str) -> oci::Spec {
        let mut spec = oci::Spec::default();
        spec.process_mut().get_or_insert_default().set_args(Some(shell(script)));
        let wall = (annotation::ISOLATION.to_owned(), self.isolation.to_string());
        spec.set_annotations(Some([wall].into()));
        spec.set_hostname(Some("box".into()));
        spec.root_mut().get_or_insert_default().set_readonly(Some(false));
        spec
    }

    fn create(&self, script: &str) -> Container<'_> {
        self.create_from(&self.spec(script), "c1")
    }

    fn create_from(&self, spec: &oci::Spec, name: &str) -> Container<'_> {
        self.try_create(spec, name).unwrap_or_else(|error| panic!("create: {}", chain(&error)))
    }

    fn try_create(&self, spec: &oci::Spec, name: &str) -> Result<Container<'_>, sandbox::Error> {
        let bundle = self.dir.join(name);
        let (upper, work) = (bundle.join("upper"), bundle.join("work"));
        for dir in [&bundle, &upper, &work, &bundle.join("rootfs")] {
            fs::create_dir_all(dir).expect("a directory");
        }
        let rootfs = Rootfs::Overlay { lower: self.lower.clone(), upper, work };
        let (io, stdin, stdout, stderr) = pipes();
        let sandbox = sandbox::open(&self.options, spec)?;
        let id = format!("sandbox-test-{}-{name}", std::process::id()).parse().expect("an id");
        let made = Bundle { path: bundle.clone(), spec: spec.clone(), rootfs };
        sandbox.create(&id, &made, io)?;
        let (stdin, stdout, stderr) = (Some(stdin), Some(stdout), Some(stderr));
        Ok(Container { sandbox, id, bundle, stdin, stdout, stderr, wall: self })
    }
}

impl Container<'_> {
    fn init(&self) -> ProcessId {
        ProcessId::init(self.id.clone())
    }

    fn start(&self) {
        self.sandbox.start(&self.init()).unwrap_or_else(|error| panic!("start: {}", chain(&error)));
    }

    fn wait(&self) -> u8 {
        self.sandbox.wait(&self.init()).expect("it exists").code
    }

    fn signal(&self, number: i32) {
        let signal = Signal::new(number).expect("a signal");
        self.sandbox.signal(&self.init(), signal, Recipients::One).expect("delivered");
    }

    /// Runs another process; gives its output and exit code.
    fn exec(&self, name: &str, script: &str) -> (String, u8) {
        let mut process = oci::Process::default();
        process.set_args(Some(shell(script)));
        let id = ProcessId::exec(self.id.clone(), name.parse().expect("an id"));
        let (io, _, stdout, _) = pipes();
        let made = self.sandbox.exec(&id, &process, io);
        made.unwrap_or_else(|error| panic!("exec: {}", chain(&error)));
        self.sandbox.start(&id).unwrap_or_else(|error| panic!("exec: {}", chain(&error)));
        let code = self.sandbox.wait(&id).expect("it exists").code;
        assert_eq!(self.sandbox.delete(&id).expect("deleted").code, code);
        (stdout.join().expect("read"), code)
    }

    /// Waits until the first process has become `sleep`.
    fn until_asleep(&self) {
        let mut tries = 0..500;
        let mut asleep = || {
            let name = format!("try{}", tries.next().expect("it falls asleep"));
            self.exec(&name, "cat /proc/1/comm").0 == "sleep\n"
        };
        while !asleep() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Works on its files; gives the answer and the data.
    fn files(
        &self,
        request: &files::Request,
        data: &[u8],
    ) -> Result<(Answer, Vec<u8>), sandbox::Error> {
        let (upper, work) = (self.bundle.join("upper"), self.bundle.join("work"));
        let rootfs = Rootfs::Overlay { lower: self.wall.lower.clone(), upper, work };
        let spec = self.wall.spec("");
        let bundle = Bundle { path: self.bundle.clone(), spec, rootfs };
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let mut given = ours.try_clone().expect("a descriptor");
        thread::scope(|scope| {
            scope.spawn(move || {
                // Whoever unpacks may have enough before the end.
                let _ = given.write_all(data);
                let _ = given.shutdown(std::net::Shutdown::Write);
            });
            let reader = scope.spawn(move || {
                let mut taken = Vec::new();
                // What was given and not read resets the connection.
                let _ = ours.read_to_end(&mut taken);
                taken
            });
            // What has no data has no way for it; the reader sees the end at once.
            let theirs = Some(theirs).filter(|_| !matches!(request, files::Request::Stat { .. }));
            let answer = self.sandbox.files(&self.id, &bundle, request, theirs);
            let taken = reader.join().expect("read");
            answer.map(|answer| (answer, taken))
        })
    }

    fn stdout(&mut self) -> String {
        self.stdout.take().expect("once").join().expect("read")
    }

    fn stderr(&mut self) -> String {
        self.stderr.take().expect("once").join().expect("read")
    }

    /// Ends it and looks for what is left.
    fn remove(self) {
        if self.sandbox.delete(&self.init()).is_err() {
            self.sandbox.signal(&self.init(), Signal::KILL, Recipients::All).expect("killed");
            self.sandbox.wait(&self.init()).expect("it exists");
            self.sandbox.delete(&self.init()).expect("deleted");
        }
        let gone = self.sandbox.wait(&self.init()).expect_err("deleted");
        assert_eq!(gone.kind(), Kind::NotFound);
        self.sandbox.shutdown().expect("ended");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(self.bundle.to_str().expect("text")), "{mounts}");
        let names = fs::read_dir("/proc").expect("proc").flatten();
        let worker = |pid: PathBuf| {
            fs::read_to_string(pid.join("comm")).is_ok_and(|c| c.trim() == "hull-vmwp")
        };
        let ours = |pid: &PathBuf| {
            fs::read_to_string(pid.join("stat")).is_ok_and(|stat| {
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1))
                    == Some(std::process::id().to_string().as_str())
            })
        };
        let workers =
            names.map(|entry| entry.path()).filter(ours).filter(|pid| worker(pid.clone()));
        assert_eq!(workers.count(), 0, "a worker is left behind the {} wall", self.wall.isolation);
    }
}

impl Drop for Container<'_> {
    /// A case that failed half way leaves no container to the next one.
    fn drop(&mut self) {
        let _ = self.sandbox.shutdown();
    }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe")
}

fn pipes() -> (Stdio, File, JoinHandle<String>, JoinHandle<String>) {
    let ((stdin, typed), (shown, stdout), (complaints, stderr)) = (pipe(), pipe(), pipe());
    let io = Stdio { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr) };
    (io, typed.into(), reader(shown), reader(complaints))
}

fn reader(from: OwnedFd) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        File::from(from).read_to_end(&mut text).expect("read");
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Two layers: busybox, and above it files that show which one wins.
fn layers(dir: &Path) -> Vec<PathBuf> {
    let (bottom, top) = (dir.join("bottom"), dir.join("top"));
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(bottom.join(name)).expect("a directory");
    }
    fs::copy("/bin/busybox", bottom.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "cat", "echo", "sleep", "stty", "ps", "ping", "ip", "head", "wc", "uname"]
    {
        symlink("busybox", bottom.join("bin").join(applet)).expect("a link");
    }
    fs::write(bottom.join("etc/which"), "bottom").expect("a file");
    fs::create_dir_all(top.join("etc")).expect("a directory");
    fs::write(top.join("etc/which"), "top").expect("a file");
    fs::write(top.join("etc/not-a-program"), "text").expect("a file");
    fs::set_permissions(top.join("etc/not-a-program"), fs::Permissions::from_mode(0o644))
        .expect("a mode");
    vec![top, bottom]
}

fn output_and_exit_code_are_the_programs(wall: &Wall) {
    let mut container =
        wall.create("cat /etc/which; echo; echo oops >&2; cat /proc/sys/kernel/hostname; exit 7");
    container.start();
    assert_eq!(container.wait(), 7);
    assert_eq!(container.wait(), 7, "every later call returns the same answer");
    assert_eq!(container.stdout(), "top\nbox\n");
    assert_eq!(container.stderr(), "oops\n");
    container.remove();
}

fn what_is_typed_reaches_the_program(wall: &Wall) {
    let mut container = wall.create("cat; echo end");
    container.start();
    let mut stdin = container.stdin.take().expect("a pipe");
    stdin.write_all(b"typed\n").expect("written");
    container.sandbox.close_stdin(&container.init()).expect("closed");
    drop(stdin);
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "typed\nend\n");
    container.remove();
}

fn output_that_nobody_reads_yet_is_not_lost(wall: &Wall) {
    let container = wall.create("sleep 1000");
    container.start();
    let ((shown, stdout), mut process) = (pipe(), oci::Process::default());
    process.set_args(Some(shell("head -c 3000000 /dev/zero")));
    let id = ProcessId::exec(container.id.clone(), "late".parse().expect("an id"));
    let io = Stdio { stdout: Some(stdout), ..Stdio::default() };
    container.sandbox.exec(&id, &process, io).expect("made");
    container.sandbox.start(&id).expect("started");
    assert_eq!(container.exec("e1", "echo not held up"), ("not held up\n".to_owned(), 0));
    assert_eq!(reader(shown).join().expect("read").len(), 3_000_000);
    assert_eq!(container.sandbox.wait(&id).expect("it exists").code, 0);
    container.remove();
}

fn programs_that_cannot_run(wall: &Wall) {
    for (program, kind) in [
        ("/bin/none", Kind::CommandNotFound),
        ("none", Kind::CommandNotFound),
        ("/etc/not-a-program", Kind::CommandNotExecutable),
    ] {
        let mut spec = wall.spec("");
        spec.process_mut().get_or_insert_default().set_args(Some(vec![program.to_owned()]));
        match wall.try_create(&spec, "c1") {
            Err(error) => assert_eq!(error.kind(), kind, "{program}: {}", chain(&error)),
            Ok(container) => {
                let error = container.sandbox.start(&container.init()).expect_err("refused");
                assert_eq!(error.kind(), kind, "{program}: {}", chain(&error));
                container.wait();
                container.remove();
            }
        }
    }
}

fn a_signal_ends_the_program(wall: &Wall) {
    let mut container =
        wall.create("trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    container.start();
    thread::sleep(Duration::from_millis(500));
    container.signal(15);
    assert_eq!(container.wait(), 3);
    assert_eq!(container.stdout(), "ready\ncaught\n");
    container.remove();

    let container = wall.create("sleep 1000");
    container.start();
    container.signal(9);
    assert_eq!(container.wait(), 137);
    let ended = container.sandbox.signal(&container.init(), Signal::TERM, Recipients::One);
    assert_eq!(ended.expect_err("it has ended").kind(), Kind::Conflict);
    container.remove();
}

fn a_second_process_sees_the_first(wall: &Wall) {
    let container = wall.create("exec sleep 1000");
    container.start();
    container.until_asleep();
    let (output, code) = container.exec("e1", "cat /proc/1/comm; exit 5");
    assert_eq!((output.as_str(), code), ("sleep\n", 5));
    let list = container.sandbox.processes(&container.id).expect("a list");
    assert!(list.iter().any(|process| process.comm == "sleep"), "{list:?}");
    let mut process = oci::Process::default();
    process.set_args(Some(vec!["/bin/none".into()]));
    let id = ProcessId::exec(container.id.clone(), "e2".parse().expect("an id"));
    let started = container
        .sandbox
        .exec(&id, &process, Stdio::default())
        .and_then(|_| container.sandbox.start(&id));
    assert_eq!(started.expect_err("no such program").kind(), Kind::CommandNotFound);
    container.remove();
}

fn a_terminal_has_the_size_it_is_given(wall: &Wall) {
    let mut spec = wall.spec(
        "trap 'stty size; exit 0' WINCH; stty size; touch /tmp/said; while :; do sleep 0.05; done",
    );
    let process = spec.process_mut().get_or_insert_default();
    process.set_terminal(Some(true));
    let size = oci::BoxBuilder::default().height(20_u64).width(70_u64).build().expect("a size");
    process.set_console_size(Some(size));
    let mut container = wall.create_from(&spec, "c1");
    container.start();
    container.exec("e1", "until [ -e /tmp/said ]; do sleep 0.05; done");
    let size = WindowSize { rows: 33, columns: 99 };
    container.sandbox.resize(&container.init(), size).expect("resized");
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "20 70\r\n33 99\r\n");
    container.remove();
}

fn frozen_processes_do_nothing(wall: &Wall) {
    let container = wall.create("while :; do echo -n x >> /tmp/ticks; sleep 0.01; done");
    container.start();
    container.sandbox.freeze(&container.id, true).expect("frozen");
    let refused = {
        let mut process = oci::Process::default();
        process.set_args(Some(shell("exit 0")));
        let id = ProcessId::exec(container.id.clone(), "e1".parse().expect("an id"));
        container.sandbox.exec(&id, &process, Stdio::default())
    };
    assert_eq!(refused.expect_err("it is paused").kind(), Kind::Conflict);
    container.sandbox.freeze(&container.id, false).expect("thawed");
    let (before, _) = container.exec("e2", "wc -c < /tmp/ticks");
    thread::sleep(Duration::from_millis(300));
    let (after, _) = container.exec("e3", "wc -c < /tmp/ticks");
    assert_ne!(before, after);
    container.remove();
}

fn what_does_not_exist_is_not_found(wall: &Wall) {
    let container = wall.create("sleep 1000");
    let other = ProcessId::init("other".parse().expect("an id"));
    let exec = ProcessId::exec(container.id.clone(), "none".parse().expect("an id"));
    for id in [other, exec] {
        let sandbox = &container.sandbox;
        let kinds = [
            sandbox.start(&id).map_err(|error| error.kind()),
            sandbox.wait(&id).map(drop).map_err(|error| error.kind()),
            sandbox.delete(&id).map(drop).map_err(|error| error.kind()),
            sandbox.signal(&id, Signal::TERM, Recipients::One).map_err(|error| error.kind()),
        ];
        assert_eq!(kinds, [Err(Kind::NotFound); 4], "{id}");
    }
    container.remove();
}

fn what_the_container_wrote_is_there_again(wall: &Wall) {
    let container = wall.create("echo kept > /kept");
    container.start();
    assert_eq!(container.wait(), 0);
    container.remove();
    let mut container = wall.create("cat /kept");
    container.start();
    assert_eq!(container.wait(), 0);
    assert_eq!(container.stdout(), "kept\n");
    container.remove();
}

fn files_are_reached(wall: &Wall) {
    let container = wall.create("echo written > /w; sleep 1000");
    container.start();
    container.until_asleep();
    let put = || files::Request::Put(files::Put { path: "/tmp".into(), ..files::Put::default() });
    assert_eq!(container.files(&put(), &archive("put", "running")).expect("put").0, Answer::Done);
    assert_eq!(container.exec("e1", "cat /tmp/put").0, "running");
    let check = |container: &Container, text: &str| {
        let stat = files::Request::Stat { path: "/tmp/put".into() };
        let Answer::Stat(stat) = container.files(&stat, b"").expect("there").0 else {
            panic!("no stat")
        };
        assert_eq!((stat.name.as_str(), stat.size), ("put", text.len() as u64));
        let get = files::Request::Get { path: "/tmp/put".into() };
        let (_, packed) = container.files(&get, b"").expect("there");
        assert!(String::from_utf8_lossy(&packed).contains(text), "{text}");
        let (_, changes) = container.files(&files::Request::Changes, b"").expect("compared");
        let changes = String::from_utf8_lossy(&changes);
        for line in [r#"{"path":"/w","kind":"added"}"#, r#"{"path":"/tmp","kind":"modified"}"#] {
            assert!(changes.lines().any(|own| own == line), "{line} in {changes}");
        }
        assert!(!changes.contains("/proc") && !changes.contains("/etc"), "{changes}");
        let (_, layer) = container.files(&files::Request::Layer, b"").expect("packed");
        assert!(String::from_utf8_lossy(&layer).contains("written\n"));
        let (_, whole) = container.files(&files::Request::Export, b"").expect("packed");
        assert!(whole.len() > layer.len(), "{} bytes", whole.len());
    };
    check(&container, "running");
    container.signal(9);
    container.wait();
    container.sandbox.delete(&container.init()).expect("deleted");
    assert_eq!(container.files(&put(), &archive("put", "still")).expect("put").0, Answer::Done);
    check(&container, "still");
    container.sandbox.shutdown().expect("ended");
    let mut container = wall.create("cat /tmp/put");
    container.start();
    assert_eq!((container.wait(), container.stdout().as_str()), (0, "still"));
    container.remove();
}

fn header(size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A tar archive of one file.
fn archive(name: &str, text: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = header(text.len());
    archive.append_data(&mut header, name, text.as_bytes()).expect("to memory");
    archive.into_inner().expect("to memory")
}

fn no_name_leads_out(wall: &Wall) {
    let script = "ln() { /bin/busybox ln \"$@\"; }; ln -s / /a; ln -s ../../../../.. /b; \
                  ln -s /proc/1/root /c; sleep 1000";
    let container = wall.create(script);
    container.start();
    container.until_asleep();
    let marker = format!("hull-out-{}", std::process::id());
    fs::write(Path::new("/tmp").join(&marker), "host").expect("a file");
    for still in [false, true] {
        if still {
            container.signal(9);
            container.wait();
            container.sandbox.delete(&container.init()).expect("deleted");
        }
        for way in ["/a/tmp", "/b/tmp", "/../../tmp", "/c/tmp"] {
            let get = files::Request::Get { path: format!("{way}/{marker}") };
            assert!(container.files(&get, b"").is_err(), "{way}");
            let put = files::Put { path: way.into(), ..files::Put::default() };
            // Into the container or nowhere.
            let _ = container.files(&files::Request::Put(put), &archive("hull-planted", "x"));
            assert!(!Path::new("/tmp/hull-planted").exists(), "{way}");
        }
        let absent = files::Request::Stat { path: "/nowhere".into() };
        assert_eq!(container.files(&absent, b"").expect_err("absent").kind(), Kind::NotFound);
        let put = files::Put { path: "/tmp".into(), ..files::Put::default() };
        let out = archive_of_a_link_out();
        container
            .files(&files::Request::Put(put), &out)
            .unwrap_or_else(|e| panic!("{}", chain(&e)));
        assert!(!Path::new("/tmp/hull-planted").exists());
    }
    fs::remove_file(Path::new("/tmp").join(&marker)).expect("removed");
    container.sandbox.shutdown().expect("ended");
}

/// An archive that makes a link to the root directory and then a file through it.
fn archive_of_a_link_out() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut link = header(0);
    link.set_entry_type(tar::EntryType::Symlink);
    archive.append_link(&mut link, "out", "/").expect("to memory");
    archive.append_data(&mut header(1), "out/tmp/hull-planted", &b"x"[..]).expect("to memory");
    archive.into_inner().expect("to memory")
}

fn the_network_is_that_of_its_namespace(wall: &Wall) {
    let (near, far) = (sys::netns::make().expect("a namespace"), sys::netns::make().expect("one"));
    let address = |ip: &str| Address { ip: ip.parse().expect("an address"), prefix: 24 };
    sys::netns::within(near.as_fd(), || {
        let mut near = Netlink::open()?;
        near.add_veth("v0", &Peer { name: "eth0", mac: None, netns: Some(far.as_fd()) })?;
        let v0 = near.index("v0")?;
        near.add_address(v0, address("10.77.0.1"))?;
        near.set_up(v0, true)
    })
    .expect("the near end");
    sys::netns::within(far.as_fd(), || {
        let mut far = Netlink::open()?;
        let eth0 = far.index("eth0")?;
        far.add_address(eth0, address("10.77.0.2"))?;
        far.set_up(eth0, true)?;
        far.add_route(eth0, &Route::default_by("10.77.0.1".parse().expect("an address")))
    })
    .expect("the far end");
    let path = wall.dir.join("netns");
    fs::write(&path, "").expect("a file");
    let of = format!("/proc/self/fd/{}", far.as_raw_fd());
    rustix::mount::mount_bind(of, &path).expect("a path for the namespace");

    let mut spec = wall.spec("ping -c 3 -W 5 10.77.0.1 && ip route && ip -o addr show dev eth0");
    let linux = spec.linux_mut().get_or_insert_default();
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        if namespace.typ() == oci::LinuxNamespaceType::Network {
            namespace.set_path(Some(path.clone()));
        }
    }
    allow_raw_sockets(&mut spec);
    let mut container = wall.create_from(&spec, "c1");
    container.start();
    let code = container.wait();
    let output = container.stdout();
    container.remove();
    assert!(unmounts(&path), "something still holds {}", path.display());
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("default via 10.77.0.1 dev eth0"), "{output}");
    assert!(output.contains("10.77.0.2/24"), "{output}");
    let links = sys::netns::within(far.as_fd(), || Netlink::open()?.links()).expect("links");
    assert!(links.iter().all(|link| !link.name.starts_with(sys::tap::PREFIX)), "{links:?}");
}

/// Whether the mount is soon free: threads that end with a container close their descriptors a
/// moment after its removal was answered.
fn unmounts(path: &Path) -> bool {
    (0..100).any(|_| {
        let freed = rustix::mount::unmount(path, rustix::mount::UnmountFlags::empty()).is_ok();
        if !freed {
            thread::sleep(Duration::from_millis(50));
        }
        freed
    })
}

fn allow_raw_sockets(spec: &mut oci::Spec) {
    let process = spec.process_mut().get_or_insert_default();
    let mut capabilities = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<oci::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(oci::Capability::NetRaw);
        Some(set)
    };
    let (bounding, effective) = (with(capabilities.bounding()), with(capabilities.effective()));
    let permitted = with(capabilities.permitted());
    capabilities.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(capabilities));
}

fn the_host_sees_the_wall_it_was_promised(wall: &Wall) {
    let mut container = wall.create("uname -r; exec sleep 997");
    container.start();
    container.until_asleep();
    let facts = Facts::read(&container.bundle).expect("written by create");
    let visible = processes_with("997");
    let host = rustix::system::uname().release().to_string_lossy().into_owned();
    container.signal(9);
    assert_eq!(container.wait(), 137);
    let guest = container.stdout();
    match wall.isolation {
        Isolation::Process => {
            assert_eq!((facts.backend.as_str(), facts.worker_pid), ("namespaces", None));
            assert_eq!(guest.trim(), host);
            assert_eq!(visible, 1);
        }
        Isolation::Vm => {
            assert!(facts.backend.starts_with("qemu-") && facts.worker_pid.is_some(), "{facts:?}");
            assert_ne!(guest.trim(), host);
            assert_eq!(visible, 0, "the host sees the guest's processes");
            let mut spec = wall.spec("true");
            let mut mount = oci::Mount::default();
            mount.set_destination("/data".into()).set_source(Some("/etc".into()));
            mount.set_options(Some(vec!["rbind".into(), "rshared".into()]));
            spec.mounts_mut().get_or_insert_default().push(mount);
            let refused = wall.try_create(&spec, "c2").map(drop).expect_err("refused");
            assert_eq!(refused.kind(), Kind::Unsupported);
        }
    }
    container.remove();
}

fn killed_from_outside(wall: &Wall) {
    let container = wall.create("sleep 1000");
    container.start();
    let mut process = oci::Process::default();
    process.set_args(Some(shell("sleep 1000")));
    let exec = ProcessId::exec(container.id.clone(), "e1".parse().expect("an id"));
    container.sandbox.exec(&exec, &process, Stdio::default()).expect("made");
    container.sandbox.start(&exec).expect("started");
    let (options, ids) = (&wall.options, [container.init(), exec.clone()]);
    thread::scope(|scope| {
        let sandbox = &container.sandbox;
        let wait = |id| scope.spawn(move || sandbox.wait(id).expect("it was there").code);
        let waiting: Vec<_> = ids.iter().map(wait).collect();
        // What a shim's `delete` does for a sandbox whose holder was killed.
        sandbox::clean(options, &container.id, &container.bundle).expect("cleaned");
        for ended in waiting {
            assert_eq!(ended.join().expect("no panic"), 137);
        }
    });
    let late = container.sandbox.signal(&exec, Signal::TERM, Recipients::One);
    assert!(late.is_err(), "a signal reached a process that is gone");
    sandbox::clean(options, &container.id, &container.bundle).expect("twice is as good");
}

/// How many processes of the host have this as their last argument.
fn processes_with(argument: &str) -> usize {
    let lines = fs::read_dir("/proc").expect("proc").flatten();
    let lines = lines.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let suffix = format!("sleep\0{argument}\0");
    lines.filter(|line| line.ends_with(suffix.as_bytes())).count()
}
