//! Limits as files and values: `linux.resources` translated for cgroup v1 and v2.
//!
//! Zero in `shares`, `quota`, `period`, `limit`, … means unset, as runc takes it.
//!
//! Limits depend on one another: a quota must fit the period, memory must fit memory plus swap. What
//! the kernel refuses as it stands is written again after the rest, so that a pair may be raised and
//! lowered in one update without looking at what was there before.
//!
//! Spec: OCI runtime-spec, config-linux.md "Memory", "CPU", "PIDs", …; kernel cgroup-v2.rst.

mod v1;
mod v2;

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use spec::oci::runtime::{LinuxMemory, LinuxResources};

use super::Error;
pub(crate) use v2::{swap_max, weight};

/// The controller of settings that go to cgroup v2 whatever their name says.
pub(super) const UNIFIED: &str = "unified";

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The controller that has the file.
    pub(super) controller: &'static str,
    /// The file's name.
    pub(super) file: String,
    /// What is written.
    pub(super) value: String,
    /// The field of the configuration that asks for it.
    pub(super) field: &'static str,
    /// File and value for kernels that do not have the file.
    instead: Option<(&'static str, String)>,
    /// Kernels without the file need no setting.
    optional: bool,
}

impl Setting {
    fn new(controller: &'static str, file: &str, value: impl Display, field: &'static str) -> Self {
        Self {
            controller,
            file: file.to_owned(),
            value: format!("{value}"),
            field,
            instead: None,
            optional: false,
        }
    }

    fn or(mut self, file: &'static str, value: impl Display) -> Self {
        self.instead = Some((file, format!("{value}")));
        self
    }

    fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    fn absent(&self) -> Error {
        let what = match self.controller {
            UNIFIED => format!("cgroup v2 file {}", self.file),
            controller => format!("{controller} cgroup controller"),
        };
        Error::Absent { field: self.field, what }
    }

    /// Writes the value in the cgroup `directory`.
    fn write(&self, directory: &Path) -> Result<(), Error> {
        let mut written = write(&directory.join(&self.file), &self.value);
        let (mut file, mut value) = (self.file.as_str(), &self.value);
        if let (Err(error), Some((other, instead))) = (&written, &self.instead)
            && error.kind() == io::ErrorKind::NotFound
        {
            (file, value) = (other, instead);
            written = write(&directory.join(file), value);
        }
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.optional => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Absent { field: self.field, what: format!("cgroup file {file}") })
            }
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY)
                    && self.field == "linux.resources.memory.limit" =>
            {
                let read = |name: &str| {
                    fs::read_to_string(directory.join(name)).unwrap_or_default().trim().to_owned()
                };
                Err(Error::InUse {
                    limit: value.clone(),
                    usage: read("memory.usage_in_bytes"),
                    peak: read("memory.max_usage_in_bytes"),
                })
            }
            Err(source) => Err(Error::Rejected {
                field: self.field,
                value: value.clone(),
                file: file.to_owned(),
                source,
            }),
        }
    }
}

/// One write is one setting; the file is never made.
fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Writes every setting to the directory that `place` gives for its controller. What is refused as
/// invalid or busy gets a second chance after the others.
pub(super) fn write_all<'a>(
    list: &[Setting],
    place: impl Fn(&str) -> Option<&'a Path>,
) -> Result<(), Error> {
    let mut late = Vec::new();
    for setting in list {
        let directory = match place(setting.controller) {
            Some(directory) => directory,
            None if setting.optional => continue,
            None => return Err(setting.absent()),
        };
        match setting.write(directory) {
            Err(Error::Rejected { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EBUSY)) =>
            {
                late.push((setting, directory));
            }
            written => written?,
        }
    }
    late.into_iter().try_for_each(|(setting, directory)| setting.write(directory))
}

