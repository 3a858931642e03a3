//! Shares of caches and memory bandwidth: groups of the resctrl filesystem.
//!
//! ```text
//!   ROOT/CLOS/schemata                what the group may use
//!   ROOT/CLOS/tasks                   who is in it
//!   ROOT/CLOS/mon_groups/ID/tasks     who is counted apart
//! ```
//!
//! CLOS is `closID`, whose group is somebody else's and stays, or the container's own id, whose group
//! goes with the container. The root itself is the class `/`.
//!
//! Spec: OCI runtime-spec, config-linux.md "IntelRdt"; the kernel's Documentation/filesystems/resctrl.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::oci::runtime::LinuxIntelRdt;

use crate::check;

/// A group could not be made or joined.
#[derive(Debug, thiserror::Error)]
#[error("linux.intelRdt: {action} {}{status}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    /// What the kernel says of it, after a comma.
    status: String,
    source: io::Error,
}

/// The group of a container, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    root: PathBuf,
    directory: PathBuf,
    /// Whether the directory is the container's alone, to be made and removed.
    own: bool,
    /// The monitoring group.
    monitor: Option<PathBuf>,
}

impl Group {
    /// The group that the configuration names, where resctrl is mounted.
    pub(crate) fn plan(rdt: &LinuxIntelRdt, id: &str) -> Result<Self, check::Error> {
        let Some(root) = mounted() else {
            return Err(check::Error::unsupported("linux.intelRdt", "no resctrl is mounted"));
        };
        Self::beneath(root, rdt, id)
    }

    fn beneath(root: PathBuf, rdt: &LinuxIntelRdt, id: &str) -> Result<Self, check::Error> {
        let invalid = |field, reason: String| Err(check::Error::invalid(field, reason));
        let clos = rdt.clos_id().as_deref().filter(|clos| !clos.is_empty());
        let directory = match clos {
            Some("/") => root.clone(),
            Some(clos) if clos == "." || clos == ".." || clos.contains(['/', '\0']) => {
                return invalid("linux.intelRdt.closID", format!("{clos:?} is not a name"));
            }
            Some(clos) => root.join(clos),
            None => root.join(id),
        };
        let exists = directory.is_dir();
        if clos.is_some() && !exists && schemata(rdt).is_empty() {
            let reason = format!("{} does not exist", directory.display());
            return invalid("linux.intelRdt.closID", reason);
        }
        check_schemata(&root, rdt)?;
        if clos.is_some() && exists {
            check_same(&directory, rdt)?;
        }
        let monitored = *rdt.enable_monitoring() == Some(true);
        let monitor = monitored.then(|| directory.join("mon_groups").join(id));
        Ok(Self { own: clos.is_none() && !exists, root, directory, monitor })
    }

    /// Makes what is missing and writes the schemata.
    pub(crate) fn make(&self, rdt: &LinuxIntelRdt) -> Result<(), Error> {
        self.make_directory(&self.directory)?;
        self.write(rdt)?;
        self.monitor.as_ref().map_or(Ok(()), |monitor| self.make_directory(monitor))
    }

    fn make_directory(&self, path: &Path) -> Result<(), Error> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.error("make", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the schemata of a group that exists anew; what `rdt` leaves out stays.
    pub(crate) fn change(&self, rdt: &LinuxIntelRdt) -> Result<(), crate::Error> {
        check_schemata(&self.root, rdt)?;
        Ok(self.write(rdt)?)
    }

    fn write(&self, rdt: &LinuxIntelRdt) -> Result<(), Error> {
        let lines = schemata(rdt);
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.directory.join("schemata");
        let text = lines.join("\n") + "\n";
        fs::write(&path, text).map_err(|source| self.error("write", &path, source))
    }

    /// Puts a process into the group, by its pid here.
    pub(crate) fn join(&self, pid: i32) -> Result<(), Error> {
        for directory in [Some(&self.directory), self.monitor.as_ref()].into_iter().flatten() {
            let path = directory.join("tasks");
            fs::write(&path, pid.to_string())
                .map_err(|source| self.error("write", &path, source))?;
        }
        Ok(())
    }

    /// Removes what is the container's alone.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let own = self.own.then_some(&self.directory);
        for path in [self.monitor.as_ref(), own].into_iter().flatten() {
            match fs::remove_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.error("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn error(&self, action: &'static str, path: &Path, source: io::Error) -> Error {
        let status = fs::read_to_string(self.root.join("info/last_cmd_status"));
        let status = status.map_or(String::new(), |text| format!(", {}", text.trim()));
        Error { action, path: path.to_owned(), status, source }
    }
}

/// Where resctrl is mounted.
fn mounted() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let at = mount.split(' ').nth(4)?;
        kind.starts_with("resctrl ").then(|| at.into())
    })
}

/// The lines to write, in the order that the specification wants.
fn schemata(rdt: &LinuxIntelRdt) -> Vec<&str> {
    let first = [rdt.l3_cache_schema(), rdt.mem_bw_schema()].into_iter().flatten();
    let lines = first.chain(rdt.schemata().iter().flatten());
    lines.map(String::as_str).filter(|line| !line.is_empty()).collect()
}

fn check_schemata(root: &Path, rdt: &LinuxIntelRdt) -> Result<(), check::Error> {
    if schemata(rdt).iter().any(|line| line.contains('\n')) {
        return Err(check::Error::invalid("linux.intelRdt", "a schema of more than one line"));
    }
    let has = |names: &[&str]| names.iter().any(|name| root.join("info").join(name).is_dir());
    let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if text(rdt.l3_cache_schema()) && !has(&["L3", "L3CODE"]) {
        let what = "the processor cannot share its L3 cache out";
        return Err(check::Error::unsupported("linux.intelRdt.l3CacheSchema", what));
    }
    if text(rdt.mem_bw_schema()) && !has(&["MB"]) {
        let what = "the processor cannot share memory bandwidth out";
        return Err(check::Error::unsupported("linux.intelRdt.memBwSchema", what));
    }
    match rdt.mem_bw_schema().as_deref() {
        Some(line) if !line.is_empty() && !line.starts_with("MB:") => {
            let reason = format!("{line:?} does not begin with MB:");
            Err(check::Error::invalid("linux.intelRdt.memBwSchema", reason))
        }
        _ => Ok(()),
    }
}

/// A group that exists must be what the configuration says it is.
fn check_same(directory: &Path, rdt: &LinuxIntelRdt) -> Result<(), check::Error> {
    let actual = fs::read_to_string(directory.join("schemata")).unwrap_or_default();
    let actual: Vec<_> = actual.lines().flat_map(entries).collect();
    let wanted = schemata(rdt).into_iter().flat_map(entries);
    match wanted.into_iter().find(|entry| !actual.contains(entry)) {
        Some((resource, domain, value)) => {
            let reason =
                format!("{resource}:{domain}={value} is not so in {}", directory.display());
            Err(check::Error::invalid("linux.intelRdt.closID", reason))
        }
        None => Ok(()),
    }
}

/// Resource, domain and value of each part of a line such as `L3:0=ff;1=00c0`.
fn entries(line: &str) -> Vec<(String, String, String)> {
    let Some((resource, domains)) = line.trim().split_once(':') else { return Vec::new() };
    let plain = |text: &str| {
        let text = text.trim().trim_start_matches('0').to_ascii_lowercase();
        if text.is_empty() { "0".to_owned() } else { text }
    };
    let parts = domains.split(';').filter_map(|part| part.split_once('='));
    parts.map(|(domain, value)| (resource.trim().to_owned(), plain(domain), plain(value))).collect()
}

#[cfg(test)]
mod tests;
