//! Which piercings are to be thought about twice, and why.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

pub(super) const NETWORK: &str = "it sees and uses every interface and port of the host";
pub(super) const IPC: &str = "it reads and writes the shared memory of the host's programs";
pub(super) const PID: &str = "it sees and signals the host's programs, and reads their environment";
pub(super) const UTS: &str = "with CAP_SYS_ADMIN it renames the host";
pub(super) const CGROUP: &str = "it sees the control groups of the whole host";
pub(super) const PRIVILEGED: &str = "nothing keeps it from becoming root on the host";
pub(super) const PRIVILEGED_GUEST: &str =
    "nothing keeps it from taking over the guest's kernel: the VM alone is between it and the host";
pub(super) const SECCOMP: &str = "every system call of the host's kernel can be made";
pub(super) const PATH: &str = "it is the kernel of the host that this shows or changes";
pub(super) const DISK: &str = "it reads and writes the disk beneath all file systems and rights";

/// Sockets by which engines are driven: who has one is root on the host.
const ENGINES: [&str; 6] =
    ["docker.sock", "hull.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock"];
/// Directories that hold such sockets, or what the host is made of.
const VITAL: [&str; 8] = ["/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var"];
/// Those whose parts are as dangerous: all of them, written or not.
const WHOLLY: [&str; 4] = ["/boot", "/proc", "/sys", "/root/.ssh"];
/// Those that are harmless unless they are written.
const PROGRAMS: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/usr/bin", "/usr/lib"];
/// Capabilities that lead out of a container on the host's kernel, or stop the host.
const CAPABILITIES: [&str; 11] = [
    "CAP_BPF",
    "CAP_DAC_READ_SEARCH",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_PERFMON",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
];

/// Of a bind of `source`, symlinks resolved. `roots` are the engine's own directories.
pub(super) fn of_bind(source: &Path, writable: bool, roots: &[&Path]) -> Option<&'static str> {
    let is = |list: &[&str]| list.iter().any(|path| source == Path::new(path));
    let beneath = |list: &[&str]| list.iter().any(|path| source.starts_with(path));
    let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if source == Path::new("/") {
        return Some("these are all files of the host");
    }
    if ENGINES.contains(&name) {
        return Some("whoever drives an engine is root on the host");
    }
    if roots.iter().any(|root| source.starts_with(root) || root.starts_with(source)) {
        return Some("these are the engine's own files: other containers, images, records");
    }
    if is(&VITAL) || beneath(&WHOLLY) {
        return Some("what is here makes up the host, or tells its secrets");
    }
    (writable && (is(&PROGRAMS) || beneath(&["/etc"])))
        .then_some("what is written here is executed or believed by the host")
}

/// Of a device at `path` of the host.
pub(super) fn of_device(path: &Path) -> Option<&'static str> {
    let found = fs::metadata(path).ok()?.file_type();
    if found.is_block_device() {
        return Some(DISK);
    }
    let memory = ["/dev/mem", "/dev/kmem", "/dev/port"].iter().any(|one| path == Path::new(one));
    if memory {
        return Some("this is the memory of the host");
    }
    (found.is_dir() && path == Path::new("/dev")).then_some("these are all devices of the host")
}

/// Of a rule for devices.
pub(super) fn of_rule(rule: &str) -> Option<&'static str> {
    rule.starts_with(['a', 'b'])
        .then_some("with a node of its own making it reaches disks of the host")
}

/// Of a capability.
pub(super) fn of_capability(name: &str) -> Option<&'static str> {
    CAPABILITIES.contains(&name).then_some("it leads out of the container, or stops the host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_is_made_of_is_risky_to_bind() {
        let roots = [Path::new("/var/lib/hull"), Path::new("/run/hull")];
        let cases = [
            ("/", false, true),
            ("/etc", false, true),
            ("/etc/localtime", false, false),
            ("/etc/cron.d", true, true),
            ("/proc", false, true),
            ("/sys/kernel", false, true),
            ("/run/docker.sock", true, true),
            ("/run/user/1000/podman/podman.sock", true, true),
            ("/var/lib/hull/volumes", false, true),
            ("/var/lib", false, true),
            ("/usr/bin", false, false),
            ("/usr/bin", true, true),
            ("/usr/share/zoneinfo", false, false),
            ("/srv/www", true, false),
            ("/home/me/project", true, false),
            ("/dev/shm/x", true, false),
        ];
        for (source, writable, want) in cases {
            let got = of_bind(Path::new(source), writable, &roots);
            assert_eq!(got.is_some(), want, "{source} {writable}: {got:?}");
        }
    }

    #[test]
    fn rules_and_capabilities_are_told_apart() {
        assert!(of_rule("b 7:* rwm").is_some() && of_rule("a *:* r").is_some());
        assert_eq!(of_rule("c 1:3 r"), None);
        assert!(of_capability("CAP_SYS_ADMIN").is_some());
        assert_eq!(of_capability("CAP_NET_ADMIN"), None);
    }
}
