//! What a configuration may ask for: everything else is refused by the field's name.
//!
//! Runs before anything is made. What only the kernel can judge (a namespace's path, a cgroup's limit)
//! is checked where it is used.

use spec::Kind;
use spec::annotation::{PAUSE, RECLAIM};
use spec::kernel::Wish;
use spec::oci::runtime::{
    Hooks, Linux, LinuxMemoryPolicy, LinuxNamespaceType, MemoryPolicyModeType, Spec,
};

use crate::namespace::Namespaces;

mod process;
mod sysctl;

pub(crate) use process::process;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value is wrong on every host.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel is not what is asked for.
    #[error(transparent)]
    Kernel(#[from] spec::kernel::Error),
    /// Hull does not do it.
    #[error("{field}: {what}: not supported")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// The value.
        what: String,
    },
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    pub(crate) fn unsupported(field: &'static str, what: impl Into<String>) -> Self {
        Self::Unsupported { field, what: what.into() }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::Invalid,
            Self::Kernel(error) => error.kind(),
            Self::Unsupported { .. } => Kind::Unsupported,
        }
    }
}

/// Holds the kernel that is asked for against this one.
fn kernel(spec: &Spec) -> Result<(), Error> {
    let wish = Wish::of(spec.annotations().as_ref())?;
    if wish.is_none() {
        return Ok(());
    }
    // Without proc nobody knows; then it is not the one that is asked for.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(wish.check(release.trim_end())?)
}

fn annotations(spec: &Spec) -> Result<(), Error> {
    for (key, value) in spec.annotations().iter().flatten() {
        if key.is_empty() {
            return Err(Error::invalid("annotations", "an empty key"));
        }
        if key == PAUSE && value != RECLAIM {
            let reason = format!("{value:?} is nothing that a pause does: want {RECLAIM}");
            return Err(Error::invalid(PAUSE, reason));
        }
    }
    Ok(())
}

