//! Making a container, from its configuration to an init that waits at the start gate.
//!
//! ```text
//!   check -> directory, record -> start init -> cgroups, limits -> request -> ready -> record -> go
//!                                     '------- at the same time -------'
//! ```
//!
//! Every step that leaves something behind is undone when a later one fails. Killed half way, the
//! launcher leaves a record from which `delete` finds the cgroups; init ends by itself.

mod request;

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use spec::ContainerId;
use spec::oci::runtime as oci;

use crate::cgroup::View;
use crate::launch::{Place, Starting};
use crate::mapping::Mappings;
use crate::namespace::{self, Namespaces};
use crate::node;
use crate::rdt::Group;
use crate::record::{Init, Record};
use crate::seccomp::Filter;
use crate::source::{self, Layers, Sources};
use crate::store::{Container, ROOTFS, Store};
use crate::systemd::Unit;
use crate::{Console, Error, Launched, Stdio, check, hook, init, netdevice, processes};

/// What a container is made from. `CreateOptions::new(bundle, spec)` and then the fields that differ.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// The directory to which relative paths in the configuration refer; reported by `state`.
    pub bundle: &'a Path,
    /// Its `config.json`.
    pub spec: &'a oci::Spec,
    /// The root filesystem, absolute; `None` for `root.path` in the configuration.
    pub rootfs: Option<PathBuf>,
    /// Instead of a directory; they are mounted in the container's own directory of the store.
    pub layers: Option<Layers>,
    /// Standard streams, when there is no terminal.
    pub stdio: Stdio,
    /// Where the terminal's master goes, when there is one.
    pub console: Console,
    /// File to write the new pid to, atomically, before `create` returns.
    pub pid_file: Option<&'a Path>,
    /// Descriptors that the user's program inherits as 3, 4, …, in order.
    pub preserve_fds: Vec<OwnedFd>,
    /// chroot instead of pivot_root, for a rootfs on the initial ramfs. Weaker: see pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Have systemd manage the cgroups; `linux.cgroupsPath` is then `slice:prefix:name`.
    pub systemd_cgroup: bool,
}

impl<'a> CreateOptions<'a> {
    /// Inherited streams, pivot_root, a new session keyring.
    pub fn new(bundle: &'a Path, spec: &'a oci::Spec) -> Self {
        Self {
            bundle,
            spec,
            rootfs: None,
            layers: None,
            stdio: Stdio::default(),
            console: Console::default(),
            pid_file: None,
            preserve_fds: Vec::new(),
            no_pivot: false,
            no_new_keyring: false,
            systemd_cgroup: false,
        }
    }
}

/// A container on its way; what was made so far is removed when this is dropped unfinished.
pub(crate) struct Unfinished<'a> {
    pub(crate) directory: PathBuf,
    pub(crate) cgroup: &'a View,
    /// A rootfs in this mount namespace, and its mount's number.
    pub(crate) rootfs: Option<(PathBuf, u64)>,
    pub(crate) rdt: Option<Group>,
    pub(crate) unit: Option<&'a Unit>,
    /// Hooks to run when it is gone, and the state they read: once there was a container to hook into.
    pub(crate) poststop: Option<(&'a [oci::Hook], hook::State)>,
    pub(crate) done: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The failure that led here is what the caller learns.
            let _ = self.unit.map(Unit::stop);
            let _ = self.cgroup.remove();
            if let Some((path, id)) = &self.rootfs {
                let _ = source::unmount(path, *id);
            }
            let _ = self.rdt.as_ref().map(Group::remove);
            // What is still mounted there is not to be removed.
            match fs::remove_dir(self.directory.join(ROOTFS)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
                _ => drop(fs::remove_dir_all(&self.directory)),
            }
            if let Some((hooks, state)) = &self.poststop {
                let state = hook::State { status: "stopped".into(), pid: None, ..state.clone() };
                hook::run_each("poststop", hooks, &state);
            }
        }
    }
}

/// What the checks give.
pub(crate) struct Checked<'a> {
    process: &'a oci::Process,
    linux: &'a oci::Linux,
    namespaces: Namespaces,
    /// Of a user namespace that is to be made.
    mappings: Option<Mappings<'a>>,
    pub(crate) filter: Option<Filter>,
}

