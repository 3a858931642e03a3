//! The device nodes of the host, for a container that shall have them all.
//!
//! Spec: OCI runtime-spec, config-linux.md "Devices".

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use spec::annotation;
use spec::oci::runtime as oci;

/// What is mounted anew in every container, and what is not a device to be used.
const LEFT_OUT: [&str; 8] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", ".udev", "hugepages"];

/// Adds them to `spec` if its annotation says so.
pub(super) fn add(spec: &oci::Spec) -> Option<oci::Spec> {
    let annotations = spec.annotations().as_ref()?;
    annotations.get(annotation::HOST_DEVICES)?;
    let mut spec = spec.clone();
    let devices = spec.linux_mut().as_mut()?.devices_mut().get_or_insert_default();
    let asked = devices.len();
    collect(Path::new("/dev"), devices);
    // What was asked for at a path comes before what the host has there.
    let all = devices.split_off(asked);
    let free = |device: &oci::LinuxDevice| !devices.iter().any(|one| one.path() == device.path());
    let all: Vec<_> = all.into_iter().filter(free).collect();
    devices.extend(all);
    Some(spec)
}

fn collect(dir: &Path, devices: &mut Vec<oci::LinuxDevice>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // A device may go while the list is read.
        let Ok(found) = entry.metadata() else { continue };
        let kind = found.file_type();
        if name.to_str().is_none_or(|name| LEFT_OUT.contains(&name)) {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), devices);
        }
        let typ = match () {
            () if kind.is_char_device() => oci::LinuxDeviceType::C,
            () if kind.is_block_device() => oci::LinuxDeviceType::B,
            () => continue,
        };
        let mut device = oci::LinuxDevice::default();
        device
            .set_path(entry.path())
            .set_typ(typ)
            .set_major(rustix::fs::major(found.rdev()).into())
            .set_minor(rustix::fs::minor(found.rdev()).into())
            .set_file_mode(Some(found.mode() & 0o777))
            .set_uid(Some(found.uid()))
            .set_gid(Some(found.gid()));
        devices.push(device);
    }
}
