//! Volumes: directories with a name that outlive containers.
//!
//! ```text
//!   volumes/NAME/_data         what containers see; where a volume with options is mounted
//!   volumes/NAME/volume.json   when it was made, its labels and options
//!   volumes/NAME/disk.ext4     its files, where a size limits them
//!   volumes/*.tmp              being made, copied or removed
//! ```
//!
//! Invariant: a directory with a volume's name is complete and on disk. It is made under another name and
//! renamed, and it is renamed before it is removed.
//!
//! Invariant: what a container that exists refers to is not removed. Who refers to what is in the records
//! of containers; here it is only counted.

mod copy;
mod error;
mod local;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tree::image;

pub(crate) use copy::SNAPSHOT;
pub use copy::VolumeCopy;
pub use error::Error;

use crate::names;
use crate::size::bytes;

/// The only driver there is.
pub const DRIVER: &str = "local";
/// What marks a volume that nobody named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The file system of a volume that has a limit.
const DISK: &str = "disk.ext4";
/// A volume's description.
const RECORD: &str = "volume.json";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its files are on the host.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: SystemTime,
    /// As given.
    pub labels: BTreeMap<String, String>,
    /// The driver's: `type`, `o`, `device`.
    pub options: BTreeMap<String, String>,
    /// How many containers refer to it.
    pub users: usize,
}

/// A volume to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// `None` for one that is invented.
    pub name: Option<String>,
    /// Empty for the local one.
    pub driver: String,
    /// The driver's.
    pub options: BTreeMap<String, String>,
    /// Anything.
    pub labels: BTreeMap<String, String>,
}

/// What is on disk of a volume besides its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    created: SystemTime,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
}

impl Record {
    /// Bytes that it holds at most, if that is limited.
    fn limit(&self) -> Option<u64> {
        self.options.get("size").and_then(|size| bytes(size))
    }
}

/// All volumes. What blocks is said so.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    table: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// Ids of the containers that refer to it.
    users: BTreeSet<String>,
    /// Those of them that run.
    mounted: BTreeSet<String>,
    /// How many copies of it are being made.
    copied: usize,
}

impl Entry {
    fn new(record: Record) -> Self {
        Self { record, users: BTreeSet::new(), mounted: BTreeSet::new(), copied: 0 }
    }

    /// Refuses to change one that is being copied.
    fn still(&self, name: &str) -> Result<(), Error> {
        if self.copied == 0 { Ok(()) } else { Err(Error::Copied(name.to_owned())) }
    }
}

