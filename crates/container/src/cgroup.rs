//! A container's control groups: found, made, filled, frozen, emptied, removed.
//!
//! The launcher plans where they are, records that, makes them and sets their limits; init joins
//! them itself. On cgroup v1 it writes `0` to each `tasks` file: a thread that moves itself needs no
//! global lock, which makes this many times cheaper than having another process move it. On v2 it is
//! born there by `CLONE_INTO_CGROUP`.
//!
//! Only mounted controllers are used; a limit that needs another one is an error.
//!
//! Spec: OCI runtime-spec, config-linux.md "Control groups".

mod device;
mod group;
mod merge;
mod mounts;
mod reclaim;
mod setting;
mod stats;
mod subgroup;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spec::oci::runtime::LinuxResources;
use spec::{Kind, Signal};

pub(crate) use device::{Plain as DeviceRule, plain as device_rules};
pub use group::{Group, changed};
pub(crate) use setting::{swap_max, weight};
pub use stats::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Pressure, Stall,
    Stats, Throttling,
};

use crate::oom::Watch;

/// Where a container's cgroups are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    /// One directory in each mounted hierarchy.
    V1(Vec<Hierarchy>),
    /// One directory.
    V2 {
        /// The root of the hierarchy.
        mount: PathBuf,
        /// The container's directory.
        directory: PathBuf,
    },
}

/// A mounted hierarchy of a host that has cgroup v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hierarchy {
    /// Its controllers, or `name=NAME` alone.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The container's directory.
    pub(crate) directory: PathBuf,
    /// Whether this is the cgroup v2 of a host that has both: used only for controllers that are not
    /// in any v1 hierarchy.
    #[serde(default)]
    pub(crate) unified: bool,
}

/// Why a cgroup operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no cgroup filesystem mounted.
    #[error("no cgroup filesystem is mounted")]
    NoneMounted,
    /// The configuration sets what this host's cgroups do not have.
    #[error("{field}: this host has no {what}")]
    Absent {
        /// The field.
        field: &'static str,
        /// The controller or file.
        what: String,
    },
    /// A field's value makes no sense.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused a field's value.
    #[error("{field}: write {value:?} to {file}")]
    Rejected {
        /// The field.
        field: &'static str,
        /// What was written.
        value: String,
        /// Where.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The memory limit is below what is in use and cannot be reclaimed.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    InUse {
        /// The limit.
        limit: String,
        /// Bytes in use.
        usage: String,
        /// Bytes that were in use at most.
        peak: String,
    },
    /// The cgroup is in use by other processes.
    #[error("container's cgroup is not empty: {count} process(es) found in {}", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// How many they are.
        count: usize,
    },
    /// Whoever joined it would stop at once.
    #[error("container's cgroup unexpectedly frozen: {}", path.display())]
    Frozen {
        /// The directory.
        path: PathBuf,
    },
    /// A cgroup above, or this one, cannot have the controllers that a limit needs.
    #[error("cannot enter cgroup {} with domain controllers: it is {state}", path.display())]
    Threaded {
        /// The directory.
        path: PathBuf,
        /// What `cgroup.type` says.
        state: String,
    },
    /// A file or directory of the cgroup filesystem.
    #[error("{action} {}", path.display())]
    File {
        /// What was done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoneMounted | Self::Absent { .. } | Self::Threaded { .. } => Kind::Unsupported,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Rejected { source, .. } => match source.raw_os_error() {
                Some(libc::EINVAL | libc::ERANGE) => Kind::Invalid,
                _ => crate::error::kind_of(source),
            },
            Self::InUse { .. } | Self::NotEmpty { .. } | Self::Frozen { .. } => Kind::Conflict,
            Self::File { source, .. } => crate::error::kind_of(source),
        }
    }

    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }
}

/// How long a cgroup may take to freeze, or to be left by its last process.
const PATIENCE: Duration = Duration::from_secs(10);

