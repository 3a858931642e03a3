//! Which namespaces are made and which are joined.
//!
//! Spec: OCI runtime-spec, config-linux.md "Namespaces".

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::{LinuxNamespace, LinuxNamespaceType as Type};

use crate::check::Error;

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of those to make, without the cgroup namespace.
    pub(crate) made: i32,
    /// Whether a cgroup namespace is made; that waits until the cgroups are joined.
    pub(crate) cgroup: bool,
    /// Those to join, opened and checked, but for the pid namespace.
    pub(crate) joined: Vec<(u32, OwnedFd)>,
    /// The pid namespace to join.
    pub(crate) pid: Option<OwnedFd>,
}

impl Namespaces {
    /// Opens and checks what the configuration names.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for user and time namespaces, and without a mount namespace;
    /// [`Error::Invalid`] for a type named twice and a path that is no namespace of its type.
    pub(crate) fn of(list: &[LinuxNamespace]) -> Result<Self, Error> {
        let mut namespaces = Self::default();
        let mut seen = 0;
        for namespace in list {
            let kind = namespace.typ();
            let flag = kind as u32;
            if seen & flag != 0 {
                return Err(Error::invalid("linux.namespaces", format!("{kind} is named twice")));
            }
            seen |= flag;
            namespaces.add(kind, flag, namespace.path().as_deref())?;
        }
        if seen & Type::Mount as u32 == 0 {
            return Err(Error::unsupported("linux.namespaces", "no mount namespace"));
        }
        Ok(namespaces)
    }

    fn add(&mut self, kind: Type, flag: u32, path: Option<&Path>) -> Result<(), Error> {
        let path = path.filter(|path| !path.as_os_str().is_empty());
        match (kind, path) {
            (Type::User | Type::Time, _) => {
                return Err(Error::unsupported("linux.namespaces", format!("type {kind}")));
            }
            (Type::Cgroup, None) => self.cgroup = true,
            (_, None) => self.made |= flag.cast_signed(),
            (Type::Pid, Some(path)) => self.pid = Some(open(kind, path)?),
            (_, Some(path)) => self.joined.push((flag, open(kind, path)?)),
        }
        Ok(())
    }

    /// Whether the container has a namespace of this type that is not the launcher's.
    pub(crate) fn has(list: &[LinuxNamespace], kind: Type) -> bool {
        list.iter().any(|namespace| namespace.typ() == kind)
    }
}

/// Opens a namespace by path and checks its type.
fn open(kind: Type, path: &Path) -> Result<OwnedFd, Error> {
    let invalid = |reason: String| Error::invalid("linux.namespaces", reason);
    let file = File::open(path)
        .map_err(|error| invalid(format!("{kind} path {}: {error}", path.display())))?;
    let actual = sys::namespace::kind(&file)
        .map_err(|_| invalid(format!("{kind} path {}: not a namespace", path.display())))?;
    if actual == kind as u32 {
        Ok(file.into())
    } else {
        Err(invalid(format!("{kind} path {}: a namespace of another type", path.display())))
    }
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
    sys::namespace::enter(namespace, Type::Pid as u32)
}
