//! A container's configuration, as the guest can take it.
//!
//! Most of it means the same in the guest and passes unchanged. What names a thing of the host does
//! not: the engine's own small files are copied, other bind mounts are shared, the network namespace becomes
//! a cable, and everything else is refused by name. Nothing is dropped in silence.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use share::Share;
use spec::oci::runtime as oci;
use spec::{ContainerId, Kind, annotation};
use tree::graft::is_bind;
use wire::message;

/// The largest file that is copied into a guest.
const MAX_FILE: u64 = 1 << 20;
/// Device nodes that every container gets anyway, from its own kernel: major and minor number.
const DEFAULT_DEVICES: [(i64, i64); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// What becomes of a configuration.
#[derive(Debug)]
pub(super) struct Guest {
    /// For the guest.
    pub(super) spec: oci::Spec,
    /// Copies that are mounted where the configuration says.
    pub(super) files: Vec<Copied>,
    /// What of the host is mounted where the configuration says.
    pub(super) binds: Vec<Bind>,
    /// The network namespace on the host; `None` for a new one with nothing but `lo`, or a joined one.
    pub(super) netns: Option<PathBuf>,
    /// Namespaces of other containers in the VM that it joins.
    pub(super) joins: Vec<(oci::LinuxNamespaceType, ContainerId)>,
    /// Block devices of the host, which become disks.
    pub(super) disks: Vec<HostDisk>,
}

/// A block device of the host among a configuration's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostDisk {
    /// In the container.
    pub(super) path: PathBuf,
    /// Its major and minor number on the host.
    pub(super) numbers: (i64, i64),
    /// What the rules of the configuration let the container do: of `r`, `w` and `m`.
    pub(super) access: String,
}

/// A copy of one of the engine's files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copied {
    /// On the host.
    pub(super) from: PathBuf,
    /// For the guest.
    pub(super) file: message::File,
}

impl Copied {
    /// What it says.
    pub(super) fn text(&self) -> String {
        let bytes = message::from_hex(&self.file.contents).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A directory, file or socket of the host that the container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) share: Share,
    /// In the container.
    pub(super) destination: PathBuf,
}

/// Why a configuration cannot be a VM's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device of the host.
    #[error(
        "bind mount of {} on {}: it is a device, which cannot be shared with a VM container",
        from.display(), on.display()
    )]
    Bind {
        /// On the host.
        from: PathBuf,
        /// In the container.
        on: PathBuf,
    },
    /// What is to be mounted cannot be seen.
    #[error("bind mount of {} on {}", from.display(), on.display())]
    Source {
        /// On the host.
        from: PathBuf,
        /// In the container.
        on: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Mounts that would appear on the other side later.
    #[error("bind mount on {}: {option}: mounts do not spread across the wall of a VM", on.display())]
    Propagation {
        /// In the container.
        on: PathBuf,
        /// The option.
        option: String,
    },
    /// A namespace of the host.
    #[error("linux.namespaces: {what} cannot cross the wall of a VM")]
    Namespace {
        /// Which, and what was to be done with it.
        what: String,
    },
    /// An annotation that names no container.
    #[error("annotation {key}: {said:?} is no namespace of a container", key = annotation::NAMESPACES)]
    Donor {
        /// What it says.
        said: String,
    },
    /// A character device of the host.
    #[error(
        "linux.devices: {}: a character device is its driver in the host's kernel, which the guest \
         does not run: only block devices are passed to VM containers, as disks", path.display()
    )]
    Device {
        /// Its name.
        path: PathBuf,
    },
    /// Programs of the host.
    #[error("hooks: programs of the host are not run for VM containers yet")]
    Hooks,
    /// One of the engine's files cannot be copied.
    #[error("copy {} into the VM", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of the engine's files is none, or too large to copy.
    #[error("copy {} into the VM: it is not a regular file of at most 1 MiB", path.display())]
    NotSmall {
        /// Which.
        path: PathBuf,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Bind { .. }
            | Self::Propagation { .. }
            | Self::Namespace { .. }
            | Self::Device { .. }
            | Self::Hooks => Kind::Unsupported,
            Self::File { source, .. } | Self::Source { source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Kind::NotFound
            }
            Self::File { .. } | Self::Source { .. } => Kind::Internal,
            Self::NotSmall { .. } | Self::Donor { .. } => Kind::Invalid,
        }
    }
}