/// See [`Store::create`].
pub(crate) fn create(
    store: &Store,
    id: &ContainerId,
    options: &CreateOptions<'_>,
) -> Result<(Container, Launched), Error> {
    let checked = checked(options)?;
    let mut record = record(store, id, options, &checked)?;
    let sources = sources(&checked, options.spec, &record)?;
    record.rootfs_mount = own_mount(&checked, &sources)?;
    // Whoever finds the record waits until it is complete, or this program is dead.
    let (directory, lock) = store.make_directory(id)?;
    let cgroup = record.cgroup.clone();
    // Dropped in reverse order: init is killed before its cgroups are removed.
    let rootfs = record.rootfs_mount.map(|id| (record.rootfs.clone(), id));
    let rdt = record.rdt.clone();
    let unit = record.unit.clone();
    let mut unfinished = Unfinished {
        directory,
        cgroup: &cgroup,
        unit: unit.as_ref(),
        rootfs,
        rdt,
        poststop: None,
        done: false,
    };
    record.write(&unfinished.directory)?;
    if record.layers.is_some() {
        fs::create_dir(&record.rootfs).map_err(Error::file("make", &record.rootfs))?;
    }
    if let Some(filter) = &checked.filter {
        filter.save(&unfinished.directory)?;
    }
    let gate = listen(&lock, &unfinished.directory)?;
    let mut starting = start(options, &checked, (&cgroup, unit.as_ref()), &gate, &sources)?;
    drop(gate);
    attach(&checked, &record, starting.pid.raw())?;

    let state = state(options.spec, &record, starting.pid.raw());
    let hooks = options.spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_deref());
    unfinished.poststop = hooks.map(|hooks| (hooks, state.clone()));
    let request = request::request(options, &checked, &record, &state, &sources);
    starting.prepare(&request, || launcher_hooks(options.spec, &state))?;
    starting.give_console(&options.console)?;
    if let Some(agent) = checked.filter.as_ref().and_then(Filter::agent) {
        starting.give_listener(agent, &state)?;
    }
    let started = processes::start_time(starting.pid.raw())
        .map_err(Error::launch("read the start time of init"))?;
    record.init = Some(Init { pid: starting.pid, started });
    record.write(&unfinished.directory)?;
    if let Some(path) = options.pid_file {
        write_pid_file(path, starting.pid.raw())?;
    }
    starting.channel.go().map_err(Error::launch("write to init"))?;
    let (launched, _) = starting.keep()?;
    unfinished.done = true;
    Ok((Container::new(store, record), launched))
}

pub(crate) fn checked<'a>(options: &CreateOptions<'a>) -> Result<Checked<'a>, Error> {
    check::spec(options.spec)?;
    let missing = |field| Error::Config(check::Error::invalid(field, "missing"));
    let process = options.spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let linux = options.spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    let namespaces = Namespaces::of(linux.namespaces().as_deref().unwrap_or_default())?;
    let mappings = mappings(linux, &namespaces)?;
    let compile = |profile| Filter::compile(profile, options.bundle);
    let filter = linux.seccomp().as_ref().map(compile).transpose()?;
    Ok(Checked { process, linux, namespaces, mappings, filter })
}

/// The maps of a user namespace that is to be made; only such a one may have any.
fn mappings<'a>(
    linux: &'a oci::Linux,
    namespaces: &Namespaces,
) -> Result<Option<Mappings<'a>>, check::Error> {
    let (users, groups) = (linux.uid_mappings().as_deref(), linux.gid_mappings().as_deref());
    if namespaces.made & namespace::flag(oci::LinuxNamespaceType::User) != 0 {
        return Mappings::checked(users, groups).map(Some);
    }
    for (field, list) in [("linux.uidMappings", users), ("linux.gidMappings", groups)] {
        if list.is_some_and(|list| !list.is_empty()) {
            return Err(check::Error::invalid(field, "needs a user namespace without a path"));
        }
    }
    Ok(None)
}

/// What init needs to have opened.
fn sources(checked: &Checked<'_>, spec: &oci::Spec, record: &Record) -> Result<Sources, Error> {
    let none = Mappings { users: &[], groups: &[] };
    let propagation = checked.linux.rootfs_propagation().as_deref();
    let needs = source::Needs {
        user: checked.namespaces.has_user().then(|| checked.mappings.unwrap_or(none)),
        here: !checked.namespaces.has_mount(),
        shared: propagation.is_some_and(|text| text.ends_with("shared")),
    };
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let mut sources = source::open((&record.rootfs, record.layers.as_ref()), mounts, needs)?;
    if let Some(mappings) = needs.user {
        sources.devices =
            node::make(checked.linux.devices().as_deref().unwrap_or_default(), mappings)?;
    }
    Ok(sources)
}

