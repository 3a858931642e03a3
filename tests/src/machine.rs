//! Where an engine runs: mount and network namespaces of its own, with its own `/run` and `/dev/shm`.
//!
//! What an engine mounts is seen nowhere else, and a process that holds the namespaces ends with the
//! case; what then still runs, or has a cgroup, was left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::command::{Ran, Running, run};
use crate::programs::{program, source};
use tempfile::TempDir;

/// What the namespaces' holder does before it waits for its input to end. The host's mounts stay
/// visible, but for what engines share by fixed paths. Among the cgroup hierarchies only those are seen
/// that are mounted: podman takes any directory for one.
const SETUP: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm &&
    mkdir /run/all && mount --rbind /sys/fs/cgroup /run/all &&
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup && cd /run/all && for one in *; do
        if mountpoint -q $one; then
            mkdir /sys/fs/cgroup/$one && mount --bind $one /sys/fs/cgroup/$one
        fi
    done && cd / && umount -l /run/all && rmdir /run/all &&
    ip link set lo up && echo ready && cat";

/// How long the last of what ends by itself may take.
const SETTLE: Duration = Duration::from_secs(10);

/// The namespaces, a scratch directory and a name that nobody else uses.
pub struct Machine {
    holder: Running,
    scratch: TempDir,
    /// For cgroups and containerd's namespace.
    pub name: String,
}

impl Machine {
    /// A fresh one; `None` without root.
    pub fn new() -> Option<Self> {
        Self::beneath(&std::env::temp_dir())
    }

    /// The same, with its scratch directory beneath `dir`.
    pub fn beneath(dir: &Path) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--net", "--propagation", "private", "sh", "-c", SETUP]);
        let holder = Running::start(holder);
        holder.out.expect("ready");
        let scratch = TempDir::with_prefix_in("hull-engine-", dir).expect("a scratch directory");
        Some(Self { holder, scratch, name: format!("hull-engine-{}-{number}", std::process::id()) })
    }

    /// The scratch directory's file `name`.
    pub fn at(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }

    /// `program` in the namespaces.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.pid().to_string(), "--mount", "--net"]);
        command.arg(program);
        command
    }

    /// A path of the namespaces as the harness reaches it.
    pub fn seen(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.holder.pid().to_string()).join("root").join(&path[1..])
    }

    /// The sample image as an archive that an engine loads: `oci-archive` or `docker-archive`.
    pub fn archive(&self, kind: &str, name: &str) -> String {
        let layout = self.at("layout");
        let mut build = Command::new(source().join("scripts/busybox-image.sh"));
        build.arg(&layout);
        run(build, b"").ok();
        let archive = self.at("image.tar");
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "-q", &format!("oci:{layout}:latest")]);
        copy.arg(format!("{kind}:{archive}:{name}"));
        run(copy, b"").ok();
        archive
    }

    /// What `hull-runtime list` knows beneath `root`.
    #[track_caller]
    fn listed(&self, root: &str) -> Vec<String> {
        let mut list = self.command(runtime());
        list.args(["--root", root, "list", "--quiet"]);
        run(list, b"").ok().lines().map(|id| format!("container {id}")).collect()
    }

    /// Panics when something of any container is left: `root` is where the runtime keeps its state.
    #[track_caller]
    pub fn nothing_is_left(&self, root: &str) {
        let deadline = Instant::now() + SETTLE;
        loop {
            let mut left = self.listed(root);
            left.extend(self.cgroups().into_iter().flat_map(|parent| children(&parent)));
            left.extend(self.mounts());
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Mounts of containers' root filesystems. Podman mounts the directory of all of them on itself, and leaves that
    /// when two of its processes end at once.
    fn mounts(&self) -> Vec<String> {
        let table = format!("/proc/{}/mountinfo", self.holder.pid());
        let table = fs::read_to_string(table).expect("the holder lives");
        let ours = |line: &&str| line.contains(&self.at("")) && line.contains(" - overlay ");
        table.lines().filter(ours).map(|line| format!("mount {line}")).collect()
    }

    /// The cgroup above this machine's containers, in every hierarchy.
    fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = directories(Path::new("/sys/fs/cgroup"));
        let all = hierarchies.into_iter().map(|hierarchy| hierarchy.join(&self.name));
        all.filter(|path| path.exists()).collect()
    }

    /// Removes what is empty beneath this machine's cgroup in one hierarchy.
    pub fn remove_cgroups(&self, hierarchy: &str) {
        for child in directories(&Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.name)) {
            remove_cgroup(&child);
        }
    }

    /// Processes that the engine's end should have ended: those in its cgroups, and those that name
    /// the scratch directory.
    fn processes(&self) -> Vec<(u32, String)> {
        let read = |pid: u32, file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let scratch = self.scratch.path().display().to_string();
        let ours = |pid: u32| {
            read(pid, "cgroup").contains(&self.name) || read(pid, "cmdline").contains(&scratch)
        };
        let entries = fs::read_dir("/proc").expect("proc is mounted").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| ours(*pid)).map(|pid| (pid, read(pid, "cmdline"))).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let deadline = Instant::now() + SETTLE;
        let mut left = self.processes();
        while !left.is_empty() && Instant::now() < deadline && !std::thread::panicking() {
            std::thread::sleep(Duration::from_millis(50));
            left = self.processes();
        }
        for (pid, _) in &left {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("not zero");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // The cgroup above the containers is the engine's to keep, and ours to remove.
        for parent in self.cgroups() {
            remove_cgroup(&parent);
        }
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

/// The program under test.
pub fn runtime() -> PathBuf {
    fs::canonicalize(program("hull-runtime")).expect("it exists")
}

/// Every word is in the text.
#[track_caller]
pub fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing: {text}");
    }
}

/// What a program printed, without its line ends.
pub fn lines(ran: Ran) -> Vec<String> {
    ran.ok().lines().map(|line| line.trim().to_owned()).collect()
}

/// Cgroups of containers; podman's monitors keep one of their own.
fn children(parent: &Path) -> Vec<String> {
    let all = directories(parent);
    let containers = all.iter().filter(|path| !path.ends_with("conmon"));
    containers.map(|path| format!("cgroup {}", path.display())).collect()
}

/// Removes a cgroup with those in it; one in use stays.
fn remove_cgroup(cgroup: &Path) {
    for child in directories(cgroup) {
        remove_cgroup(&child);
    }
    let _ = fs::remove_dir(cgroup);
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}
