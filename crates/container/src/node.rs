//! Device nodes for a container in a user namespace, where nobody may make any.
//!
//! The launcher makes them on a filesystem that is attached nowhere, with the numbers, mode and owner
//! that the configuration wants; each goes to init as a mount of its own.
//!
//! Spec: OCI runtime-spec, config-linux.md "Devices"; user_namespaces(7).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
    open_tree,
};
use spec::Kind;
use spec::oci::runtime::{LinuxDevice, LinuxDeviceType};

use crate::mapping::{Mappings, host_id};
use crate::rootfs::device::identity;

/// A node cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("make device {}", path.display())]
pub struct Error {
    /// Its path in the container.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self.source.kind() {
            io::ErrorKind::InvalidInput => Kind::Invalid,
            _ => crate::error::kind_of(&self.source),
        }
    }
}

/// Makes the nodes of all but FIFOs, which init can make itself; none where the launcher may not mount.
pub(crate) fn make(
    devices: &[LinuxDevice],
    mappings: Mappings<'_>,
) -> Result<Vec<(usize, OwnedFd)>, Error> {
    let wanted = || devices.iter().enumerate().filter(|(_, one)| one.typ() != LinuxDeviceType::P);
    let Some((_, first)) = wanted().next() else { return Ok(Vec::new()) };
    let failed = |device: &LinuxDevice, source| Error { path: device.path().clone(), source };
    let filesystem = match filesystem() {
        Ok(filesystem) => filesystem,
        Err(Errno::PERM) => return Ok(Vec::new()),
        Err(error) => return Err(failed(first, error.into())),
    };
    wanted()
        .map(|(index, device)| {
            let made = node(&filesystem, &index.to_string(), device, mappings);
            made.map(|made| (index, made)).map_err(|error| failed(device, error))
        })
        .collect()
}

fn filesystem() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn node(
    at: &OwnedFd,
    name: &str,
    device: &LinuxDevice,
    mappings: Mappings<'_>,
) -> io::Result<OwnedFd> {
    let (kind, (major, minor)) = identity(device)?;
    let owner = |list, id: Option<u32>| {
        let reason = "its owner is not mapped in the user namespace";
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, reason);
        host_id(list, id.unwrap_or(0)).ok_or_else(invalid)
    };
    let uid = owner(mappings.users, device.uid())?;
    let gid = owner(mappings.groups, device.gid())?;
    mknodat(at, name, kind, Mode::empty(), makedev(major, minor))?;
    chownat(at, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::empty())?;
    let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
    chmodat(at, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(at.as_fd(), name, flags)?)
}