/// Translates a configuration, reading the files that go with it.
pub(super) fn translate(spec: &oci::Spec) -> Result<Guest, Error> {
    let mut guest = Guest {
        spec: spec.clone(),
        files: Vec::new(),
        binds: Vec::new(),
        netns: None,
        joins: Vec::new(),
        disks: Vec::new(),
    };
    if spec.hooks().as_ref().is_some_and(has_hooks) {
        return Err(Error::Hooks);
    }
    let donors = Donors::of(spec)?;
    if let Some(linux) = guest.spec.linux_mut() {
        (guest.netns, guest.joins) = namespaces(linux, &donors)?;
        guest.disks = devices(linux)?;
        let limits = linux.resources().clone();
        linux.set_resources(limits.map(super::bounds::inside));
    }
    (guest.files, guest.binds) = mounts(spec)?;
    if guest.joins.iter().any(|(typ, _)| *typ == oci::LinuxNamespaceType::Ipc) {
        // With the other's interprocess communication comes its shared memory, which is in the guest.
        guest.binds.retain(|bind| bind.destination != Path::new(message::SHARED_MEMORY));
    }
    Ok(guest)
}

fn has_hooks(hooks: &oci::Hooks) -> bool {
    let lists = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    lists.into_iter().flatten().any(|list| !list.is_empty())
}

/// Copies of the engine's files, and what is shared.
fn mounts(spec: &oci::Spec) -> Result<(Vec<Copied>, Vec<Bind>), Error> {
    let annotations = spec.annotations().as_ref();
    let list = annotations.and_then(|all| all.get(annotation::ENGINE_FILES));
    let ours: Vec<&Path> =
        list.into_iter().flat_map(|list| list.split(':')).map(Path::new).collect();
    let init = annotations.and_then(|all| all.get(annotation::INIT)).map(Path::new);
    let (mut files, mut binds) = (Vec::new(), Vec::new());
    for mount in spec.mounts().iter().flatten().filter(|mount| is_bind(mount)) {
        let from = mount.source().clone().unwrap_or_default();
        let on = mount.destination();
        if Some(on.as_path()) == init {
            // The agent mounts its own program there.
            continue;
        }
        if ours.contains(&on.as_path()) {
            files.push(copy(&from, on)?);
        } else {
            binds.push(bind(mount)?);
        }
    }
    Ok((files, binds))
}

/// What of the host a bind mount shows.
pub(super) fn bind(mount: &oci::Mount) -> Result<Bind, Error> {
    let from = mount.source().clone().unwrap_or_default();
    let on = mount.destination().clone();
    let options = || mount.options().iter().flatten().map(String::as_str);
    let spreads = |option: &&str| matches!(*option, "shared" | "rshared" | "slave" | "rslave");
    if let Some(option) = options().find(spreads) {
        return Err(Error::Propagation { on, option: option.to_owned() });
    }
    let kind = match from.metadata() {
        Ok(found) => found.file_type(),
        Err(source) => return Err(Error::Source { from, on, source }),
    };
    if kind.is_char_device() || kind.is_block_device() {
        return Err(Error::Bind { from, on });
    }
    let (recursive, readonly) =
        (options().any(|option| option == "rbind"), options().any(|option| option == "ro"));
    Ok(Bind { share: Share { source: from, recursive, readonly }, destination: on })
}

/// A root filesystem that is a directory of the host. One that is read-only is so on the host's side too:
/// where something is mounted there must be a place for it.
pub(super) fn root(path: &Path, spec: &oci::Spec) -> Result<Bind, Error> {
    let destination = PathBuf::from("/");
    if let Err(source) = path.metadata() {
        return Err(Error::Source { from: path.to_owned(), on: destination, source });
    }
    let readonly = spec.root().as_ref().and_then(oci::Root::readonly).unwrap_or(false);
    let share = Share { source: path.to_owned(), recursive: true, readonly };
    Ok(Bind { share, destination })
}

/// The network namespace that a container joins, of a configuration that may be of any kind.
pub(super) fn netns(spec: &oci::Spec) -> Option<PathBuf> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    let network = |one: &&oci::LinuxNamespace| one.typ() == oci::LinuxNamespaceType::Network;
    namespaces.iter().find(network)?.path().clone()
}

/// A copy of the file at `from` for the guest, where it is mounted `on`.
pub(super) fn copy(from: &Path, on: &Path) -> Result<Copied, Error> {
    let failed = |source| Error::File { path: from.to_owned(), source };
    let not_small = || Error::NotSmall { path: from.to_owned() };
    // What is no regular file might not even open without waiting.
    if !from.metadata().map_err(failed)?.is_file() {
        return Err(not_small());
    }
    let file = File::open(from).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    let mut contents = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() as u64 > MAX_FILE {
        return Err(not_small());
    }
    let path = on.to_str().ok_or_else(not_small)?.to_owned();
    let contents = message::to_hex(&contents);
    let file = message::File { path, mode: mode & 0o777, contents };
    Ok(Copied { from: from.to_owned(), file })
}

/// Whose namespaces a container joins.
#[derive(Debug, Default)]
struct Donors {
    /// The container whose VM it shares.
    sandbox: Option<ContainerId>,
    /// Which namespaces are whose, where that is said.
    named: Option<Vec<(oci::LinuxNamespaceType, ContainerId)>>,
}