impl View {
    /// Where the cgroups of a container will be: `path` from the root of each hierarchy when it is
    /// absolute, else beneath the caller's own cgroup; without a path, `id` beneath that.
    pub(crate) fn plan(
        path: Option<&Path>,
        id: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<Self, Error> {
        mounts::plan(path, id, resources)
    }

    /// The directories, one for each hierarchy.
    fn directories(&self) -> Vec<&Path> {
        match self {
            Self::V1(list) => list.iter().map(|one| one.directory.as_path()).collect(),
            Self::V2 { directory, .. } => vec![directory],
        }
    }

    /// The directory whose members are frozen together.
    pub(crate) fn freezer(&self) -> Option<PathBuf> {
        match self {
            Self::V1(list) => find(list, "freezer").map(|one| one.directory.clone()),
            Self::V2 { directory, .. } => Some(directory.clone()),
        }
    }

    /// The directory that answers for membership and freezing.
    fn main(&self) -> Option<&Path> {
        match self {
            Self::V1(list) => find(list, "freezer")
                .or_else(|| find(list, "pids"))
                .or(list.first())
                .map(|one| one.directory.as_path()),
            Self::V2 { directory, .. } => Some(directory),
        }
    }

    /// Makes the directories and sets the limits. What was made before a failure is the caller's to
    /// [`View::remove`].
    ///
    /// `joined` is the container's init, when systemd has put it there already.
    pub(crate) fn make(
        &self,
        resources: Option<&LinuxResources>,
        joined: Option<i32>,
    ) -> Result<(), Error> {
        let domain = resources.is_some_and(merge::needs_domain);
        match self {
            Self::V1(list) => {
                for hierarchy in list {
                    if hierarchy.unified {
                        tree::make_v2(&hierarchy.mount, &hierarchy.directory, domain, joined)?;
                    } else {
                        tree::make_v1(hierarchy, joined)?;
                    }
                }
            }
            Self::V2 { mount, directory } => tree::make_v2(mount, directory, domain, joined)?,
        }
        if let Some(resources) = resources {
            self.set(resources)?;
        }
        match self {
            Self::V1(list) => match find(list, "devices") {
                Some(hierarchy) => device::apply_v1(&hierarchy.directory, resources),
                None => device::unless_set(resources),
            },
            Self::V2 { directory, .. } => device::apply_v2(directory, resources),
        }
    }

    /// Writes all limits but those of devices.
    fn set(&self, resources: &LinuxResources) -> Result<(), Error> {
        let settings = setting::list(resources, &|controller| match self {
            Self::V1(list) => find(list, controller).is_some_and(|one| one.unified),
            Self::V2 { .. } => true,
        })?;
        setting::write_all(&settings, |controller| match self {
            Self::V1(list) if controller == setting::UNIFIED => {
                list.iter().find(|one| one.unified).map(|one| one.directory.as_path())
            }
            Self::V1(list) => find(list, controller).map(|one| one.directory.as_path()),
            // What cannot be here has no file, of which the error then tells.
            Self::V2 { directory, .. } => Some(directory),
        })
    }

    /// Changes limits of a container that has `old` ones, and gives all that it has now. When one
    /// cannot be set, the others are set back as far as that can be done.
    pub(crate) fn update(
        &self,
        old: Option<&LinuxResources>,
        change: &LinuxResources,
    ) -> Result<LinuxResources, Error> {
        let merged = merge::merged(old, change);
        self.check_usage(change)?;
        if let Err(error) = self.set(&merge::completed(change, &merged)) {
            if let Some(old) = old {
                // The first failure is what the caller learns.
                let _ = self.set(old);
            }
            return Err(error);
        }
        // Engines send the devices along with every change; what others granted meanwhile stays.
        let known = old.and_then(|old| old.devices().as_ref());
        if change.devices().is_some() && change.devices().as_ref() != known {
            match self {
                Self::V1(list) => match find(list, "devices") {
                    Some(hierarchy) => device::update_v1(&hierarchy.directory, old, &merged)?,
                    None => device::unless_set(Some(change))?,
                },
                Self::V2 { directory, .. } => device::apply_v2(directory, Some(&merged))?,
            }
        }
        Ok(merged)
    }

    /// For `checkBeforeUpdate`: cgroup v2 would kill processes until the limit is met.
    fn check_usage(&self, change: &LinuxResources) -> Result<(), Error> {
        let Self::V2 { directory, .. } = self else { return Ok(()) };
        let Some(memory) = change.memory().filter(|m| m.check_before_update() == Some(true)) else {
            return Ok(());
        };
        let read = fs::read_to_string(directory.join("memory.current"));
        let Some(usage) = read.ok().and_then(|text| text.trim().parse::<i64>().ok()) else {
            return Ok(());
        };
        for (limit, field, name) in [
            (memory.swap(), "linux.resources.memory.swap", "memory+swap"),
            (memory.limit(), "linux.resources.memory.limit", "memory"),
        ] {
            if let Some(limit @ 1..) = limit
                && limit <= usage
            {
                let reason = format!("rejecting {name} limit {limit} <= usage {usage}");
                return Err(Error::Invalid { field, reason });
            }
        }
        Ok(())
    }

    /// The files through which init joins: cgroup v1 only, and what is with it.
    pub(crate) fn tasks(&self) -> Vec<PathBuf> {
        let file = |one: &Hierarchy| {
            one.directory.join(if one.unified { "cgroup.procs" } else { "tasks" })
        };
        match self {
            Self::V1(list) => list.iter().map(file).collect(),
            Self::V2 { .. } => Vec::new(),
        }
    }

    /// Moves a process in, for one that may not do so itself: cgroup v1 only.
    pub(crate) fn admit(&self, pid: i32) -> Result<(), Error> {
        let Self::V1(list) = self else { return Ok(()) };
        for hierarchy in list {
            let file = hierarchy.directory.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(Error::file("write", file))?;
        }
        Ok(())
    }

    /// The directory to be born in: cgroup v2 only. For an exec it is where `init` is by now, which
    /// may have moved itself further down to have controllers for its children.
    pub(crate) fn birthplace(&self, init: Option<i32>) -> Result<Option<OwnedFd>, Error> {
        let Self::V2 { mount, directory } = self else { return Ok(None) };
        let own = init.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok());
        let own = own.as_deref().and_then(|text| text.lines().find_map(|l| l.strip_prefix("0::/")));
        // Only beneath the container's own, whatever it did.
        let path = own.map(|own| mount.join(own)).filter(|path| path.starts_with(directory));
        let path = path.as_ref().unwrap_or(directory);
        let file = File::open(path).map_err(Error::file("open", path))?;
        Ok(Some(file.into()))
    }

