//! What is on the machine before and after, and so what was left behind.
//!
//! Looked at: processes, mounts, cgroups of every hierarchy, links of the test's network namespace,
//! and all files (so sockets and pinned namespaces) beneath the engine's roots. Other engines on the
//! same machine do not disturb: what is theirs is told by its paths or its ancestors.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sys::netlink::Netlink;

/// How long the last of what ends by itself may take.
const SETTLE: Duration = Duration::from_secs(10);

/// Where to look.
#[derive(Debug)]
pub struct Places<'a> {
    /// The engine's `--exec-root`.
    pub exec_root: &'a Path,
    /// The engine's `--data-root`.
    pub data_root: &'a Path,
    /// The network namespace that it runs in.
    pub netns: &'a fs::File,
    /// Processes that belong to the harness.
    pub known: Vec<u32>,
}

/// What was there at one moment, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks now.
    pub fn take(places: &Places<'_>) -> Self {
        let mut found = BTreeSet::new();
        found.extend(processes(places));
        found.extend(mounts(places));
        found.extend(cgroups(places));
        found.extend(links(places));
        let roots = [places.exec_root.to_owned(), places.data_root.join("containers")];
        for root in roots {
            // A template is kept for others like it, and its lock with it.
            let template = |path: &PathBuf| path.parent() == Some(&*places.exec_root.join("vm"));
            let files = files(&root).into_iter().filter(|path| !template(path));
            found.extend(files.map(|path| format!("file {}", path.display())));
        }
        Self(found)
    }

    /// Looks until nothing is there beyond what `self` saw; gives what still is after [`SETTLE`].
    pub fn added_since(&self, places: &Places<'_>) -> Vec<String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let added: Vec<_> = Self::take(places).0.difference(&self.0).cloned().collect();
            if added.is_empty() || Instant::now() > deadline {
                return added;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Places<'_> {
    fn mentioned_in(&self, text: &str) -> bool {
        [self.exec_root, self.data_root].iter().any(|root| text.contains(&*root.to_string_lossy()))
    }

    /// Whether the process or one that made it was told of our roots.
    fn began(&self, pid: u32) -> bool {
        lineage(pid).any(|pid| {
            ["cmdline", "environ"].iter().any(|file| self.mentioned_in(&proc_file(pid, file)))
        })
    }
}

/// The process, its parent and so on, init left out.
fn lineage(pid: u32) -> impl Iterator<Item = u32> {
    let parent = |pid: u32| {
        let status = proc_file(pid, "status");
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
    };
    std::iter::successors(Some(pid), move |pid| parent(*pid)).take_while(|pid| *pid > 1)
}

fn proc_file(pid: u32, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// All processes of the machine.
pub(crate) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("proc is mounted");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Processes that our engine began, or that are in a container whose maker is gone.
pub(crate) fn processes(places: &Places<'_>) -> Vec<String> {
    let harness = std::process::id();
    pids()
        .into_iter()
        .filter(|pid| !lineage(*pid).any(|pid| pid == harness) || engine_made(*pid, places))
        .filter(|pid| !places.known.contains(pid) && *pid != harness)
        .filter(|pid| places.began(*pid) || is_orphan(*pid))
        .map(|pid| format!("process {pid} {} {}", name(pid), proc_file(pid, "cmdline")))
        .collect()
}

/// Processes called `name` that our engine began.
pub(crate) fn named(places: &Places<'_>, name: &str) -> Vec<u32> {
    pids().into_iter().filter(|pid| self::name(*pid) == name && places.began(*pid)).collect()
}

/// Whether a child of the harness is more than a client of it.
fn engine_made(pid: u32, places: &Places<'_>) -> bool {
    lineage(pid).skip(1).any(|pid| places.known.contains(&pid))
}

/// A process in a container's cgroup that nobody watches over.
fn is_orphan(pid: u32) -> bool {
    proc_file(pid, "cgroup").contains("/hull/")
        && lineage(pid).count() == 1
        && !name(pid).is_empty()
}

fn name(pid: u32) -> String {
    proc_file(pid, "comm").trim().to_owned()
}

fn mounts(places: &Places<'_>) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    let ours = table.lines().filter(|line| places.mentioned_in(line));
    ours.filter_map(|line| Some(format!("mount {}", line.split(' ').nth(4)?))).collect()
}

/// Cgroups of containers, but not those in which another engine's processes are.
fn cgroups(places: &Places<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for parent in cgroup_parents() {
        for cgroup in directories(&parent) {
            let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            let mut members = members.lines().filter_map(|line| line.parse().ok());
            if members.all(|pid| places.began(pid) || is_orphan(pid)) {
                found.push(format!("cgroup {}", cgroup.display()));
            }
        }
    }
    found
}

/// The cgroup above all engines' containers, in every hierarchy.
pub(crate) fn cgroup_parents() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = directories(root).into_iter().chain([root.to_owned()]);
    hierarchies.map(|hierarchy| hierarchy.join("hull")).collect()
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

fn links(places: &Places<'_>) -> Vec<String> {
    let links = sys::netns::within(places.netns.as_fd(), || Netlink::open()?.links());
    let links = links.expect("the namespace is there");
    links.into_iter().map(|link| format!("link {}", link.name)).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}
