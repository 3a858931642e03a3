//! What a checkpoint tool needs to know of a container, and containers that one of them brought back.
//!
//! The tool itself is the caller's affair: this crate makes and removes what is around the processes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use spec::{ContainerId, Pid, Signal};

use crate::cgroup::View;
use crate::create::{self, Unfinished};
use crate::record::{Init, Record};
use crate::store::{Container, Store};
use crate::{CreateOptions, Error, check, processes};

/// A container that has everything but processes.
#[derive(Debug)]
pub struct Restoring<'a> {
    record: &'a Record,
    directory: &'a Path,
    options: &'a CreateOptions<'a>,
}

/// A process that was brought back.
#[derive(Debug)]
pub struct Restored {
    /// The container.
    pub container: Container,
    /// Its init.
    pub pid: Pid,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

impl Container {
    /// The cgroup whose freezer holds the container.
    pub fn freezer(&self) -> Option<PathBuf> {
        self.record().cgroup.freezer()
    }

    /// Where its cgroups are inside when they are mounted at `at`, and their directories.
    pub fn cgroup_mounts(&self, at: &Path) -> Vec<(PathBuf, PathBuf)> {
        mounts(&self.record().cgroup, at)
    }
}

impl Restoring<'_> {
    /// Its root filesystem.
    pub fn rootfs(&self) -> &Path {
        &self.record.rootfs
    }

    /// Its directory in the store, for what the tool needs meanwhile.
    pub fn directory(&self) -> &Path {
        self.directory
    }

    /// As [`Container::cgroup_mounts`].
    pub fn cgroup_mounts(&self, at: &Path) -> Vec<(PathBuf, PathBuf)> {
        mounts(&self.record.cgroup, at)
    }

    /// Puts a process into the container's cgroups.
    pub fn admit(&self, pid: u32) -> Result<(), Error> {
        if let View::V2 { directory, .. } = &self.record.cgroup {
            let file = directory.join("cgroup.procs");
            return fs::write(&file, pid.to_string()).map_err(Error::file("write", file));
        }
        Ok(self.record.cgroup.admit(pid.cast_signed())?)
    }

    /// Runs the hooks that come before a container's program, for the init `pid`.
    pub fn hooks(&self, pid: i32) -> Result<(), Error> {
        let state = create::state(self.options.spec, self.record, pid);
        create::launcher_hooks(self.options.spec, &state)
    }
}

impl Store {
    /// Makes a container around processes that `bring_back` makes; it gives the init's number. A
    /// failure leaves nothing.
    pub fn restore(
        &self,
        id: &ContainerId,
        options: &CreateOptions<'_>,
        bring_back: impl FnOnce(&Restoring<'_>) -> io::Result<i32>,
    ) -> Result<Restored, Error> {
        let checked = create::checked(options)?;
        let linux = options.spec.linux().as_ref();
        for (field, set) in [
            ("linux.intelRdt", linux.is_some_and(|linux| linux.intel_rdt().is_some())),
            ("linux.netDevices", linux.is_some_and(|linux| linux.net_devices().is_some())),
            ("--systemd-cgroup", options.systemd_cgroup),
        ] {
            if set {
                return Err(check::Error::unsupported(field, "for a restored container").into());
            }
        }
        let mut record = create::record(self, id, options, &checked)?;
        let (directory, _lock) = self.make_directory(id)?;
        let cgroup = record.cgroup.clone();
        let mut unfinished = Unfinished {
            directory,
            cgroup: &cgroup,
            rootfs: None,
            rdt: None,
            unit: None,
            poststop: None,
            done: false,
        };
        record.write(&unfinished.directory)?;
        if let Some(filter) = &checked.filter {
            filter.save(&unfinished.directory)?;
        }
        cgroup.make(
            options.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()),
            None,
        )?;
        let restoring = Restoring { record: &record, directory: &unfinished.directory, options };
        let found = bring_back(&restoring).map_err(Error::launch("criu")).and_then(find);
        let (init, pidfd) = found.inspect_err(|_| {
            // What is left of it must not hold the cgroups; the failure above is what is told.
            let _ = cgroup.signal(Signal::KILL);
        })?;
        record.init = Some(init);
        record.write(&unfinished.directory)?;
        if let Some(path) = options.pid_file {
            create::write_pid_file(path, init.pid.raw())?;
        }
        unfinished.done = true;
        Ok(Restored { container: Container::new(self, record), pid: init.pid, pidfd })
    }
}

fn find(pid: i32) -> Result<(Init, OwnedFd), Error> {
    let step = "find the restored init";
    let number = Pid::new(pid).ok_or(Error::Vanished)?;
    let started = processes::start_time(pid).map_err(Error::launch(step))?;
    let pidfd = processes::open(pid, started).map_err(Error::launch(step))?;
    Ok((Init { pid: number, started }, pidfd.ok_or(Error::Vanished)?))
}

fn mounts(view: &View, at: &Path) -> Vec<(PathBuf, PathBuf)> {
    match view {
        View::V2 { directory, .. } => vec![(at.to_owned(), directory.clone())],
        View::V1(list) => list
            .iter()
            .filter_map(|one| Some((at.join(one.mount.file_name()?), one.directory.clone())))
            .collect(),
    }
}