/// The settings, in the order in which the kernel accepts them in a new cgroup. `on_v2` tells whether
/// a controller is in the cgroup v2 hierarchy.
pub(super) fn list(
    resources: &LinuxResources,
    on_v2: &dyn Fn(&str) -> bool,
) -> Result<Vec<Setting>, Error> {
    let mut list = Vec::new();
    pids(resources, &mut list);
    if let Some(memory) = resources.memory() {
        swappiness(memory)?;
        if on_v2("memory") {
            v2::memory(memory, &mut list)?;
        } else {
            v1::memory(memory, &mut list)?;
        }
    }
    if let Some(cpu) = resources.cpu() {
        if on_v2("cpu") {
            v2::cpu(cpu, &mut list)?;
        } else {
            v1::cpu(cpu, &mut list)?;
        }
        for (file, value, field) in [
            ("cpuset.cpus", cpu.cpus(), "linux.resources.cpu.cpus"),
            ("cpuset.mems", cpu.mems(), "linux.resources.cpu.mems"),
        ] {
            let value = value.as_ref().filter(|value| !value.is_empty());
            list.extend(value.map(|value| Setting::new("cpuset", file, value, field)));
        }
    }
    if let Some(block) = resources.block_io() {
        if on_v2("io") { v2::io(block, &mut list)? } else { v1::blkio(block, &mut list) }
    }
    hugepages(resources, on_v2("hugetlb"), &mut list)?;
    rdma(resources, &mut list);
    if let Some(network) = resources.network() {
        v1::network(network, &mut list);
    }
    v2::unified(resources, &mut list)?;
    Ok(list)
}

fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

fn swappiness(memory: &LinuxMemory) -> Result<(), Error> {
    match memory.swappiness() {
        // Engines write -1 for unset.
        None | Some(0..=100 | u64::MAX) => Ok(()),
        Some(other) => {
            let reason = format!("{other} is not 0 to 100");
            Err(Error::Invalid { field: "linux.resources.memory.swappiness", reason })
        }
    }
}

fn pids(resources: &LinuxResources, list: &mut Vec<Setting>) {
    let field = "linux.resources.pids.limit";
    match resources.pids().map(|pids| pids.limit()) {
        None | Some(0) => {}
        Some(limit @ 1..) => list.push(Setting::new("pids", "pids.max", limit, field)),
        Some(_) => list.push(Setting::new("pids", "pids.max", "max", field)),
    }
}

fn hugepages(
    resources: &LinuxResources,
    on_v2: bool,
    list: &mut Vec<Setting>,
) -> Result<(), Error> {
    let field = "linux.resources.hugepageLimits";
    let suffix = if on_v2 { "max" } else { "limit_in_bytes" };
    for limit in resources.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        if size.is_empty() || size.contains('/') {
            return Err(Error::Invalid { field, reason: format!("{size:?} is no page size") });
        }
        let value = limit.limit();
        let file = format!("hugetlb.{size}.{suffix}");
        list.push(Setting::new("hugetlb", &file, value, field));
        // Reservations are counted since Linux 5.7.
        let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
        list.push(Setting::new("hugetlb", &reserved, value, field).optional());
    }
    Ok(())
}

fn rdma(resources: &LinuxResources, list: &mut Vec<Setting>) {
    for (device, limits) in resources.rdma().iter().flatten() {
        let text = |name: &str, number: Option<u32>| {
            number.map_or_else(String::new, |number| format!(" {name}={number}"))
        };
        let handles = text("hca_handle", limits.hca_handles());
        let objects = text("hca_object", limits.hca_objects());
        let value = format!("{device}{handles}{objects}");
        list.push(Setting::new("rdma", "rdma.max", value, "linux.resources.rdma"));
    }
}

/// Refuses a limit of memory plus swap that is below the limit of memory.
fn above(limit: i64, swap: i64) -> Result<i64, Error> {
    swap.checked_sub(limit).filter(|rest| *rest >= 0).ok_or_else(|| Error::Invalid {
        field: "linux.resources.memory.swap",
        reason: format!("{swap} is below the memory limit {limit}, which it includes"),
    })
}
