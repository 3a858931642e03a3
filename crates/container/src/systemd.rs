//! Cgroups by way of systemd: a transient scope for each container, asked for over D-Bus.
//!
//! ```text
//!   init is started -> StartTransientUnit with its pid -> job done -> the files systemd has no
//!   property for are written -> …  -> SetUnitProperties on update -> StopUnit on delete
//! ```
//!
//! systemd must know every limit that it can set: it writes them again whenever it likes.
//! Its private socket is asked first, which needs no bus; then the bus.
//!
//! Spec: org.freedesktop.systemd1(5), systemd.resource-control(5); names and conversions as in runc's
//! systemd driver. systemd 244 or later.

mod bus;
mod property;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::Kind;
use spec::oci::runtime::LinuxResources;

use bus::{Bus, Value};

/// A container's scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// `PREFIX-NAME.scope`.
    name: String,
    /// The slice it is in.
    slice: String,
    /// The container, for the description.
    container: String,
    /// Whether its manager is the user's.
    user: bool,
    /// Whether the host has cgroup v2 alone.
    v2: bool,
}

/// Why systemd does not manage a container's cgroups.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    NotRunning,
    /// Neither socket takes a connection.
    #[error("connect to systemd at {}", path.display())]
    Connect {
        /// The last one that was tried.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or an answer makes no sense.
    #[error("ask systemd: {call}")]
    Call {
        /// The method.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// systemd said no.
    #[error("systemd: {call} {unit}: {message} ({name})")]
    Refused {
        /// The method.
        call: &'static str,
        /// The unit.
        unit: String,
        /// The name of the error.
        name: String,
        /// What it said.
        message: String,
    },
    /// The job ended in another way than asked.
    #[error("systemd: {call} {unit}: job {result}")]
    Job {
        /// The method.
        call: &'static str,
        /// The unit.
        unit: String,
        /// How.
        result: String,
    },
    /// Not the form that systemd needs.
    #[error(
        "linux.cgroupsPath: expected \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
    )]
    Path {
        /// What it is.
        path: String,
    },
    /// No name of a slice.
    #[error("linux.cgroupsPath: invalid slice name: {slice}")]
    Slice {
        /// What it is.
        slice: String,
    },
    /// A value that systemd has no property for.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotRunning | Self::Connect { .. } => Kind::Unsupported,
            Self::Path { .. } | Self::Slice { .. } | Self::Invalid { .. } => Kind::Invalid,
            Self::Call { .. } | Self::Refused { .. } | Self::Job { .. } => Kind::Internal,
        }
    }
}

impl Unit {
    /// The scope for `slice:prefix:name`, or for a container without a path.
    pub(crate) fn plan(path: Option<&Path>, container: &str) -> Result<Self, Error> {
        if !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::NotRunning);
        }
        let user = !rustix::process::geteuid().is_root();
        let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let mut unit = Self::parse(path, container)?;
        (unit.user, unit.v2) = (user, v2);
        if unit.slice.is_empty() {
            let default = if user { "user.slice" } else { "system.slice" };
            default.clone_into(&mut unit.slice);
        }
        Ok(unit)
    }

    fn parse(path: Option<&Path>, container: &str) -> Result<Self, Error> {
        let path = path.map(|path| path.to_string_lossy()).filter(|path| !path.is_empty());
        let default = format!(":runc:{container}");
        let path = path.as_deref().unwrap_or(&default);
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(Error::Path { path: path.to_owned() });
        };
        if name.is_empty() || [slice, prefix, name].iter().any(|part| part.contains('/')) {
            return Err(Error::Path { path: path.to_owned() });
        }
        Ok(Self {
            name: format!("{prefix}-{name}.scope"),
            slice: slice.to_owned(),
            container: name.to_owned(),
            user: false,
            v2: true,
        })
    }

    /// Where its cgroup is, from the root of each hierarchy.
    pub(crate) fn path(&self) -> Result<PathBuf, Error> {
        let mut path = PathBuf::from("/");
        if self.user {
            let mut bus = Bus::connect(true)?;
            let own = bus.manager_property("ControlGroup")?;
            path.push(own.trim_start_matches('/'));
        }
        path.push(slice_path(&self.slice)?);
        path.push(&self.name);
        Ok(path)
    }

    /// Makes it, with `pid` in it.
    pub(crate) fn start(
        &self,
        pid: i32,
        resources: Option<&LinuxResources>,
        annotations: &HashMap<String, String>,
    ) -> Result<(), Error> {
        let description = format!("libcontainer container {}", self.container);
        let io = if self.v2 { "IOAccounting" } else { "BlockIOAccounting" };
        let mut properties: Vec<(String, Value)> = [
            ("Description", Value::Text(description)),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(vec![pid.cast_unsigned()])),
            ("MemoryAccounting", Value::Bool(true)),
            ("CPUAccounting", Value::Bool(true)),
            (io, Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        properties.extend(property::annotated(annotations)?);
        properties.extend(property::devices(resources)?);
        if let Some(resources) = resources {
            properties.extend(property::limits(resources, self.v2)?);
        }
        let mut bus = Bus::connect(self.user)?;
        match bus.start(&self.name, &properties) {
            // What a container that was killed left behind.
            Err(Error::Refused { name, .. }) if name.ends_with(".UnitExists") => {
                let _ = bus.reset_failed(&self.name);
                bus.start(&self.name, &properties)
            }
            started => started,
        }
        .inspect_err(|_| {
            let _ = bus.reset_failed(&self.name);
        })
    }

    /// Tells it of other limits.
    pub(crate) fn update(&self, change: &LinuxResources, devices: bool) -> Result<(), Error> {
        let mut properties = property::limits(change, self.v2)?;
        if devices {
            properties.extend(property::devices(Some(change))?);
        }
        if properties.is_empty() {
            return Ok(());
        }
        Bus::connect(self.user)?.set_properties(&self.name, &properties)
    }

    /// Ends it. One that is gone already is fine.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        let mut bus = Bus::connect(self.user)?;
        match bus.stop(&self.name) {
            Err(Error::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            stopped => {
                // A failed unit stays until it is told to go.
                let _ = bus.reset_failed(&self.name);
                stopped
            }
        }
    }
}

/// `a-b.slice` is in `a.slice/a-b.slice`; `-.slice` is the root.
fn slice_path(slice: &str) -> Result<PathBuf, Error> {
    let invalid = || Error::Slice { slice: slice.to_owned() };
    let name = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() || part.contains('/') {
            return Err(invalid());
        }
        path.push(format!("{prefix}{part}.slice"));
        prefix = format!("{prefix}{part}-");
    }
    Ok(path)
}