    /// The pids of all members, those of nested cgroups too, in the caller's pid namespace.
    pub(crate) fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        if let Some(directory) = self.main() {
            tree::collect(directory, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Sends `signal` to every member. For SIGKILL it comes back once none is left alive to fork.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        if signal == Signal::KILL
            && let Self::V2 { directory, .. } = self
            && fs::write(directory.join("cgroup.kill"), "1").is_ok()
        {
            return Ok(());
        }
        let rounds = if signal == Signal::KILL { 100 } else { 1 };
        for _ in 0..rounds {
            let pids = self.processes()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                send(pid, signal);
            }
            if rounds > 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Freezes or thaws all members, and returns when that is done.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let (file, value) = match self {
            Self::V1(list) => {
                let hierarchy = find(list, "freezer")
                    .ok_or(Error::Absent { field: "pause", what: "freezer controller".into() })?;
                let value = if frozen { "FROZEN" } else { "THAWED" };
                (hierarchy.directory.join("freezer.state"), value)
            }
            Self::V2 { directory, .. } => {
                (directory.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            fs::write(&file, value).map_err(Error::file("write", &file))?;
            if self.is_frozen()? == frozen {
                return Ok(());
            }
            if Instant::now() > deadline {
                let source = io::ErrorKind::TimedOut.into();
                return Err(Error::File { action: "freeze by", path: file, source });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether all members are frozen. A cgroup that is gone is not.
    pub(crate) fn is_frozen(&self) -> Result<bool, Error> {
        let file = match self {
            Self::V1(list) => match find(list, "freezer") {
                Some(hierarchy) => hierarchy.directory.join("freezer.state"),
                None => return Ok(false),
            },
            Self::V2 { directory, .. } => directory.join("cgroup.events"),
        };
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim() == "FROZEN" || text.lines().any(|line| line == "frozen 1")),
            Err(error) if gone(&error) => Ok(false),
            Err(error) => Err(Error::file("read", file)(error)),
        }
    }

    /// A watch over its memory, which ends with `init`.
    pub(crate) fn watch(&self, init: OwnedFd) -> Result<Watch, Error> {
        let (directory, watch) = match self {
            Self::V2 { directory, .. } => (directory.as_path(), Watch::v2(directory, init)),
            Self::V1(list) => {
                let hierarchy = find(list, "memory").ok_or_else(|| Error::Absent {
                    field: "events",
                    what: "memory cgroup controller".to_owned(),
                })?;
                (hierarchy.directory.as_path(), Watch::v1(&hierarchy.directory, init))
            }
        };
        watch.map_err(Error::file("watch the memory of", directory))
    }

    /// Removes the directories with everything beneath. Those that are gone already do not matter;
    /// the first failure is reported after all were tried.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut result = Ok(());
        for directory in self.directories() {
            result = result.and(tree::remove(directory, deadline));
        }
        result
    }
}

/// A change with what its values depend on, for a container that has `old` limits.
pub(crate) fn completed(old: Option<&LinuxResources>, change: &LinuxResources) -> LinuxResources {
    merge::completed(change, &merge::merged(old, change))
}

fn find<'a>(list: &'a [Hierarchy], controller: &str) -> Option<&'a Hierarchy> {
    list.iter().find(|one| one.controllers.iter().any(|name| name == controller))
}

/// The file or the process behind it no longer exists.
fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// Signals a process by number, unless it is gone.
fn send(pid: i32, signal: Signal) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
    // A member that ended meanwhile needs no signal.
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let _ = sys::pidfd::signal(pidfd.as_fd(), signal.number());
    }
}
