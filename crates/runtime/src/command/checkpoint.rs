//! `checkpoint`: saves a container's processes by criu.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use container::Container;
use container::store::Status;
use spec::oci::runtime::{LinuxNamespaceType as Namespace, Spec};

use super::{Error, absolute, config};
use crate::args::{Checkpoint, Criu};
use crate::criu::{self, Call, Message, Request};
use crate::inherit::Inherited;
use crate::log::Log;

/// Where the streams' pipes are noted, for `restore` to give it other ones.
pub(super) const STREAMS: &str = "descriptors.json";

/// The field numbers of criu's options that are used in both directions.
pub(super) mod field {
    pub(in crate::command) const IMAGES: u32 = 1;
    pub(super) const PID: u32 = 2;
    pub(in crate::command) const LOG_LEVEL: u32 = 9;
    pub(in crate::command) const LOG: u32 = 10;
    pub(super) const PAGE_SERVER: u32 = 11;
    pub(in crate::command) const NOTIFY: u32 = 12;
    pub(in crate::command) const ROOT: u32 = 13;
    pub(super) const PARENT: u32 = 14;
    pub(super) const TRACK_MEMORY: u32 = 15;
    pub(in crate::command) const WORK: u32 = 17;
    pub(in crate::command) const MOUNT: u32 = 23;
    pub(in crate::command) const CGROUPS: u32 = 24;
    pub(in crate::command) const CGROUPS_MODE: u32 = 34;
    pub(super) const EXTERNAL: u32 = 37;
    pub(in crate::command) const EMPTY: u32 = 38;
    pub(super) const FREEZER: u32 = 44;
    pub(in crate::command) const TERMINALS: u32 = 50;
    pub(in crate::command) const CONFIG: u32 = 51;
}

/// Switches by name and number.
const SWITCHES: [(&str, u32); 9] = [
    ("leave-running", 3),
    ("ext-unix-sk", 4),
    ("tcp-established", 5),
    ("shell-job", 7),
    ("file-locks", 8),
    ("auto-dedup", 16),
    ("link-remap", 18),
    ("tcp-skip-in-flight", 46),
    ("lazy-pages", 48),
];

/// Numbers in `criu_features`.
const MEMORY_TRACKING: u32 = 1;
const LAZY_PAGES: u32 = 2;

/// Directories that criu is given by descriptor, and its log.
pub(super) struct Places {
    images: File,
    work: Option<File>,
    /// The log.
    pub(super) log: PathBuf,
}

impl Places {
    /// Opens them; those for work are made.
    pub(super) fn open(flags: &Criu, log: &str) -> Result<Self, Error> {
        let open = |path: &PathBuf| File::open(path).map_err(Error::file("open", path));
        let work = flags.work.as_ref().map(|path| directory(path).and_then(|()| open(path)));
        // The directory changes before it is read.
        let beside = absolute(flags.work.as_ref().unwrap_or(&flags.images))?;
        Ok(Self { images: open(&flags.images)?, work: work.transpose()?, log: beside.join(log) })
    }
}

/// Saves the container; it is gone afterwards unless told to go on.
pub(super) fn run(
    container: Container,
    flags: &Checkpoint,
    inherited: Inherited,
    log: &Log,
) -> Result<u8, Error> {
    let status = container.status().map_err(Error::container("checkpoint", &flags.id))?;
    let (Status::Running | Status::Paused, Some(pid)) = (status, container.pid()) else {
        let text = format!("Container cannot be checkpointed in {} state", status.name());
        return Err(Error::Usage(text));
    };
    if container.record().layers.is_some() {
        let text = "windows.layerFolders: a container whose root is of layers is not restored: \
                    checkpoint one with a root.path";
        return Err(Error::Usage(format!("checkpoint {}: {text}", flags.id)));
    }
    directory(&flags.criu.images)?;
    if let Some(parent) = &flags.parent {
        let path = flags.criu.images.join(parent);
        fs::read_dir(&path).map_err(Error::file("--parent-path: read", path))?;
    }
    let spec = config(&container.record().bundle, log)?;
    let places = Places::open(&flags.criu, "dump.log")?;
    criu::check()?;
    let pre_dump = flags.criu.has("pre-dump");
    if pre_dump {
        criu::check_feature(MEMORY_TRACKING, "MemTrack")?;
    }
    if flags.criu.has("lazy-pages") {
        criu::check_feature(LAZY_PAGES, "LazyPages")?;
    }
    let mut options = common(&flags.criu, &places, &container.record().annotations);
    describe(&mut options, &container, flags, pid.raw());
    if !pre_dump {
        mounts(&mut options, &container, &spec, pid.raw());
        streams(&flags.criu.images, pid.raw())?;
    }
    namespaces(&mut options, &spec)?;
    let kind = if pre_dump { Request::PreDump } else { Request::Dump };
    let call =
        Call { kind, options: Some(&options), inherited: &[], streams: false, log: &places.log };
    let mut status_fd = inherited.fds.into_iter().next();
    call.run(call.start()?, &mut |event| {
        log.debug(&format!("criu: {}", event.script));
        match event.script.as_str() {
            "status-ready" => ready(status_fd.take()),
            _ => Ok(()),
        }
    })?;
    if !pre_dump && !flags.criu.has("leave-running") {
        let warnings = container.delete(true).map_err(Error::container("checkpoint", &flags.id))?;
        log.warn_of(&warnings);
    }
    Ok(0)
}

