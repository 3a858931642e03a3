//! What this crate can do, for runtimes to tell: found by trying where the code decides, so that it
//! does not say more than is there.
//!
//! "Can" is about this program: a host may lack what it takes.
//!
//! Spec: OCI runtime-spec, features.md, features-linux.md.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use spec::oci::runtime::{LinuxNamespace, LinuxSeccomp};

use crate::namespace::Namespaces;
use crate::seccomp::Filter;
use crate::{capability, rootfs};

/// Security modules whose labels are applied.
const APPARMOR: bool = true;
const SELINUX: bool = true;
/// Cgroups by way of systemd, the machine's and a user's.
const SYSTEMD: bool = false;
const SYSTEMD_USER: bool = false;
/// `linux.resources.rdma`, `linux.intelRdt`, `linux.netDevices`, id-mapped mounts.
const RDMA: bool = true;
const INTEL_RDT: bool = true;
const NET_DEVICES: bool = false;
const MAPPED_MOUNTS: bool = true;

/// The features document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: [&'static str; 6],
    mount_options: Vec<&'static str>,
    linux: Linux,
    /// Facts beyond the specification's.
    pub annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<&'static str>,
    capabilities: Vec<String>,
    cgroup: BTreeMap<&'static str, bool>,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: Enabled,
    mount_extensions: BTreeMap<&'static str, Enabled>,
    net_devices: Enabled,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: &'static [&'static str],
    supported_flags: Vec<&'static str>,
}

impl Features {
    /// What there is on this machine.
    pub fn find() -> Self {
        Self {
            oci_version_min: "1.0.0",
            oci_version_max: "1.3.0",
            hooks: [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ],
            mount_options: rootfs::mount_options(),
            linux: Linux::find(),
            annotations: BTreeMap::new(),
            potentially_unsafe_config_annotations: &["org.criu.config"],
        }
    }
}

impl Linux {
    fn find() -> Self {
        let cgroup = [
            ("v1", true),
            ("v2", true),
            ("systemd", SYSTEMD),
            ("systemdUser", SYSTEMD_USER),
            ("rdma", RDMA),
        ];
        Self {
            namespaces: namespaces(),
            capabilities: capability::all().collect(),
            cgroup: cgroup.into(),
            seccomp: seccomp(),
            apparmor: Enabled { enabled: APPARMOR },
            selinux: Enabled { enabled: SELINUX },
            intel_rdt: Enabled { enabled: INTEL_RDT },
            mount_extensions: [("idmap", Enabled { enabled: MAPPED_MOUNTS })].into(),
            net_devices: Enabled { enabled: NET_DEVICES },
        }
    }
}

/// Types of namespaces that can be made.
fn namespaces() -> Vec<&'static str> {
    let all = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
    let works = |kind: &&str| {
        let mut list = vec![json!({"type": kind})];
        if *kind != "mount" {
            list.push(json!({"type": "mount"}));
        }
        let list: Result<Vec<LinuxNamespace>, _> = serde_json::from_value(list.into());
        list.is_ok_and(|list| Namespaces::of(&list).is_ok())
    };
    all.into_iter().filter(works).collect()
}

const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// What compiles, one thing at a time.
fn seccomp() -> Seccomp {
    let actions = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];
    let operators = [
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_LE",
        "SCMP_CMP_LT",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_NE",
    ];
    let archs = [
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
    ];
    let action = |one: &&str| *one == "SCMP_ACT_ALLOW" || compiles(one, "SCMP_CMP_EQ", None, None);
    let notified = "SCMP_ACT_NOTIFY";
    Seccomp {
        enabled: true,
        actions: actions.into_iter().filter(action).collect(),
        operators: operators
            .into_iter()
            .filter(|o| compiles("SCMP_ACT_ERRNO", o, None, None))
            .collect(),
        archs: archs
            .into_iter()
            .filter(|arch| compiles("SCMP_ACT_ERRNO", "SCMP_CMP_EQ", Some(arch), None))
            .collect(),
        known_flags: &FLAGS,
        supported_flags: FLAGS
            .into_iter()
            .filter(|flag| compiles(notified, "SCMP_CMP_EQ", None, Some(flag)))
            .collect(),
    }
}

/// Whether a profile with these compiles on this machine.
fn compiles(action: &str, operator: &str, arch: Option<&&str>, flag: Option<&&str>) -> bool {
    let argument = json!({"index": 0, "value": 1, "valueTwo": 1, "op": operator});
    let rule = json!({"names": ["close"], "action": action, "args": [argument]});
    let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    if action == "SCMP_ACT_NOTIFY" {
        profile["listenerPath"] = "/run/listener".into();
    }
    if let Some(arch) = arch {
        profile["architectures"] = json!([arch]);
    }
    if let Some(flag) = flag {
        profile["flags"] = json!([flag]);
    }
    let profile: Result<LinuxSeccomp, _> = serde_json::from_value(profile);
    profile.is_ok_and(|profile| Filter::compile(&profile, Path::new("/")).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_specification_requires_is_there() {
        let features = serde_json::to_value(Features::find()).expect("json");
        let has = |pointer: &str, value: &str| {
            let list = features.pointer(pointer).and_then(|list| list.as_array());
            assert!(list.is_some_and(|list| list.contains(&value.into())), "{pointer}: {value}");
        };
        has("/mountOptions", "rbind");
        has("/mountOptions", "rro");
        has("/linux/namespaces", "mount");
        has("/linux/namespaces", "pid");
        has("/linux/capabilities", "CAP_CHOWN");
        has("/linux/seccomp/actions", "SCMP_ACT_ERRNO");
        has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ");
        has("/linux/seccomp/supportedFlags", "SECCOMP_FILTER_FLAG_LOG");
    }
}
