//! Disks that came after the machine was started, by their serial numbers: their names depend on the order in
//! which the kernel found them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use spec::oci::runtime as oci;
use wire::message::Disk;

/// How long the kernel may take to find one.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked for.
const GLANCE: Duration = Duration::from_millis(2);

/// Why a device has no disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The machine has no such disk.
    #[error("the machine has no disk {0}")]
    Missing(String),
    /// What the kernel knows of its disks cannot be read.
    #[error("list the machine's disks")]
    List(#[source] io::Error),
}

/// What the kernel knows of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    serial: String,
    /// As in `/dev`.
    name: String,
    /// Major and minor.
    numbers: (i64, i64),
}

/// The device of a disk, once it is there; `disk` is its path already, or its serial number.
pub(crate) fn node(disk: &str) -> Result<PathBuf, Error> {
    if disk.starts_with('/') {
        return Ok(disk.into());
    }
    Ok(Path::new("/dev").join(await_disk(disk)?.name))
}

/// Gives the devices their numbers, and lets the container use them as it may.
pub(crate) fn fill_in(spec: &mut oci::Spec, disks: &[Disk]) -> Result<(), Error> {
    if disks.is_empty() {
        return Ok(());
    }
    let linux = spec.linux_mut().get_or_insert_default();
    for disk in disks {
        let (major, minor) = await_disk(&disk.serial)?.numbers;
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

/// Waits until the kernel has found a disk.
fn await_disk(serial: &str) -> Result<Found, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = list(Path::new("/sys/block")).map_err(Error::List)?;
        // It is listed before it answers.
        let answers = |found: &Found| fs::File::open(Path::new("/dev").join(&found.name)).is_ok();
        let wanted = |found: &Found| found.serial == serial && answers(found);
        if let Some(found) = found.into_iter().find(wanted) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Error::Missing(serial.to_owned()));
        }
        thread::sleep(GLANCE);
    }
}

/// The disks on the SCSI bus. Their serial numbers are in page 0x80 of their product data, after four bytes
/// (SPC-4, section 7.8.10).
fn list(block: &Path) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(block)? {
        let entry = entry?;
        let Ok(page) = fs::read(entry.path().join("device/vpd_pg80")) else { continue };
        let Ok(numbers) = fs::read_to_string(entry.path().join("dev")) else { continue };
        let numbers = numbers.trim().split_once(':');
        let numbers = numbers.and_then(|(major, minor)| major.parse().ok().zip(minor.parse().ok()));
        let serial = String::from_utf8_lossy(page.get(4..).unwrap_or_default()).trim().to_owned();
        let name = entry.file_name().to_string_lossy().into_owned();
        all.extend(numbers.map(|numbers| Found { serial, name, numbers }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_by_its_serial_number() {
        let dir = std::env::temp_dir().join(format!("hull-disks-{}", std::process::id()));
        for (name, page, dev) in
            [("vda", None, "254:0"), ("sda", Some(b"\0\x80\0\x0bhull-disk-0"), "8:0")]
        {
            let at = dir.join(name);
            fs::create_dir_all(at.join("device")).expect("a directory");
            fs::write(at.join("dev"), format!("{dev}\n")).expect("a file");
            if let Some(page) = page {
                fs::write(at.join("device/vpd_pg80"), page).expect("a file");
            }
        }
        let found = list(&dir).expect("readable");
        fs::remove_dir_all(&dir).expect("removed");
        let (serial, name) = ("hull-disk-0".to_owned(), "sda".to_owned());
        assert_eq!(found, [Found { serial, name, numbers: (8, 0) }]);
    }
}