/// Checks a container's configuration.
pub(crate) fn spec(spec: &Spec) -> Result<(), Error> {
    version(spec.version())?;
    kernel(spec)?;
    let Some(root) = spec.root() else {
        return Err(Error::invalid("root", "missing"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(Error::invalid("root.path", "empty"));
    }
    let Some(process) = spec.process() else {
        return Err(Error::invalid("process", "missing"));
    };
    self::process(process)?;
    let Some(linux) = spec.linux() else {
        return Err(Error::invalid("linux", "missing"));
    };
    self::linux(linux)?;
    let list = linux.namespaces().as_deref().unwrap_or_default();
    names(spec, |kind| Namespaces::is_apart(list, kind))?;
    for mount in spec.mounts().iter().flatten() {
        self::mount(mount)?;
    }
    if let Some(hooks) = spec.hooks() {
        self::hooks(hooks)?;
    }
    clocks(linux, |kind| Namespaces::has(list, kind))?;
    if let Some(sysctl) = linux.sysctl() {
        sysctl::sysctl(sysctl, |kind| Namespaces::is_apart(list, kind))?;
        sysctl::agrees(sysctl, spec.domainname().as_deref().unwrap_or_default())?;
    }
    annotations(spec)?;
    let other = [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("zos", spec.zos().is_some()),
        ("vm", spec.vm().is_some()),
    ];
    refuse(&other)
}

/// Any version 1, releases or not: what a later one has more is ignored or refused by name.
fn version(version: &str) -> Result<(), Error> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // What was written for a draft is read as it was meant, as runc does.
    if matches!(numbers.next(), Some("0" | "1"))
        && numbers.clone().count() == 2
        && numbers.all(is_number)
    {
        return Ok(());
    }
    Err(Error::invalid("ociVersion", format!("{version:?} is not a version 0.x.y or 1.x.y")))
}

/// Refuses the first field of the table that is set.
fn refuse(table: &[(&'static str, bool)]) -> Result<(), Error> {
    match table.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(Error::unsupported(field, "set")),
        None => Ok(()),
    }
}

fn is_set<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

fn has_text(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn linux(linux: &Linux) -> Result<(), Error> {
    if let Some(devices) = linux.net_devices() {
        let list = linux.namespaces().as_deref().unwrap_or_default();
        crate::netdevice::check(devices, Namespaces::is_apart(list, LinuxNamespaceType::Network))?;
    }
    refuse(&[(
        "linux.personality.flags",
        linux.personality().as_ref().is_some_and(|p| is_set(p.flags().as_ref())),
    )])?;
    if let Some(policy) = linux.memory_policy() {
        memory_policy(policy)?;
    }
    if has_text(linux.mount_label().as_ref()) && !crate::lsm::has_selinux() {
        return Err(Error::unsupported("linux.mountLabel", "a kernel without SELinux"));
    }
    let propagations = ["shared", "slave", "private", "unbindable", ""];
    match linux.rootfs_propagation() {
        Some(text) if !propagations.contains(&text.strip_prefix('r').unwrap_or(text)) => {
            Err(Error::invalid("linux.rootfsPropagation", format!("{text:?} is unknown")))
        }
        _ => Ok(()),
    }
}

/// Some modes are of nodes, others are not. See set_mempolicy(2).
fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<(), Error> {
    use MemoryPolicyModeType::{MpolDefault, MpolLocal, MpolPreferred};
    let none = crate::init::memory::nodes(policy)?.is_empty();
    let reason = match policy.mode() {
        MpolDefault | MpolLocal if !none => "takes no nodes",
        MpolDefault | MpolLocal | MpolPreferred => return Ok(()),
        _ if none => "needs a node",
        _ => return Ok(()),
    };
    Err(Error::invalid("linux.memoryPolicy.nodes", format!("{} {reason}", policy.mode())))
}

/// Clocks are the host's without a time namespace.
fn clocks(linux: &Linux, has: impl Fn(LinuxNamespaceType) -> bool) -> Result<(), Error> {
    const FIELD: &str = "linux.timeOffsets";
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !has(LinuxNamespaceType::Time) {
            return Err(Error::invalid(FIELD, "needs a time namespace"));
        }
        if clock != "monotonic" && clock != "boottime" {
            let reason = format!("{clock:?} is not monotonic or boottime");
            return Err(Error::invalid(FIELD, reason));
        }
        if offset.nanosecs().is_some_and(|nanos| nanos > 999_999_999) {
            let reason = format!("{clock}: nanosecs is above 999999999");
            return Err(Error::invalid(FIELD, reason));
        }
    }
    Ok(())
}

/// Host and domain name are the host's own without a UTS namespace.
fn names(spec: &Spec, has: impl Fn(LinuxNamespaceType) -> bool) -> Result<(), Error> {
    for (field, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { continue };
        if !has(LinuxNamespaceType::Uts) {
            return Err(Error::invalid(field, "needs a uts namespace that is not the host's"));
        }
        if name.len() > 64 {
            return Err(Error::invalid(field, "longer than 64 bytes"));
        }
    }
    Ok(())
}

fn mount(mount: &spec::oci::runtime::Mount) -> Result<(), Error> {
    if mount.destination().as_os_str().is_empty() {
        return Err(Error::invalid("mounts", "empty destination"));
    }
    Ok(())
}

fn hooks(hooks: &Hooks) -> Result<(), Error> {
    let prestart = hooks.prestart();
    let lists = [
        ("hooks.prestart", prestart),
        ("hooks.createRuntime", hooks.create_runtime()),
        ("hooks.createContainer", hooks.create_container()),
        ("hooks.startContainer", hooks.start_container()),
        ("hooks.poststart", hooks.poststart()),
        ("hooks.poststop", hooks.poststop()),
    ];
    for (field, list) in lists {
        for hook in list.iter().flatten() {
            if !crate::hook::is_valid(hook.path()) {
                let reason = format!("{} is not an absolute path", hook.path().display());
                return Err(Error::invalid(field, reason));
            }
            if hook.timeout().is_some_and(|timeout| timeout <= 0) {
                return Err(Error::invalid(field, "timeout is not above 0"));
            }
            let nameless = |text: &&String| text.find('=').is_none_or(|at| at == 0);
            if let Some(text) = hook.env().iter().flatten().find(nameless) {
                return Err(Error::invalid(field, format!("env: {text:?} is not NAME=VALUE")));
            }
            let strings = hook.args().iter().flatten().chain(hook.env().iter().flatten());
            if strings.into_iter().any(|text| text.contains('\0')) {
                return Err(Error::invalid(field, "a zero byte in args or env"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