/// Says on `--status-fd` that pages can be asked for.
fn ready(fd: Option<OwnedFd>) -> std::io::Result<()> {
    fd.map_or(Ok(()), |fd| File::from(fd).write_all(&[0]))
}

/// Makes a directory that only its owner reads; one that exists is fine.
fn directory(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(Error::file("make", path))
}

/// Options of both directions.
pub(super) fn common(
    flags: &Criu,
    places: &Places,
    annotations: &std::collections::HashMap<String, String>,
) -> Message {
    let fd = |file: &File| u64::from(file.as_raw_fd().cast_unsigned());
    let mut options = Message::default();
    options
        .number(field::IMAGES, fd(&places.images))
        .number(field::LOG_LEVEL, 4)
        .text(field::LOG, places.log.file_name().unwrap_or_default().as_encoded_bytes())
        .flag(field::NOTIFY, true)
        .flag(field::CGROUPS, true)
        .number(field::CGROUPS_MODE, flags.cgroups)
        .number(field::EMPTY, u64::from(Namespace::Network as u32))
        .flag(field::TERMINALS, true);
    if let Some(work) = &places.work {
        options.number(field::WORK, fd(work));
    }
    for (name, number) in SWITCHES {
        if flags.has(name) {
            options.flag(number, true);
        }
    }
    // What is in the file that this names goes before all that is said here.
    match annotations.get("org.criu.config").map(String::as_str) {
        Some("") => {}
        Some(path) => drop(options.text(field::CONFIG, path)),
        None => drop(options.text(field::CONFIG, "/etc/criu/runc.conf")),
    }
    options
}

fn describe(options: &mut Message, container: &Container, flags: &Checkpoint, pid: i32) {
    options
        .number(field::PID, u64::from(pid.cast_unsigned()))
        .text(field::ROOT, container.record().rootfs.as_os_str().as_encoded_bytes());
    if let Some(freezer) = container.freezer() {
        options.text(field::FREEZER, freezer.as_os_str().as_encoded_bytes());
    }
    if let Some((address, port)) = &flags.page_server {
        let mut server = Message::default();
        server.text(1, address).number(2, u64::from(*port));
        options.nested(field::PAGE_SERVER, &server);
    }
    if let Some(parent) = &flags.parent {
        options.text(field::PARENT, parent.as_os_str().as_encoded_bytes());
        options.flag(field::TRACK_MEMORY, true);
    }
}

/// One mount that criu does not save: what it is called in the images, and where it comes from.
pub(super) fn mount(options: &mut Message, key: &Path, from: &Path) {
    let mut pair = Message::default();
    pair.text(1, key.as_os_str().as_encoded_bytes()).text(2, from.as_os_str().as_encoded_bytes());
    options.nested(field::MOUNT, &pair);
}

/// Whether the mount comes from the host's files.
pub(super) fn is_bind(mount: &spec::oci::runtime::Mount) -> bool {
    mount.typ().as_deref() == Some("bind")
        || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
}

/// Mounts that are the host's: criu only notes their names.
fn mounts(options: &mut Message, container: &Container, spec: &Spec, pid: i32) {
    for one in spec.mounts().iter().flatten() {
        let destination = one.destination();
        if one.typ().as_deref().is_some_and(|kind| kind.starts_with("cgroup")) {
            for (inside, _) in container.cgroup_mounts(destination) {
                mount(options, &inside, &inside);
            }
        } else if is_bind(one) {
            mount(options, destination, destination);
        }
    }
    let Some(linux) = spec.linux() else { return };
    for path in linux.masked_paths().iter().flatten() {
        let inside = PathBuf::from(format!("/proc/{pid}/root/{path}"));
        if inside.metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            mount(options, Path::new(path), Path::new("/dev/null"));
        }
    }
    for device in linux.devices().iter().flatten() {
        mount(options, device.path(), device.path());
    }
}

/// Network and pid namespaces that were joined by path stay what they are.
fn namespaces(options: &mut Message, spec: &Spec) -> Result<(), Error> {
    for (kind, path, name, key) in external(spec) {
        debug_assert!(matches!(kind, Namespace::Network | Namespace::Pid));
        let metadata = fs::metadata(path).map_err(Error::file("look at", path))?;
        options.text(field::EXTERNAL, format!("{name}[{}]:{key}", metadata.ino()));
    }
    Ok(())
}

/// Those namespaces, with criu's name of the type and the name that both directions know it by.
pub(super) fn external(
    spec: &Spec,
) -> impl Iterator<Item = (Namespace, &Path, &'static str, &'static str)> {
    let list = spec.linux().iter().flat_map(|linux| linux.namespaces().iter().flatten());
    list.filter_map(|one| {
        let path = one.path().as_deref().filter(|path| !path.as_os_str().is_empty())?;
        match one.typ() {
            Namespace::Network => Some((one.typ(), path, "net", "extRootNetNS")),
            Namespace::Pid => Some((one.typ(), path, "pid", "extRootPidNS")),
            _ => None,
        }
    })
}

/// Notes what the standard streams are.
fn streams(images: &Path, pid: i32) -> Result<(), Error> {
    let name = |fd: i32| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        link.to_string_lossy().into_owned()
    };
    let path = images.join(STREAMS);
    let text = serde_json::to_vec(&[name(0), name(1), name(2)])
        .map_err(|error| Error::step("note the streams")(error.into()))?;
    fs::write(&path, text).map_err(Error::file("write", path))
}
