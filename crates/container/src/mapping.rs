//! Users and groups of a user namespace, mapped to the launcher's.
//!
//! A privileged launcher writes the maps. One without privileges may map its own ids, or what
//! newuidmap(1) and newgidmap(1) allow by `/etc/subuid` and `/etc/subgid`.
//!
//! Spec: OCI runtime-spec, config-linux.md "User namespace mappings"; user_namespaces(7).

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use spec::Kind;
use spec::oci::runtime::LinuxIdMapping;

use crate::check;

/// The two maps of a user namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mappings<'a> {
    /// `uidMappings`.
    pub(crate) users: &'a [LinuxIdMapping],
    /// `gidMappings`.
    pub(crate) groups: &'a [LinuxIdMapping],
}

/// Why users or groups cannot be mapped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the map.
    #[error("{field}: write {file} of init")]
    Refused {
        /// The field.
        field: &'static str,
        /// The file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The helper for launchers without privileges could not be run.
    #[error("{field}: run {program}, which maps ids for users without privileges")]
    Helper {
        /// The field.
        field: &'static str,
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The helper refused.
    #[error("{field}: {program}: {message}")]
    Denied {
        /// The field.
        field: &'static str,
        /// The program.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { source, .. } => match source.raw_os_error() {
                Some(libc::EINVAL) => Kind::Invalid,
                _ => crate::error::kind_of(source),
            },
            Self::Helper { .. } => Kind::Unsupported,
            Self::Denied { .. } => Kind::Invalid,
        }
    }
}

/// Users or groups, and what is called how for them.
struct Side<'a> {
    field: &'static str,
    file: &'static str,
    program: &'static str,
    mappings: &'a [LinuxIdMapping],
}

impl<'a> Mappings<'a> {
    /// Those of a new user namespace, checked: both are there, and somebody is root.
    pub(crate) fn checked(
        users: Option<&'a [LinuxIdMapping]>,
        groups: Option<&'a [LinuxIdMapping]>,
    ) -> Result<Self, check::Error> {
        let all = Self { users: users.unwrap_or_default(), groups: groups.unwrap_or_default() };
        for side in all.sides() {
            if side.mappings.is_empty() {
                let reason = "a user namespace needs mappings, or a path to join";
                return Err(check::Error::invalid(side.field, reason));
            }
            if side.mappings.iter().any(|mapping| mapping.size() == 0) {
                return Err(check::Error::invalid(side.field, "a mapping of size 0"));
            }
            if !side.mappings.iter().any(|mapping| mapping.container_id() == 0) {
                let reason = "nothing is mapped to 0, as whom the container is made";
                return Err(check::Error::invalid(side.field, reason));
            }
        }
        Ok(all)
    }

    fn sides(&self) -> [Side<'a>; 2] {
        let (field, file, program) = ("linux.uidMappings", "uid_map", "newuidmap");
        let users = Side { field, file, program, mappings: self.users };
        let (field, file, program) = ("linux.gidMappings", "gid_map", "newgidmap");
        [users, Side { field, file, program, mappings: self.groups }]
    }

    /// Maps the users and groups of a process that is alone in its new user namespace.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Error> {
        let privileged = rustix::process::geteuid().is_root();
        for side in self.sides() {
            side.write(pid, privileged)?;
        }
        Ok(())
    }

    /// A user namespace with these maps, for a mount.
    pub(crate) fn namespace(&self) -> io::Result<OwnedFd> {
        sys::namespace::user(&text(self.users), &text(self.groups))
    }
}

impl Side<'_> {
    fn write(&self, pid: i32, privileged: bool) -> Result<(), Error> {
        let Self { field, file, .. } = *self;
        let path = |name: &str| format!("/proc/{pid}/{name}");
        if !privileged {
            let own = match self.mappings {
                [one] => one.size() == 1,
                _ => false,
            };
            if !own {
                return self.run_helper(pid);
            }
            if file == "gid_map" {
                // Whoever may not leave a group may not map it either, see user_namespaces(7).
                let source = fs::write(path("setgroups"), "deny");
                source.map_err(|source| Error::Refused { field, file: "setgroups", source })?;
            }
        }
        match fs::write(path(file), text(self.mappings)) {
            Err(error) if !privileged && error.raw_os_error() == Some(libc::EPERM) => {
                self.run_helper(pid)
            }
            result => result.map_err(|source| Error::Refused { field, file, source }),
        }
    }

    fn run_helper(&self, pid: i32) -> Result<(), Error> {
        let Self { field, program, .. } = *self;
        let words = text(self.mappings);
        let output = Command::new(program)
            .arg(pid.to_string())
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Helper { field, program, source })?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(Error::Denied { field, program, message })
    }
}

/// The host's id of a container's; without any map, that of a joined namespace, the same.
pub(crate) fn host_id(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    if mappings.is_empty() {
        return Some(id);
    }
    mappings.iter().find_map(|one| {
        let offset = id.checked_sub(one.container_id()).filter(|offset| *offset < one.size())?;
        one.host_id().checked_add(offset)
    })
}

/// A map as `/proc/PID/uid_map` takes it.
fn text(mappings: &[LinuxIdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, one| {
        // A string takes everything.
        let _ = writeln!(text, "{} {} {}", one.container_id(), one.host_id(), one.size());
        text
    })
}
