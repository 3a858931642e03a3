//! Block devices of the host: which of the machine's disks they are, and what their numbers are here.
//!
//! Disks are known by their serial numbers: their names depend on the order in which they were found.

use std::fs;
use std::io;
use std::path::Path;

use spec::oci::runtime as oci;
use wire::message::Disk;

/// Why a device has no disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The machine has no such disk.
    #[error("device {0}: the machine has no disk {1}")]
    Missing(String, String),
    /// What the kernel knows of its disks cannot be read.
    #[error("list the machine's disks")]
    List(#[source] io::Error),
}

/// Gives the devices their numbers, and lets the container use them as it may.
pub(crate) fn fill_in(spec: &mut oci::Spec, disks: &[Disk]) -> Result<(), Error> {
    if disks.is_empty() {
        return Ok(());
    }
    let found = numbers(Path::new("/sys/block")).map_err(Error::List)?;
    let linux = spec.linux_mut().get_or_insert_default();
    for disk in disks {
        let known = found.iter().find(|(serial, _)| *serial == disk.serial);
        let missing = || Error::Missing(disk.path.clone(), disk.serial.clone());
        let (major, minor) = known.ok_or_else(missing)?.1;
        let devices = linux.devices_mut().iter_mut().flatten();
        for device in devices.filter(|device| *device.path() == Path::new(&disk.path)) {
            device.set_major(major).set_minor(minor);
        }
        let mut rule = oci::LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(oci::LinuxDeviceType::B))
            .set_major(Some(major))
            .set_minor(Some(minor))
            .set_access(Some(disk.access.clone()));
        let resources = linux.resources_mut().get_or_insert_default();
        resources.devices_mut().get_or_insert_default().push(rule);
    }
    Ok(())
}

/// Serial number, major and minor of every disk that has one.
fn numbers(block: &Path) -> io::Result<Vec<(String, (i64, i64))>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(block)? {
        let dir = entry?.path();
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        let Some((serial, device)) = read("serial").zip(read("dev")) else { continue };
        let numbers = device.trim().split_once(':');
        let numbers = numbers.and_then(|(major, minor)| major.parse().ok().zip(minor.parse().ok()));
        found.extend(numbers.map(|numbers| (serial.trim().to_owned(), numbers)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_its_serial_number() {
        let dir = std::env::temp_dir().join(format!("hull-disks-{}", std::process::id()));
        for (name, serial, dev) in [("vda", None, "254:0"), ("vdc", Some("hull-disk-0"), "254:32")]
        {
            let at = dir.join(name);
            fs::create_dir_all(&at).expect("a directory");
            fs::write(at.join("dev"), format!("{dev}\n")).expect("a file");
            if let Some(serial) = serial {
                fs::write(at.join("serial"), serial).expect("a file");
            }
        }
        let found = numbers(&dir).expect("readable");
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(found, [("hull-disk-0".to_owned(), (254, 32))]);
    }
}