impl Volumes {
    /// Opens or makes the directory and removes what was never finished. Blocks.
    pub(crate) fn open(root: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&root).map_err(failed("make", &root))?;
        set_mode(&root, 0o701)?;
        let mut table = BTreeMap::new();
        for entry in fs::read_dir(&root).map_err(failed("list", &root))? {
            let path = entry.map_err(failed("list", &root))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // No volume has such a name.
            if path.extension().is_some_and(|end| end == "tmp") {
                remove_tree(&path)?;
                continue;
            }
            match read(&path) {
                Ok(record) => {
                    table.insert(name.to_owned(), Entry::new(record));
                }
                Err(error) => {
                    tracing::error!(volume = name, error = %spec::chain(&error), "volume is damaged");
                }
            }
        }
        Ok(Self { root, table: Mutex::new(table) })
    }

    /// The volume; made if there is none of that name. Gives whether it was. Blocks.
    pub(crate) fn create(&self, new: &NewVolume) -> Result<(Volume, bool), Error> {
        if !matches!(new.driver.as_str(), "" | DRIVER) {
            return Err(Error::Driver(new.driver.clone()));
        }
        let mut labels = new.labels.clone();
        let given = new.name.as_deref().filter(|name| !name.is_empty());
        let name = if let Some(name) = given {
            check_name(name)?.to_owned()
        } else {
            labels.insert(ANONYMOUS.to_owned(), String::new());
            names::fresh_id()
        };
        local::check(&name, &new.options)?;
        let mut table = self.table();
        if let Some(entry) = table.get(&name) {
            if !new.options.is_empty() && entry.record.options != new.options {
                return Err(Error::Exists(name));
            }
            return Ok((self.describe(&name, entry), false));
        }
        let options = new.options.clone();
        let record = Record { created: SystemTime::now(), labels, options };
        self.make(&name, &record)?;
        let entry = Entry::new(record);
        let volume = self.describe(&name, &entry);
        table.insert(name, entry);
        Ok((volume, true))
    }

    fn make(&self, name: &str, record: &Record) -> Result<(), Error> {
        let (new, path) = (self.root.join(format!("{name}.tmp")), self.root.join(name));
        // Left by a crash before it had a record.
        let _ = fs::remove_dir_all(&new);
        let data = new.join("_data");
        fs::create_dir_all(&data).map_err(failed("make", &data))?;
        set_mode(&new, 0o701)?;
        set_mode(&data, 0o755)?;
        if let Some(bytes) = record.limit() {
            let disk = new.join(DISK);
            let made = image::make(&disk, bytes).and_then(|()| {
                image::mount_new(&disk, &data)?;
                image::unmount(&data)
            });
            made.inspect_err(|_| drop(fs::remove_dir_all(&new))).map_err(failed("make", &disk))?;
        }
        write(record, &new.join(RECORD))?;
        fs::rename(&new, &path).map_err(failed("rename", &new))?;
        sync(&self.root)
    }

    /// The volume of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Volume, Error> {
        let table = self.table();
        let entry = table.get(name).ok_or_else(|| Error::NotFound(name.to_owned()))?;
        Ok(self.describe(name, entry))
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<Volume> {
        self.table().iter().map(|(name, entry)| self.describe(name, entry)).collect()
    }

    /// Counts a container as a user, so that the volume stays.
    pub(crate) fn hold(&self, name: &str, container: &str) -> Result<(), Error> {
        let mut table = self.table();
        let entry = table.get_mut(name).ok_or_else(|| Error::NotFound(name.to_owned()))?;
        entry.users.insert(container.to_owned());
        Ok(())
    }

    /// The container does not refer to it any more.
    pub(crate) fn release(&self, name: &str, container: &str) {
        if let Some(entry) = self.table().get_mut(name) {
            entry.users.remove(container);
        }
    }

    /// Removes a volume that no container refers to. Blocks.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let mut table = self.table();
        let entry = table.get(name).ok_or_else(|| Error::NotFound(name.to_owned()))?;
        if !entry.users.is_empty() {
            let users = entry.users.iter().cloned().collect();
            return Err(Error::InUse { name: name.to_owned(), users });
        }
        entry.still(name)?;
        let (path, gone) = (self.root.join(name), self.root.join(format!("{name}.tmp")));
        local::unmount(&path.join("_data"))?;
        fs::rename(&path, &gone).map_err(failed("rename", &path))?;
        sync(&self.root)?;
        table.remove(name);
        drop(table);
        remove_tree(&gone)
    }

    /// Mounts what the volume's options say, for a container that starts. Blocks.
    pub(crate) fn mount(&self, name: &str, container: &str) -> Result<(), Error> {
        let mut table = self.table();
        let entry = table.get_mut(name).ok_or_else(|| Error::NotFound(name.to_owned()))?;
        entry.still(name)?;
        let (dir, options) = (self.root.join(name), &entry.record.options);
        let data = dir.join("_data");
        if entry.mounted.is_empty() && entry.record.limit().is_some() {
            local::unmount(&data)?;
            let disk = dir.join(DISK);
            image::mount(&disk, &data).map_err(failed("mount", &disk))?;
        } else if entry.mounted.is_empty() && !options.is_empty() {
            local::mount(&data, options)?;
        }
        entry.mounted.insert(container.to_owned());
        Ok(())
    }

    /// The container has ended; unmounts the volume with its last. Gives whether it had it. Blocks.
    pub(crate) fn unmount(&self, name: &str, container: &str) -> Result<bool, Error> {
        let mut table = self.table();
        let Some(entry) = table.get_mut(name) else { return Ok(false) };
        let had = entry.mounted.remove(container);
        let data = self.root.join(name).join("_data");
        if had && entry.mounted.is_empty() && entry.record.limit().is_some() {
            image::unmount(&data).map_err(failed("unmount", &data))?;
        } else if had && entry.mounted.is_empty() && !entry.record.options.is_empty() {
            local::unmount(&data)?;
        }
        Ok(had)
    }

    /// A container that an earlier engine started still has it mounted.
    pub(crate) fn adopt(&self, name: &str, container: &str) {
        if let Some(entry) = self.table().get_mut(name) {
            entry.mounted.insert(container.to_owned());
        }
    }

    fn describe(&self, name: &str, entry: &Entry) -> Volume {
        let record = entry.record.clone();
        Volume {
            name: name.to_owned(),
            mountpoint: self.root.join(name).join("_data"),
            created: record.created,
            labels: record.labels,
            options: record.options,
            users: entry.users.len(),
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change is one insertion or removal, so a poisoned table is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that can be a volume's.
pub(crate) fn check_name(name: &str) -> Result<&str, Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    // `.tmp` is for what is being made; a name of 250 bytes leaves room for it.
    let own = (2..=250).contains(&name.len()) && name.strip_suffix(".tmp").is_none();
    if begins && own && name.bytes().all(legal) { Ok(name) } else { Err(Error::Name(name.into())) }
}

impl Volumes {
    /// Gives a volume that has a limit a larger one, used or not. Blocks.
    pub(crate) fn grow(&self, name: &str, size: &str) -> Result<Volume, Error> {
        let refuse = |problem: &str| {
            let (name, problem) = (name.to_owned(), problem.to_owned());
            Err(Error::Options { name, problem })
        };
        let mut table = self.table();
        let entry = table.get_mut(name).ok_or_else(|| Error::NotFound(name.to_owned()))?;
        entry.still(name)?;
        let Some(now) = entry.record.limit() else {
            return refuse("it has no size: only what was made with -o size= grows");
        };
        let Some(bytes) = bytes(size).filter(|bytes| *bytes > now) else {
            return refuse(&format!("size {size:?} is no number of bytes above {now}"));
        };
        let dir = self.root.join(name);
        // Files first: a record that promises less than there is harms nobody.
        image::grow(&dir.join(DISK), bytes).map_err(failed("grow", &dir.join(DISK)))?;
        entry.record.options.insert("size".to_owned(), size.to_owned());
        let (new, record) = (dir.join(format!(".{RECORD}")), dir.join(RECORD));
        write(&entry.record, &new)?;
        fs::rename(&new, &record).map_err(failed("rename", &new))?;
        sync(&dir)?;
        Ok(self.describe(name, entry))
    }

    /// Bytes of all files in the volume, which is mounted for it where a limit made it a file system of its
    /// own. Blocks.
    pub(crate) fn size(&self, name: &str) -> Result<u64, Error> {
        let data = self.root.join(name).join("_data");
        if !self.get(name)?.options.contains_key("size") {
            return Ok(size(&data));
        }
        if self.table().get(name).is_some_and(|entry| entry.copied > 0) {
            // Nobody mounts it now: what its files take is known, what they hold is not.
            use std::os::unix::fs::MetadataExt;
            let disk = self.root.join(name).join(DISK);
            return disk.metadata().map(|disk| disk.blocks() * 512).map_err(failed("stat", &disk));
        }
        let user = format!("size of {name} {}", names::fresh_id());
        self.mount(name, &user)?;
        let bytes = size(&data);
        self.unmount(name, &user)?;
        Ok(bytes)
    }
}

/// Bytes of all files beneath `path`, links counted once. Blocks.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = BTreeSet::new();
    let mut pending = vec![path.to_owned()];
    let mut total = 0;
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                pending.push(entry.path());
            } else if meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
                total += meta.len();
            }
        }
    }
    total
}

fn write(record: &Record, file: &Path) -> Result<(), Error> {
    let text = serde_json::to_vec(record).map_err(io::Error::from);
    let written = text.and_then(|text| {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(file)?;
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(failed("write", file))
}

fn read(path: &Path) -> Result<Record, Error> {
    let file = path.join(RECORD);
    let text = fs::read(&file).map_err(failed("read", &file))?;
    serde_json::from_slice(&text).map_err(|error| failed("read", &file)(error.into()))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, mode).map_err(failed("change the mode of", path))
}

fn sync(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    ::image::disk::remove_tree(path).map_err(|error| failed("remove", path)(error.source))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests;
