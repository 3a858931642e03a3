//! The shim under Debian's containerd, by `ctr`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tests::command::{Ran, Running, eventually, run};
use tests::leaks::{Places, Snapshot};
use tests::programs::{has_kernel, kernel, program, source};
use tests::pty::Pty;

use crate::bench::{kill_9, output};

const IMAGE: &str = "docker.io/hull/busybox:latest";

/// A containerd of our own, with the sample image.
struct Containerd {
    dir: TempDir,
    exec_root: TempDir,
    child: Child,
    before: Option<Snapshot>,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hull-ctr-").tempdir().expect("a directory");
        let exec_root = tempfile::Builder::new().prefix("s").rand_bytes(4).tempdir_in("/run");
        let exec_root = exec_root.expect("a directory in /run");
        // Directories that every container of this root shares.
        for dir in ["shim", "runtime", "vm"] {
            fs::create_dir(exec_root.path().join(dir)).expect("a directory");
        }
        let config = dir.path().join("config.toml");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{}\"\n\
             [debug]\nlevel = \"warn\"\n",
            path("root"),
            path("state"),
            path("c.sock")
        );
        fs::write(&config, text).expect("a file");
        let shim = program("containerd-shim-hull-v2");
        let programs = shim.parent().expect("it is in a directory").display();
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default()))
            .env("HULL_EXEC_ROOT", exec_root.path())
            .env("HULL_DATA_ROOT", dir.path().join("data"))
            .envs(guest())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("log")).expect("a file"))
            .spawn()
            .expect("Debian's containerd is installed");
        let mut containerd = Self { dir, exec_root, child, before: None };
        containerd.import();
        containerd.before = Some(containerd.snapshot());
        containerd
    }

    fn import(&self) {
        let layout = self.dir.path().join("layout");
        let archive = self.dir.path().join("busybox.tar").display().to_string();
        let layout = layout.display().to_string();
        output(&source().join("scripts/busybox-image.sh").display().to_string(), &[&layout]);
        output("tar", &["-C", &layout, "-cf", &archive, "."]);
        eventually("containerd answers", || self.ctr(&["version"]).code == 0);
        self.ctr(&["image", "import", "--base-name", "docker.io/hull/busybox", &archive]).ok();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.dir.path().join("c.sock")).args(args);
        ctr
    }

    #[track_caller]
    fn ctr(&self, args: &[&str]) -> Ran {
        run(self.command(args), b"")
    }

    /// `ctr run` of our runtime with `flags`, then the id and the program.
    fn run(&self, flags: &[&str], id: &str, args: &[&str]) -> Command {
        let mut all = vec!["run", "--runtime", "io.containerd.hull.v2"];
        all.extend(flags);
        all.extend([IMAGE, id]);
        all.extend(args);
        self.command(&all)
    }

    fn bundle(&self, id: &str) -> PathBuf {
        self.dir.path().join("state/io.containerd.runtime.v2.task/default").join(id)
    }

    fn places<'a>(&'a self, netns: &'a File) -> Places<'a> {
        let data_root: &Path = self.dir.path();
        Places { exec_root: self.exec_root.path(), data_root, netns, known: vec![self.child.id()] }
    }

    fn snapshot(&self) -> Snapshot {
        let netns = File::open("/proc/self/ns/net").expect("proc is mounted");
        Snapshot::take(&self.places(&netns))
    }

    #[track_caller]
    fn nothing_is_left(&self, id: &str) {
        let netns = File::open("/proc/self/ns/net").expect("proc is mounted");
        let before = self.before.as_ref().expect("taken at the start");
        let left = before.added_since(&self.places(&netns));
        let others = |line: &String| line.starts_with("cgroup ");
        let left: Vec<_> = left.into_iter().filter(|line| !others(line)).collect();
        assert!(left.is_empty(), "left behind: {left:#?}");
        // containerd removes it after it has told its clients.
        eventually("the bundle is gone", || !self.bundle(id).exists());
        for cgroup in ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let path = Path::new(cgroup).join("default").join(id);
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}

/// Where a VM's kernel is, for the shims.
fn guest() -> Vec<(&'static str, PathBuf)> {
    if !has_kernel() {
        return Vec::new();
    }
    let (kernel, modules) = kernel();
    // To probe for KVM takes longer than the cases.
    vec![("HULL_VM_KERNEL", kernel), ("HULL_VM_MODULES", modules), ("HULL_VM_ACCEL", "tcg".into())]
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- containerd:\n{log}---");
        }
        let list = self.ctr(&["task", "ls", "-q"]);
        for id in list.out.split_whitespace() {
            let _ = self.ctr(&["task", "rm", "-f", id]);
        }
        // It was not waited for, so the number is its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let root = self.dir.path().join("root/io.containerd.snapshotter.v1.overlayfs");
        let _ = fs::remove_dir_all(root);
    }
}

