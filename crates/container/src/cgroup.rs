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
mod mounts;
mod setting;
mod subgroup;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spec::oci::runtime::LinuxResources;
use spec::{Kind, Signal};

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

/// A mounted hierarchy of cgroup v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hierarchy {
    /// Its controllers, or `name=NAME` alone.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The container's directory.
    pub(crate) directory: PathBuf,
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
    /// The cgroup is in use by other processes.
    #[error("cgroup {} is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
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
            Self::NoneMounted | Self::Absent { .. } => Kind::Unsupported,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Rejected { source, .. } => match source.raw_os_error() {
                Some(libc::EINVAL | libc::ERANGE) => Kind::Invalid,
                _ => crate::error::kind_of(source),
            },
            Self::NotEmpty { .. } => Kind::Conflict,
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
    pub(crate) fn plan(path: Option<&Path>, id: &str) -> Result<Self, Error> {
        mounts::plan(path, id)
    }

    /// The directories, one for each hierarchy.
    fn directories(&self) -> Vec<&Path> {
        match self {
            Self::V1(list) => list.iter().map(|one| one.directory.as_path()).collect(),
            Self::V2 { directory, .. } => vec![directory],
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
    pub(crate) fn make(&self, resources: Option<&LinuxResources>) -> Result<(), Error> {
        match self {
            Self::V1(list) => {
                let settings = setting::v1(resources)?;
                for hierarchy in list {
                    make_v1(hierarchy)?;
                }
                for setting in &settings {
                    let hierarchy = find(list, setting.controller)
                        .ok_or_else(|| setting.absent(setting.controller))?;
                    setting.write(&hierarchy.directory)?;
                }
                match find(list, "devices") {
                    Some(hierarchy) => device::apply_v1(&hierarchy.directory, resources),
                    None => device::unless_set(resources),
                }
            }
            Self::V2 { mount, directory } => {
                let settings = setting::v2(resources)?;
                make_v2(mount, directory)?;
                for setting in &settings {
                    setting.write(directory)?;
                }
                device::apply_v2(directory, resources)
            }
        }
    }

    /// The files through which a thread joins: cgroup v1 only.
    pub(crate) fn tasks(&self) -> Vec<PathBuf> {
        match self {
            Self::V1(list) => list.iter().map(|one| one.directory.join("tasks")).collect(),
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
            collect(directory, &mut pids)?;
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

    /// Removes the directories with everything beneath. Those that are gone already do not matter;
    /// the first failure is reported after all were tried.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut result = Ok(());
        for directory in self.directories() {
            result = result.and(remove_tree(directory, deadline));
        }
        result
    }
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

fn make_v1(hierarchy: &Hierarchy) -> Result<(), Error> {
    let directory = &hierarchy.directory;
    let cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
    make_directory(directory, &|made| {
        if cpuset { inherit_cpuset(made) } else { Ok(()) }
    })
}

/// Makes `directory` and what is missing above it, calling `each` on every directory made, outermost
/// first. One that exists must be empty.
fn make_directory(
    directory: &Path,
    each: &dyn Fn(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    match fs::create_dir(directory) {
        Ok(()) => each(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut pids = Vec::new();
            collect(directory, &mut pids)?;
            if pids.is_empty() {
                each(directory)
            } else {
                Err(Error::NotEmpty { path: directory.to_owned() })
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_parents(directory, each)?;
            match fs::create_dir(directory) {
                Ok(()) => each(directory),
                Err(error) => Err(Error::file("make", directory)(error)),
            }
        }
        Err(error) => Err(Error::file("make", directory)(error)),
    }
}

fn make_parents(directory: &Path, each: &dyn Fn(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let missing: Vec<&Path> =
        directory.ancestors().skip(1).take_while(|path| !path.exists()).collect();
    for parent in missing.into_iter().rev() {
        match fs::create_dir(parent) {
            Ok(()) => each(parent)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::file("make", parent)(error)),
        }
    }
    Ok(())
}

/// A new cpuset has no processors and no memory nodes, and so cannot be joined.
fn inherit_cpuset(directory: &Path) -> Result<(), Error> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let from = parent.join(name);
        let value = fs::read(&from).map_err(Error::file("read", &from))?;
        let to = directory.join(name);
        fs::write(&to, value).map_err(Error::file("write", &to))?;
    }
    Ok(())
}

/// Makes the directory, with every available controller that Hull uses turned on down to it.
fn make_v2(mount: &Path, directory: &Path) -> Result<(), Error> {
    const USED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];
    let list = mount.join("cgroup.controllers");
    let available = fs::read_to_string(&list).map_err(Error::file("read", &list))?;
    let wanted: Vec<String> = available
        .split_whitespace()
        .filter(|name| USED.contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    let enable = |parent: &Path| {
        // One at a time: a controller that cannot be turned on here is missed only when it is used,
        // by an error that names the field.
        for name in &wanted {
            let _ = fs::write(parent.join("cgroup.subtree_control"), name);
        }
    };
    let beneath = directory.strip_prefix(mount).unwrap_or(directory);
    let mut parent = mount.to_owned();
    for name in beneath {
        enable(&parent);
        parent.push(name);
        make_directory_shared(&parent, parent == directory)?;
    }
    Ok(())
}

/// Makes one directory; one that exists is fine, unless it is the `last` and has members.
fn make_directory_shared(path: &Path, last: bool) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut pids = Vec::new();
            if last {
                collect(path, &mut pids)?;
            }
            if pids.is_empty() { Ok(()) } else { Err(Error::NotEmpty { path: path.to_owned() }) }
        }
        Err(error) => Err(Error::file("make", path)(error)),
    }
}

/// Adds the pids of `directory` and of all beneath it.
fn collect(directory: &Path, pids: &mut Vec<i32>) -> Result<(), Error> {
    let file = directory.join("cgroup.procs");
    match fs::read_to_string(&file) {
        // A 0 is a process outside this pid namespace.
        Ok(text) => pids
            .extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0)),
        Err(error) if gone(&error) => return Ok(()),
        // A threaded cgroup lists its processes in its domain.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(Error::file("read", file)(error)),
    }
    for child in children(directory) {
        collect(&child, pids)?;
    }
    Ok(())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(metadata) = fs::metadata(directory) else { return Vec::new() };
    // A cgroup's link count is two and one for each child.
    if std::os::unix::fs::MetadataExt::nlink(&metadata) <= 2 {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).map(|entry| entry.path()).collect()
}

/// Removes a cgroup and those in it, waiting for dying members until `deadline`.
fn remove_tree(directory: &Path, deadline: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_micros(100);
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if gone(&error) => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
            {
                for child in children(directory) {
                    remove_tree(&child, deadline)?;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(Error::file("remove", directory)(error)),
        }
    }
}
