//! The process of a configuration.
//!
//! Spec: OCI runtime-spec, config.md "Process", "Linux Process".

use std::path::PathBuf;

use getset::{CopyGetters, Getters, MutGetters, Setters};
use oci_spec::runtime::{Box, LinuxCapabilities, LinuxIOPriority, PosixRlimit, Scheduler, User};
use serde::{Deserialize, Serialize};

/// What is executed in a container, and as whom.
#[derive(
    Clone, CopyGetters, Debug, Deserialize, Eq, Getters, MutGetters, PartialEq, Serialize, Setters,
)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get_copy = "pub", set = "pub")]
    terminal: Option<bool>,
    /// The size of that, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get_copy = "pub", set = "pub")]
    console_size: Option<Box>,
    /// The user and groups.
    #[getset(get = "pub", get_mut = "pub", set = "pub")]
    user: User,
    /// The program and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    args: Option<Vec<String>>,
    /// The command line of Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    command_line: Option<String>,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", get_mut = "pub", set = "pub")]
    env: Option<Vec<String>>,
    /// The working directory, absolute.
    #[getset(get = "pub", set = "pub")]
    cwd: PathBuf,
    /// The five sets of capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    capabilities: Option<LinuxCapabilities>,
    /// Resource limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    rlimits: Option<Vec<PosixRlimit>>,
    /// Whether execve(2) may give it privileges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get_copy = "pub", set = "pub")]
    no_new_privileges: Option<bool>,
    /// AppArmor's profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    apparmor_profile: Option<String>,
    /// What to add to its score when memory runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get_copy = "pub", set = "pub")]
    oom_score_adj: Option<i32>,
    /// SELinux's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    selinux_label: Option<String>,
    /// The priority of its disk accesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    io_priority: Option<LinuxIOPriority>,
    /// The scheduler's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    scheduler: Option<Scheduler>,
    /// The processors of an exec.
    #[serde(default, rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    #[getset(get = "pub", set = "pub")]
    exec_cpu_affinity: Option<ExecCPUAffinity>,
}

/// A shell as root, without a terminal: the specification has no defaults, tests like some.
impl Default for Process {
    fn default() -> Self {
        Self {
            terminal: Some(false),
            console_size: None,
            user: User::default(),
            args: Some(vec!["sh".to_owned()]),
            command_line: None,
            env: Some(vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ]),
            cwd: PathBuf::from("/"),
            capabilities: Some(LinuxCapabilities::default()),
            rlimits: None,
            no_new_privileges: Some(true),
            apparmor_profile: None,
            oom_score_adj: None,
            selinux_label: None,
            io_priority: None,
            scheduler: None,
            exec_cpu_affinity: None,
        }
    }
}

/// On which processors an exec runs, as lists such as `0-3,7`. What a list means, and whether it is
/// one, its user finds out.
#[derive(Clone, Debug, Default, Deserialize, Eq, Getters, PartialEq, Serialize, Setters)]
#[getset(get = "pub", set = "pub")]
pub struct ExecCPUAffinity {
    /// Before it joins the container's cgroups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial: Option<String>,
    /// Afterwards.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    cpu_affinity_final: Option<String>,
}
