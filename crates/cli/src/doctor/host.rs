//! Probes of the host itself.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, geteuid, getrlimit};
use spec::options::Options;

use super::{Finding, run};

/// The oldest kernel that has all that is used: its seccomp answers a call with a descriptor in one step.
const OLDEST: (u32, u32) = (5, 14);
/// Bytes below which an image or two fill the disk.
const LITTLE: u64 = 2 << 30;
/// Files that an engine with some hundred containers has open.
const FILES: u64 = 65_536;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether an error is that we are not root.
pub(super) fn for_root(error: &str) -> bool {
    let refused = ["not permitted", "denied", "root"].iter().any(|word| error.contains(word));
    refused && !geteuid().is_root()
}

/// What was refused to a user need not be missing for root.
fn untried(error: String, remedy: &str) -> Finding {
    if for_root(&error) {
        Finding::untried(error, "sudo hull doctor")
    } else {
        Finding::missing(error, remedy)
    }
}

pub(super) fn privileges(_: &Options) -> Finding {
    if geteuid().is_root() {
        Finding::works("root")
    } else {
        Finding::degraded("not root: some of what follows cannot be tried", "sudo hull doctor")
    }
}

/// The release of the host's kernel.
pub(super) fn release() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

pub(super) fn kernel(_: &Options) -> Finding {
    let release = release();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release}");
    if version >= OLDEST {
        return Finding::works(found);
    }
    Finding::missing(
        found,
        format!("a kernel since {}.{}: apt install linux-image-amd64", OLDEST.0, OLDEST.1),
    )
}

pub(super) fn namespaces(_: &Options) -> Finding {
    let kinds = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"];
    let lacks = |kind: &&&str| !Path::new("/proc/self/ns").join(kind).exists();
    let missing: Vec<&str> = kinds.iter().filter(lacks).copied().collect();
    if !missing.is_empty() {
        return Finding::missing(
            format!("the kernel has no {} namespaces", missing.join(", ")),
            "a distribution's kernel: apt install linux-image-amd64",
        );
    }
    match run("unshare", &["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "true"]) {
        Ok(_) => Finding::works("all eight, and new ones can be made"),
        Err(error) => untried(error, "sudo hull doctor; in a container: --privileged"),
    }
}

pub(super) fn cgroups(_: &Options) -> Finding {
    let wanted = ["cpu", "cpuset", "memory", "pids", "io"];
    let unified = read("/sys/fs/cgroup/cgroup.controllers");
    let (version, has): (_, Vec<String>) = if unified.is_empty() {
        let table = read("/proc/cgroups");
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        let on = rows.filter(|line| line.ends_with("\t1"));
        let names = on.filter_map(|line| line.split('\t').next());
        ("1", names.map(|name| if name == "blkio" { "io" } else { name }.to_owned()).collect())
    } else {
        ("2", unified.split_whitespace().map(str::to_owned).collect())
    };
    let missing: Vec<&str> =
        wanted.iter().filter(|name| !has.iter().any(|own| own == *name)).copied().collect();
    if missing.is_empty() {
        return Finding::works(format!("version {version}, every controller"));
    }
    Finding::degraded(
        format!("version {version} without {}: no limits of these", missing.join(", ")),
        "boot with cgroup_enable=memory swapaccount=1 (GRUB_CMDLINE_LINUX), then update-grub",
    )
}

pub(super) fn seccomp(_: &Options) -> Finding {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    if actions.contains("user_notif") {
        Finding::works("filters and notifications")
    } else {
        Finding::missing("the kernel has no seccomp notifications", "a kernel since 5.0")
    }
}

/// Mounts one, where nobody else sees it.
pub(super) fn overlay(_: &Options) -> Finding {
    let script = "mount -t tmpfs hull /mnt && cd /mnt && mkdir a b c d \
        && mount -t overlay -o lowerdir=a,upperdir=b,workdir=c hull d && touch d/x && test -e b/x";
    match run("unshare", &["--mount", "sh", "-c", script]) {
        Ok(_) => Finding::works("mounted and written to"),
        Err(error) => untried(error, "sudo modprobe overlay"),
    }
}

/// Asks for a rule set in a network of its own.
pub(super) fn packet_filter(_: &Options) -> Finding {
    let script = "nft add table inet hull-doctor && nft list tables";
    match run("unshare", &["--net", "sh", "-c", script]) {
        Ok(_) => Finding::works("nftables take a table"),
        Err(error) => untried(error, "sudo apt install nftables"),
    }
}

/// Rules of others that drop what is forwarded.
pub(super) fn firewalls(_: &Options) -> Finding {
    let rules = match run("nft", &["list", "chains"]) {
        Ok(rules) => rules,
        Err(error) => return untried(error, "sudo apt install nftables"),
    };
    let dropped =
        rules.lines().any(|line| line.contains("hook forward") && line.contains("policy drop"));
    if dropped {
        return Finding::degraded(
            "a chain drops what is forwarded (docker, ufw or firewalld): containers may not get out",
            "sudo iptables -I FORWARD -i hull0 -j ACCEPT; sudo iptables -I FORWARD -o hull0 -j ACCEPT",
        );
    }
    Finding::works("none that drops what is forwarded")
}

pub(super) fn disk(host: &Options) -> Finding {
    let mut place = host.data_root.as_path();
    while !place.exists() {
        place = place.parent().unwrap_or(Path::new("/"));
    }
    let free = match rustix::fs::statvfs(place) {
        Ok(stat) => stat.f_bavail * stat.f_frsize,
        Err(error) => return Finding::missing(format!("{}: {error}", place.display()), "mount it"),
    };
    let found = format!("{} free at {}", crate::units::bytes(free), host.data_root.display());
    if free < LITTLE {
        Finding::degraded(found, "hull system prune")
    } else {
        Finding::works(found)
    }
}

pub(super) fn open_files(_: &Options) -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    let found = limit.map_or("no limit".to_owned(), |limit| format!("at most {limit}"));
    match limit {
        Some(limit) if limit < FILES => {
            Finding::degraded(found, format!("ulimit -n {FILES}; hulld.service sets its own"))
        }
        _ => Finding::works(found),
    }
}