/// The number of the rootfs's mount, where that will be this namespace's.
fn own_mount(checked: &Checked<'_>, sources: &Sources) -> Result<Option<u64>, Error> {
    let rootfs = sources.rootfs.as_ref().filter(|_| !checked.namespaces.has_mount());
    let step = "read the number of the root filesystem's mount";
    rootfs.map(source::mount_id).transpose().map_err(Error::launch(step))
}

pub(crate) fn record(
    store: &Store,
    id: &ContainerId,
    options: &CreateOptions<'_>,
    checked: &Checked<'_>,
) -> Result<Record, Error> {
    let linux = checked.linux;
    let bundle = absolute(options.bundle)?;
    let rootfs = match options.layers {
        Some(_) => store.directory(id).join(ROOTFS),
        None => directory(options, &bundle)?,
    };
    let spec = options.spec;
    let path = linux.cgroups_path().as_deref();
    let unit = options.systemd_cgroup.then(|| Unit::plan(path, id.as_str())).transpose()?;
    let path = match &unit {
        Some(unit) => Some(unit.path()?),
        None => path.map(Path::to_owned),
    };
    Ok(Record {
        id: id.clone(),
        init: None,
        bundle,
        rootfs,
        layers: options.layers.clone(),
        rootfs_mount: None,
        created: SystemTime::now(),
        annotations: spec.annotations().clone().unwrap_or_default(),
        oci_version: spec.version().clone(),
        cgroup: View::plan(path.as_deref(), id.as_str(), linux.resources().as_ref())?,
        unit,
        resources: linux.resources().clone(),
        rdt: linux.intel_rdt().as_ref().map(|rdt| Group::plan(rdt, id.as_str())).transpose()?,
        namespaces: checked.namespaces.all(),
        own_pids: checked.namespaces.made & namespace::flag(oci::LinuxNamespaceType::Pid) != 0,
        poststart: spec.hooks().as_ref().and_then(|h| h.poststart().clone()).unwrap_or_default(),
        poststop: spec.hooks().as_ref().and_then(|h| h.poststop().clone()).unwrap_or_default(),
        process: spec.process().clone(),
        personality: linux.personality().clone(),
        memory_policy: linux.memory_policy().clone(),
        filtered: linux.seccomp().is_some(),
    })
}

/// The directory that is the root filesystem.
fn directory(options: &CreateOptions<'_>, bundle: &Path) -> Result<PathBuf, check::Error> {
    let rootfs = match (&options.rootfs, options.spec.root()) {
        (Some(rootfs), _) => rootfs.clone(),
        (None, Some(root)) => bundle.join(root.path()),
        (None, None) => bundle.join("rootfs"),
    };
    let invalid = |reason: String| check::Error::invalid("root.path", reason);
    let found = rootfs.canonicalize();
    let rootfs = found.map_err(|error| invalid(format!("{}: {error}", rootfs.display())))?;
    if rootfs.is_dir() {
        return Ok(rootfs);
    }
    Err(invalid(format!("{} is not a directory", rootfs.display())))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(Error::file("find the bundle", path))
}

/// The socket at which init waits to be started.
fn listen(opened: &fs::File, directory: &Path) -> Result<OwnedFd, Error> {
    let path = directory.join(crate::store::GATE);
    let step = "listen at the start gate";
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(Error::launch(step))?;
    // An address has 107 bytes at most; a path through a descriptor is always short enough.
    let address = crate::store::gate_address(opened).map_err(Error::launch(step))?;
    rustix::net::bind(&socket, &address)
        .map_err(std::io::Error::from)
        .map_err(Error::file("make", path))?;
    rustix::net::listen(&socket, 16).map_err(Error::launch(step))?;
    Ok(socket)
}

