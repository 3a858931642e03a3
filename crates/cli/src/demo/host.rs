//! What the host has of a container: processes, and everything that would be left behind.

use std::fs;
use std::path::Path;

use serde_json::Value;

fn read(pid: u64, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A line's words behind its name, in a file as `/proc/PID/status`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// The release of the kernel that runs here.
pub(super) fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// The processes that belong together with one: numbers and names. For a container's init these are all of its
/// namespace; for a machine's worker, which is in the host's, what else its supervisor has started.
pub(super) fn family(pid: u64) -> Vec<(u64, String)> {
    let space = |pid: u64| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let parent = |pid: u64| field(&read(pid, "status"), "PPid:");
    let (own, supervisor) = (space(pid), parent(pid));
    let apart = own != space(std::process::id().into());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let same = pids.filter(|other| space(*other) == own && (apart || parent(*other) == supervisor));
    same.map(|pid| (pid, read(pid, "comm").trim().to_owned())).collect()
}

/// A process's number in its innermost namespace. See proc_pid_status(5), `NSpid`.
pub(super) fn innermost(pid: u64) -> String {
    let numbers = field(&read(pid, "status"), "NSpid:").unwrap_or_default();
    numbers.split_whitespace().last().unwrap_or("none").to_owned()
}

/// Bytes of memory of a process that are in use, shared ones too.
pub(super) fn resident(pid: u64) -> u64 {
    let size = field(&read(pid, "status"), "VmRSS:").unwrap_or_default();
    let kilobytes = size.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// A variable of a process's environment.
pub(super) fn variable(pid: u64, name: &str) -> Option<String> {
    let all = read(pid, "environ");
    all.split('\0').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// What is still there of a container that was removed.
pub(super) fn traces(id: &str, pid: u64, info: &Value) -> Vec<String> {
    let engine = info["Hull"]["Pid"].as_u64().unwrap_or_default();
    let root = info["DockerRootDir"].as_str().unwrap_or_default();
    let record = Path::new(root).join("containers").join(id);
    let mut left = Vec::new();
    let mut look = |there: bool, what: String| {
        if there {
            left.push(what);
        }
    };
    look(read(pid, "cgroup").contains(id), format!("process {pid}"));
    look(read(engine, "mountinfo").contains(id), "a mount".into());
    look(read(engine, "net/unix").contains(id), "a socket".into());
    look(record.exists(), record.display().to_string());
    for group in groups(id) {
        look(true, group);
    }
    left
}

/// Control groups that are named for a container, in the trees that are mounted.
fn groups(id: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let trees = table.lines().filter(|line| line.contains(" - cgroup"));
    let trees = trees.filter_map(|line| line.split(' ').nth(4));
    let groups = trees.map(|tree| format!("{tree}/hull/{id}"));
    groups.filter(|group| Path::new(group).exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_as_it_is() {
        let own = u64::from(std::process::id());
        assert!(family(own).iter().any(|(pid, _)| *pid == own));
        assert!(resident(own) > 1 << 20);
        assert_eq!(variable(own, "DEMO_ABSENT"), None);
        assert_eq!(field("A:\t1 2\nNSpid:\t9\t1\n", "NSpid:").as_deref(), Some("9\t1"));
    }
}
