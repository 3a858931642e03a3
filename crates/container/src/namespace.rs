//! Which namespaces are made and which are joined.
//!
//! ```text
//!   no user namespace    made: clone3            joined: init enters them by itself
//!   a user namespace     made: clone3, owned by it    joined: entered before clone3, see sys::spawn
//!   cgroup, time         made: by init, once its cgroups and offsets are known
//! ```
//!
//! Spec: OCI runtime-spec, config-linux.md "Namespaces"; user_namespaces(7), time_namespaces(7).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use spec::oci::runtime::{LinuxNamespace, LinuxNamespaceType as Type};

use crate::check::Error;

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of those that clone3(2) makes.
    pub(crate) made: u32,
    /// `CLONE_NEW*` of those that init makes by itself: cgroup and time.
    pub(crate) made_by_init: u32,
    /// Those to join, opened and checked, by `CLONE_NEW*`.
    pub(crate) joined: Vec<(u32, OwnedFd)>,
}

/// The number of a type.
pub(crate) const fn flag(kind: Type) -> u32 {
    kind as u32
}

const USER: u32 = flag(Type::User);
const MOUNT: u32 = flag(Type::Mount);
const PID: u32 = flag(Type::Pid);
const BY_INIT: u32 = flag(Type::Cgroup) | flag(Type::Time);

impl Namespaces {
    /// Opens and checks what the configuration names.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a type named twice and a path that is no namespace of its type.
    pub(crate) fn of(list: &[LinuxNamespace]) -> Result<Self, Error> {
        let mut namespaces = Self::default();
        let mut seen = 0;
        for namespace in list {
            let kind = namespace.typ();
            if seen & flag(kind) != 0 {
                return Err(Error::invalid("linux.namespaces", format!("{kind} is named twice")));
            }
            seen |= flag(kind);
            namespaces.add(kind, namespace.path().as_deref())?;
        }
        Ok(namespaces)
    }

    fn add(&mut self, kind: Type, path: Option<&Path>) -> Result<(), Error> {
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            let made =
                if flag(kind) & BY_INIT != 0 { &mut self.made_by_init } else { &mut self.made };
            *made |= flag(kind);
            return Ok(());
        };
        let namespace = open(kind, path)?;
        // Nobody may enter the user namespace that it is in.
        if kind != Type::User || !is_own(&namespace, "user") {
            self.joined.push((flag(kind), namespace));
        }
        Ok(())
    }

    /// The same, and it is not the launcher's by its path either.
    pub(crate) fn is_apart(list: &[LinuxNamespace], kind: Type) -> bool {
        list.iter().filter(|namespace| namespace.typ() == kind).any(|namespace| {
            let path = namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty());
            path.is_none_or(|path| !is_own_path(kind, path))
        })
    }

    /// `CLONE_NEW*` of all in which the container differs from the launcher.
    pub(crate) fn all(&self) -> u32 {
        self.joined.iter().fold(self.made | self.made_by_init, |all, (kind, _)| all | kind)
    }

    /// Whether the container's users are not the launcher's.
    pub(crate) fn has_user(&self) -> bool {
        self.all() & USER != 0
    }

    /// Whether what is mounted for the container would show on the host.
    pub(crate) fn has_mount(&self) -> bool {
        self.all() & MOUNT != 0
    }

    /// What is entered before init is made: everything as soon as a user namespace is concerned, from
    /// which the host's namespaces could not be entered; else nothing.
    pub(crate) fn entered_before(&self) -> &[(u32, OwnedFd)] {
        if self.has_user() { &self.joined } else { &[] }
    }

    /// What init enters by itself.
    pub(crate) fn entered_by_init(&self) -> impl Iterator<Item = &(u32, OwnedFd)> {
        let none = self.has_user();
        self.joined.iter().filter(move |(kind, _)| !none && *kind != PID)
    }

    /// The pid namespace in which init is born, unless that is entered before.
    pub(crate) fn birthplace(&self) -> Option<&OwnedFd> {
        let found = self.joined.iter().find(|(kind, _)| *kind == PID);
        found.filter(|_| !self.has_user()).map(|(_, namespace)| namespace)
    }

    /// Whether the container has a namespace of this type that is not the launcher's.
    pub(crate) fn has(list: &[LinuxNamespace], kind: Type) -> bool {
        list.iter().any(|namespace| namespace.typ() == kind)
    }
}

/// Opens a namespace by path and checks its type.
fn open(kind: Type, path: &Path) -> Result<OwnedFd, Error> {
    let invalid = |reason: String| Error::invalid("linux.namespaces", reason);
    let shown = path.display();
    if !path.is_absolute() {
        return Err(invalid(format!("{kind} path {shown}: not absolute")));
    }
    let file =
        File::open(path).map_err(|error| invalid(format!("{kind} path {shown}: {error}")))?;
    let actual = sys::namespace::kind(&file)
        .map_err(|_| invalid(format!("{kind} path {shown}: not a namespace")))?;
    if actual == flag(kind) {
        Ok(file.into())
    } else {
        Err(invalid(format!("{kind} path {shown}: a namespace of another type")))
    }
}

/// Whether it is the caller's own namespace of that name.
pub(crate) fn is_own(namespace: &OwnedFd, name: &str) -> bool {
    let own = std::fs::metadata(format!("/proc/self/ns/{name}"));
    let that = rustix::fs::fstat(namespace);
    own.is_ok_and(|own| that.is_ok_and(|that| (own.dev(), own.ino()) == (that.st_dev, that.st_ino)))
}

/// Whether the namespace at `path` is the one that this process is in; a path that cannot be looked at
/// is refused elsewhere.
fn is_own_path(kind: Type, path: &Path) -> bool {
    let name = match kind {
        Type::Network => "net".to_owned(),
        Type::Mount => "mnt".to_owned(),
        kind => kind.to_string(),
    };
    File::open(path).is_ok_and(|file| is_own(&file.into(), &name))
}

/// Runs `call` while this thread makes children in the pid namespace `target`.
pub(crate) fn with_children_in<T>(
    target: Option<&OwnedFd>,
    call: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(target) = target else { return call() };
    let own = File::open("/proc/thread-self/ns/pid")?;
    set_children(target)?;
    let result = call();
    set_children(&own)?;
    result
}

fn set_children(namespace: &impl AsRawFd) -> io::Result<()> {
    sys::namespace::enter(namespace, PID)
}