/// Starts init and makes the cgroups meanwhile; cgroup v2 ones first, since init is born there.
fn start(
    options: &CreateOptions<'_>,
    checked: &Checked<'_>,
    (cgroup, unit): (&View, Option<&Unit>),
    gate: &OwnedFd,
    sources: &Sources,
) -> Result<Starting, Error> {
    let resources = checked.linux.resources().as_ref();
    let early = matches!(cgroup, View::V2 { .. }) && unit.is_none();
    if early {
        cgroup.make(resources, None)?;
    }
    let birthplace = if early { cgroup.birthplace(None)? } else { None };
    let namespaces = &checked.namespaces;
    let mut extra = vec![gate.as_fd()];
    extra.extend(namespaces.entered_by_init().map(|(_, fd)| fd.as_fd()));
    extra.extend(sources.rootfs.iter().map(AsFd::as_fd));
    extra.extend(sources.mounts.iter().chain(&sources.devices).map(|(_, fd)| fd.as_fd()));
    let enter = namespaces.entered_before().iter();
    let place = Place {
        stdio: &options.stdio,
        terminal: checked.process.terminal() == Some(true),
        preserved: &options.preserve_fds,
        made: namespaces.made,
        pid_namespace: namespaces.birthplace(),
        enter: enter.map(|(kind, fd)| (kind.cast_signed(), fd.as_fd())).collect(),
        held: namespaces.has_user(),
        cgroup: birthplace.as_ref(),
        extra,
    };
    let starting = place.start()?;
    let pid = starting.pid.raw();
    if let Some(unit) = unit {
        let none = HashMap::new();
        unit.start(pid, resources, options.spec.annotations().as_ref().unwrap_or(&none))?;
    }
    if !early {
        cgroup.make(resources, unit.map(|_| pid))?;
    }
    if namespaces.has_user() {
        admit(checked, cgroup, &starting)?;
    }
    Ok(starting)
}

/// Gives the started init what it does not have by its namespaces and cgroups.
fn attach(checked: &Checked<'_>, record: &Record, pid: i32) -> Result<(), Error> {
    if let (Some(group), Some(rdt)) = (&record.rdt, checked.linux.intel_rdt()) {
        group.make(rdt)?;
        group.join(pid)?;
    }
    let devices = checked.linux.net_devices().as_ref().filter(|devices| !devices.is_empty());
    if let Some(devices) = devices {
        let network = namespace::flag(oci::LinuxNamespaceType::Network);
        let joined = checked.namespaces.joined.iter().find(|(kind, _)| *kind == network);
        if let Some((_, netns)) = joined {
            netdevice::take_over(devices, netns)?;
        } else {
            let path = format!("/proc/{pid}/ns/net");
            let netns = fs::File::open(&path).map_err(Error::file("open", path))?;
            netdevice::take_over(devices, &netns.into())?;
        }
    }
    Ok(())
}

/// Does for an init in a user namespace what it may not do from within.
fn admit(checked: &Checked<'_>, cgroup: &View, starting: &Starting) -> Result<(), Error> {
    let pid = starting.pid.raw();
    cgroup.admit(pid)?;
    init::limits::lift(Pid::from_raw(pid), checked.process);
    if let Some(mappings) = &checked.mappings {
        mappings.write(pid)?;
    }
    starting.admit()
}

/// Hooks that run in the launcher's namespaces, before the pivot.
fn launcher_lists(spec: &oci::Spec) -> [(&'static str, &[oci::Hook]); 2] {
    let Some(hooks) = spec.hooks() else { return [("prestart", &[]), ("createRuntime", &[])] };
    let prestart = hooks.prestart().as_deref().unwrap_or_default();
    let create_runtime = hooks.create_runtime().as_deref().unwrap_or_default();
    [("prestart", prestart), ("createRuntime", create_runtime)]
}

pub(crate) fn launcher_hooks(spec: &oci::Spec, state: &hook::State) -> Result<(), Error> {
    for (kind, list) in launcher_lists(spec) {
        hook::run_all(kind, list, state)?;
    }
    Ok(())
}

pub(crate) fn state(spec: &oci::Spec, record: &Record, pid: i32) -> hook::State {
    hook::State {
        oci_version: spec.version().clone(),
        id: record.id.to_string(),
        status: "creating".to_owned(),
        pid: Some(pid),
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    }
}

/// Writes the pid so that a reader sees either no file or the whole number.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<(), Error> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let temporary = path.with_file_name(name);
    fs::write(&temporary, pid.to_string()).map_err(Error::file("write", &temporary))?;
    fs::rename(&temporary, path).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Error::file("write", path)(error)
    })
}

/// The address of the gate in an open state directory.
pub(crate) fn short_address(directory: &fs::File, name: &str) -> std::io::Result<SocketAddrUnix> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}