impl Donors {
    fn of(spec: &oci::Spec) -> Result<Self, Error> {
        let Some(annotations) = spec.annotations().as_ref() else { return Ok(Self::default()) };
        let id = |text: &str| text.parse().map_err(|_| Error::Donor { said: text.to_owned() });
        let sandbox = annotation::sandbox(spec).map(id).transpose()?;
        let named = annotations.get(annotation::NAMESPACES).map(|list| {
            let one = |pair: &str| {
                let wrong = || Error::Donor { said: pair.to_owned() };
                let (typ, donor) = pair.split_once('=').ok_or_else(wrong)?;
                let typ = typ.try_into().map_err(|_| wrong())?;
                Ok((typ, id(donor)?))
            };
            list.split(',').filter(|pair| !pair.is_empty()).map(one).collect::<Result<_, _>>()
        });
        Ok(Self { sandbox, named: named.transpose()? })
    }

    /// Whose namespace of a type it is that the configuration has a path for; `None` for one of the host's.
    fn donor(&self, typ: oci::LinuxNamespaceType) -> Option<&ContainerId> {
        match &self.named {
            Some(named) => named.iter().find(|(named, _)| *named == typ).map(|(_, donor)| donor),
            None => self.sandbox.as_ref(),
        }
    }
}

/// What a container has of the namespaces outside of it: the host's for its network, and other containers'.
type Outer = (Option<PathBuf>, Vec<(oci::LinuxNamespaceType, ContainerId)>);

/// Takes what is outside of the container out of the list and checks the others.
fn namespaces(linux: &mut oci::Linux, donors: &Donors) -> Result<Outer, Error> {
    use oci::LinuxNamespaceType as Type;
    let (mut netns, mut joins) = (None, Vec::new());
    let list = linux.namespaces_mut().get_or_insert_default();
    for namespace in list.iter_mut() {
        let typ = namespace.typ();
        let path = namespace.path().clone();
        let donor = path.as_ref().and_then(|_| donors.donor(typ));
        match path {
            Some(_) if donor.is_some() => joins.extend(donor.map(|donor| (typ, donor.clone()))),
            Some(path) if typ == Type::Network => netns = Some(path),
            Some(path) => {
                let what = format!("joining {typ} {}", path.display());
                return Err(Error::Namespace { what });
            }
            None => {}
        }
        namespace.set_path(None);
    }
    for needed in [Type::Network, Type::Pid, Type::Ipc, Type::Uts] {
        if !list.iter().any(|namespace| namespace.typ() == needed) {
            return Err(Error::Namespace {
                what: format!("sharing the host's {needed} namespace"),
            });
        }
    }
    Ok((netns, joins))
}

/// Block devices of the host are disks; others are refused. The defaults that specs like to list are made by
/// every container.
fn devices(linux: &mut oci::Linux) -> Result<Vec<HostDisk>, Error> {
    let is_default = |device: &oci::LinuxDevice| {
        device.typ() == oci::LinuxDeviceType::P
            || (device.typ() != oci::LinuxDeviceType::B
                && DEFAULT_DEVICES.contains(&(device.major(), device.minor())))
    };
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().clone());
    let mut rules = rules.unwrap_or_default();
    let mut disks = Vec::new();
    for device in linux.devices_mut().iter_mut().flatten().filter(|device| !is_default(device)) {
        if device.typ() != oci::LinuxDeviceType::B {
            return Err(Error::Device { path: device.path().clone() });
        }
        let (path, numbers) = (device.path().clone(), (device.major(), device.minor()));
        disks.push(HostDisk { path, numbers, access: access(&rules, numbers) });
        // The guest fills in its own.
        device.set_major(0).set_minor(0);
    }
    if !disks.is_empty() {
        rules.retain(|rule| !disks.iter().any(|disk| is_of(rule, disk.numbers)));
        linux.resources_mut().get_or_insert_default().set_devices(Some(rules));
    }
    Ok(disks)
}

/// Whether the rule is for the block device of these numbers and no other.
fn is_of(rule: &oci::LinuxDeviceCgroup, (major, minor): (i64, i64)) -> bool {
    rule.typ() == Some(oci::LinuxDeviceType::B)
        && (rule.major(), rule.minor()) == (Some(major), Some(minor))
}

/// What the rules say of a block device; a later one goes before an earlier.
fn access(rules: &[oci::LinuxDeviceCgroup], (major, minor): (i64, i64)) -> String {
    use oci::LinuxDeviceType::{A, B};
    let fits = |rule: &&oci::LinuxDeviceCgroup| {
        rule.typ().is_none_or(|typ| matches!(typ, A | B))
            && rule.major().is_none_or(|number| number == major)
            && rule.minor().is_none_or(|number| number == minor)
    };
    let mut letters = String::new();
    for rule in rules.iter().filter(fits) {
        let said = rule.access().as_deref().unwrap_or("rwm");
        letters.retain(|letter| !said.contains(letter));
        if rule.allow() {
            letters.push_str(said);
        }
    }
    letters
}

#[cfg(test)]
mod tests;