#[test]
fn ctr_runs_a_container() {
    let containerd = Containerd::start();
    let ran = run(containerd.run(&["--rm"], "one", &["echo", "hello"]), b"");
    assert_eq!(ran.ok(), "hello");
    containerd.nothing_is_left("one");
    let ran = run(containerd.run(&["--rm"], "two", &["sh", "-c", "echo no >&2; exit 7"]), b"");
    assert_eq!(ran.fails(7), "no");
    containerd.nothing_is_left("two");
    let ran = run(containerd.run(&["--rm"], "in", &["cat"]), b"typed\n");
    assert_eq!(ran.ok(), "typed");
    let error = run(containerd.run(&["--rm"], "lost", &["/nowhere"]), b"");
    assert!(error.code != 0 && error.err.contains("/nowhere"), "{error}");
    containerd.nothing_is_left("lost");
}

#[test]
fn ctr_sees_execs_signals_and_pauses() {
    let containerd = Containerd::start();
    let mut events = Running::start(containerd.command(&["events"]));
    run(containerd.run(&["-d"], "web", &["sleep", "1000"]), b"").ok();
    assert!(containerd.ctr(&["task", "ls"]).ok().contains("RUNNING"));
    let exec = ["task", "exec", "--exec-id", "e", "web", "sh", "-c", "echo inside; exit 4"];
    let ran = containerd.ctr(&exec);
    assert_eq!((ran.code, ran.out.trim()), (4, "inside"), "{ran}");
    pauses_resumes_and_goes(&containerd, "web");

    let seen = events.out.expect("/tasks/delete");
    let topics = ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed"];
    for topic in topics {
        assert!(seen.contains(&format!("/tasks/{topic} ")), "{topic} is missing: {seen}");
    }
    let place = |topic: &str| seen.find(&format!("/tasks/{topic} ")).expect("checked above");
    assert!(place("create") < place("start") && place("start") < place("exit"), "{seen}");
    events.close_stdin();
}

/// The rest of a running task's life.
#[track_caller]
fn pauses_resumes_and_goes(containerd: &Containerd, id: &str) {
    containerd.ctr(&["task", "pause", id]).ok();
    assert!(containerd.ctr(&["task", "ls"]).ok().contains("PAUSED"));
    containerd.ctr(&["task", "resume", id]).ok();
    assert!(containerd.ctr(&["task", "ps", id]).ok().lines().count() >= 2);
    containerd.ctr(&["task", "kill", "-s", "SIGKILL", id]).ok();
    eventually("the task has stopped", || containerd.ctr(&["task", "ls"]).out.contains("STOPPED"));
    let ran = containerd.ctr(&["task", "rm", id]);
    assert!(ran.code == 0 || ran.code == 137, "{ran}");
    containerd.ctr(&["container", "rm", id]).ok();
    containerd.nothing_is_left(id);
}

#[test]
fn ctr_gives_a_terminal() {
    let containerd = Containerd::start();
    // ctr tells the size after the start.
    let script = "until [ -n \"$(stty size)\" ]; do sleep 0.1; done; stty size; tty";
    let command = containerd.run(&["--rm", "-t"], "tty", &["sh", "-c", script]);
    let pty = Pty::start(&command, 33, 111);
    let seen = pty.screen.expect("/dev/");
    assert!(seen.contains("33 111") && seen.contains("/dev/"), "{seen}");
    pty.wait();
    containerd.nothing_is_left("tty");
}

#[test]
fn ctr_runs_a_container_in_a_vm() {
    if !has_kernel() {
        println!("skipped: no kernel for guests, see make vm-kernel");
        return;
    }
    let containerd = Containerd::start();
    let vm = ["--annotation", "dev.hull.isolation=hyperv"];
    let script = "uname -r; echo to stderr >&2; exit 7";
    let once = [&["--rm"], &vm[..]].concat();
    let ran = run(containerd.run(&once, "one", &["sh", "-c", script]), b"");
    assert_eq!((ran.code, ran.err.trim()), (7, "to stderr"), "{ran}");
    assert_eq!(Some(ran.out.trim()), guest_release().as_deref(), "the guest's kernel");
    containerd.nothing_is_left("one");
    assert_eq!(run(containerd.run(&once, "in", &["cat"]), b"typed\n").ok(), "typed");

    let detached = [&["-d"], &vm[..]].concat();
    run(containerd.run(&detached, "web", &["sleep", "1000"]), b"").ok();
    let exec = ["task", "exec", "--exec-id", "e", "web", "sh", "-c", "uname -r; exit 4"];
    let ran = containerd.ctr(&exec);
    assert_eq!((ran.code, Some(ran.out.trim())), (4, guest_release().as_deref()), "{ran}");
    pauses_resumes_and_goes(&containerd, "web");
    a_directory_is_a_root_in_a_vm(&containerd);
}

