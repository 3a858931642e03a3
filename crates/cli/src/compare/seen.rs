//! What the host sees of a container: by its `/proc`, and by the configuration that the engine wrote.
//!
//! Both walls are looked at in the same way. The process that the engine names is the container's init or
//! the virtual machine's worker; its parent is the shim, which with all its descendants is what the host
//! spends on the container.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::Error;

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/// File systems whose files are nobody's: the kernel makes them.
const VIRTUAL: [&str; 8] =
    ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs"];

/// Adds to `side` what is seen of the container that was inspected.
pub(super) fn look(inspected: &Value, info: &Value, side: &mut Value) -> Result<(), Error> {
    let pid = inspected["State"]["Pid"].as_u64().unwrap_or_default();
    let engine = info["Hull"]["Pid"].as_u64().unwrap_or_default();
    let all = table();
    let Some((_, shim, _)) = all.iter().find(|(own, ..)| *own == pid) else {
        let why = format!("process {pid} is not on this host, where the engine says it is");
        return Err(Error::Compare(why));
    };
    let family = family(&all, *shim);
    let processes: Vec<_> =
        family.iter().map(|(pid, name)| json!({ "pid": pid, "name": name })).collect();
    side["processes"] = json!(processes);
    side["memoryBytes"] = json!(family.iter().map(|(pid, _)| share(*pid)).sum::<u64>());
    side["ownNamespaces"] = json!(own_namespaces(pid, engine));
    side["hostFilters"] = json!(field(&read(pid, "status"), "Seccomp_filters:"));
    side["hostMounts"] = json!(host_mounts(&read(pid, "mountinfo")));
    let beneath: Vec<u64> = family.iter().map(|(pid, _)| *pid).filter(|pid| pid != shim).collect();
    side["open"] = open(&beneath);
    side["filter"] = filter(inspected, info, side["kernel"].as_str().unwrap_or_default())?;
    Ok(())
}

fn read(pid: u64, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The number behind a name, at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Every process: its number, its parent's, its name.
fn table() -> Vec<(u64, u64, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    pids.filter_map(|pid| {
        let (parent, name) = parse(&read(pid, "stat"))?;
        Some((pid, parent, name))
    })
    .collect()
}

/// Parent and name of a process. The name may hold anything. See proc_pid_stat(5).
fn parse(stat: &str) -> Option<(u64, String)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    Some((tail.split_whitespace().nth(1)?.parse().ok()?, name.to_owned()))
}

/// A process and its descendants.
fn family(all: &[(u64, u64, String)], root: u64) -> Vec<(u64, String)> {
    let mut found: Vec<(u64, String)> = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        let name = all.iter().find(|(own, ..)| *own == pid).map(|(.., name)| name.clone());
        found.push((pid, name.unwrap_or_default()));
        next.extend(all.iter().filter(|(_, parent, _)| *parent == pid).map(|(own, ..)| *own));
    }
    found
}

/// Bytes of memory of a process; what it shares counts in parts.
fn share(pid: u64) -> u64 {
    field(&read(pid, "smaps_rollup"), "Pss:") * 1024
}

fn own_namespaces(pid: u64, engine: u64) -> Vec<&'static str> {
    let link = |pid: u64, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let own = |kind: &&str| link(pid, kind) != link(engine, kind);
    NAMESPACES.into_iter().filter(own).collect()
}

/// Mounts behind which are files of the host, and not the kernel's. See proc_pid_mountinfo(5).
fn host_mounts(mountinfo: &str) -> usize {
    let kinds = mountinfo.lines().filter_map(|line| {
        let (_, tail) = line.split_once(" - ")?;
        tail.split(' ').next()
    });
    kinds.filter(|kind| !VIRTUAL.contains(kind)).count()
}

fn open(pids: &[u64]) -> Value {
    let (mut files, mut sockets, mut others) = (0, 0, 0);
    for pid in pids {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for link in entries.filter_map(|entry| fs::read_link(entry.path()).ok()) {
            match link.to_string_lossy().as_ref() {
                text if text.starts_with("socket:") => sockets += 1,
                text if text.starts_with('/') => files += 1,
                _ => others += 1,
            }
        }
    }
    json!({ "files": files, "sockets": sockets, "others": others })
}

/// The names of system calls that the container's filter allows, with or without conditions.
fn filter(inspected: &Value, info: &Value, kernel: &str) -> Result<Value, Error> {
    let root = info["DockerRootDir"].as_str().unwrap_or_default();
    let id = inspected["Id"].as_str().unwrap_or_default();
    let path = Path::new(root).join("containers").join(id).join("config.json");
    let text = fs::read(&path).map_err(Error::file(path.display().to_string()))?;
    let config: Value = serde_json::from_slice(&text).unwrap_or_default();
    let rules = config["linux"]["seccomp"]["syscalls"].as_array();
    let rules = rules.into_iter().flatten().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    let names = rules.flat_map(|rule| rule["names"].as_array().into_iter().flatten());
    let names: BTreeSet<&str> = names.filter_map(Value::as_str).collect();
    Ok(json!({ "allowed": names.len(), "of": kernel }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_no_parent() {
        assert_eq!(parse("7 (a) b) S 3 7 7 0"), Some((3, "a) b".into())));
        assert_eq!(parse("7"), None);
    }

    #[test]
    fn a_family_is_a_process_and_all_beneath_it() {
        let of = |pid: u64, parent: u64| (pid, parent, pid.to_string());
        let all = [of(1, 0), of(2, 1), of(3, 2), of(4, 1), of(5, 3)];
        let pids: Vec<u64> = family(&all, 2).into_iter().map(|(pid, _)| pid).collect();
        assert_eq!(pids, [2, 3, 5]);
    }

    #[test]
    fn only_mounts_with_files_of_a_disk_are_the_hosts() {
        let text = "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw - proc proc rw\n\
                    3 1 8:1 /x /etc/hosts rw shared:1 - ext4 /dev/a rw\n";
        assert_eq!(host_mounts(text), 2);
    }
}