/// As containerd's CRI plugin has it: the first container is the pod's, the others name it and join it.
#[test]
fn containers_of_a_pod_share_a_shim_and_a_wall() {
    let containerd = Containerd::start();
    let mut walls = vec!["process"];
    walls.extend(has_kernel().then_some("hyperv"));
    for wall in walls {
        let isolation = format!("dev.hull.isolation={wall}");
        let in_pod = |kind: &str| {
            let kind = format!("io.kubernetes.cri.container-type={kind}");
            let all = ["-d", "--annotation", &isolation, "--annotation"].map(str::to_owned);
            let more =
                ["io.kubernetes.cri.sandbox-id=pod", "--annotation", &kind].map(str::to_owned);
            [all.to_vec(), more.to_vec()].concat()
        };
        let start = |id: &str, flags: &[String]| {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            run(containerd.run(&flags, id, &["sleep", "1000"]), b"").ok()
        };
        start("pod", &in_pod("sandbox"));
        let tasks = containerd.ctr(&["task", "ls"]).ok();
        let pod = tasks.lines().find(|line| line.starts_with("pod ")).expect("it runs");
        let pid = pod.split_whitespace().nth(1).expect("a number").to_owned();
        let joins = ["net:network", "ipc:ipc"].map(|pair| {
            let (name, typ) = pair.split_once(':').expect("two words");
            ["--with-ns".to_owned(), format!("{typ}:/proc/{pid}/ns/{name}")]
        });
        start("app", &[in_pod("container"), joins.concat()].concat());
        let look = "cat /proc/sys/kernel/random/boot_id; for n in net ipc mnt; do readlink \
                    /proc/self/ns/$n; done";
        let seen = ["pod", "app"].map(|id| {
            let exec = ["task", "exec", "--exec-id", "look", id, "sh", "-c", look];
            containerd.ctr(&exec).ok().lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let same: Vec<bool> = seen[0].iter().zip(&seen[1]).map(|(a, b)| a == b).collect();
        assert_eq!(same, [true, true, true, false], "{wall}: {seen:?}");
        let held = Path::new(&containerd.bundle("app")).join("shim.pid");
        assert!(!held.exists(), "{wall}: the pod's shim holds it");
        for id in ["app", "pod"] {
            containerd.ctr(&["task", "rm", "-f", id]);
            containerd.ctr(&["container", "rm", id]).ok();
        }
        containerd.nothing_is_left("app");
        containerd.nothing_is_left("pod");
    }
}

#[track_caller]
fn a_directory_is_a_root_in_a_vm(containerd: &Containerd) {
    let rootfs = containerd.dir.path().join("tree");
    for name in ["bin", "proc", "sys", "dev", "run"] {
        fs::create_dir_all(rootfs.join(name)).expect("a directory");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    fs::copy(busybox.expect("busybox-static"), rootfs.join("bin/sh")).expect("copied");
    let at = rootfs.display().to_string();
    let in_vm = |more: &[&str], id: &str, script: &str| {
        let mut all = vec!["run", "--runtime", "io.containerd.hull.v2", "--rm"];
        all.extend(["--annotation", "dev.hull.isolation=hyperv"]);
        all.extend(more);
        all.extend(["--rootfs", &at, id, "sh", "-c", script]);
        containerd.ctr(&all)
    };
    in_vm(&[], "dir", "echo written > /note && read line < /note && test $line = written").ok();
    assert_eq!(fs::read_to_string(rootfs.join("note")).expect("it is there"), "written\n");
    containerd.nothing_is_left("dir");
    assert_ne!(in_vm(&["--read-only"], "ro", "echo again > /note").code, 0);
    assert_eq!(fs::read_to_string(rootfs.join("note")).expect("it is there"), "written\n");
    let scratch = containerd.dir.path().join("data/vm/scratch");
    let left = fs::read_dir(scratch).into_iter().flatten().flatten();
    let left: Vec<_> =
        left.filter(|file| file.file_name().to_string_lossy().contains("unused")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The release of the kernel that guests have.
fn guest_release() -> Option<String> {
    let (kernel, _) = kernel();
    Some(kernel.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned())
}

#[test]
fn containerd_cleans_up_after_a_killed_shim() {
    let containerd = Containerd::start();
    run(containerd.run(&["-d"], "dead", &["sleep", "1000"]), b"").ok();
    let pid = fs::read_to_string(containerd.bundle("dead").join("shim.pid")).expect("a pid file");
    kill_9(pid.parse().expect("a number"));
    eventually("containerd has forgotten the task", || {
        !containerd.ctr(&["task", "ls", "-q"]).out.contains("dead")
    });
    containerd.ctr(&["container", "rm", "dead"]).ok();
    containerd.nothing_is_left("dead");
}
