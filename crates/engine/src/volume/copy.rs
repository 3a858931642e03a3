//! Copies of volumes: clones, which are volumes like others, and snapshots, which nobody writes.
//!
//! ```text
//!   source: nobody has it mounted, nobody mounts it  ─▶  clone-….tmp, filled  ─▶  on disk  ─▶  NAME
//! ```
//!
//! A volume that is mounted is refused: what is copied while it is written is of no one moment, and of a file
//! system in a file not even whole. While it is copied nobody mounts, grows or removes it; others go on.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use super::{
    ANONYMOUS, BTreeMap, DISK, Entry, Error, RECORD, Record, Volume, Volumes, check_name, failed,
    set_mode, sync, write,
};
use crate::names;

/// What marks a snapshot; its value is the name of the volume that it is of.
pub(crate) const SNAPSHOT: &str = "dev.hull.snapshot.of";

/// A copy of a volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeCopy {
    /// A volume of its own.
    Clone {
        /// Its name.
        name: String,
    },
    /// One that is only read; without a name, `SOURCE-snapshot-N`.
    Snapshot {
        /// Its name.
        name: Option<String>,
    },
}

impl Volumes {
    /// Makes a copy of the volume `source`. Blocks, for as long as it takes to copy its files.
    ///
    /// # Errors
    ///
    /// [`Error::Mounted`] while a container that runs has it, [`Error::Options`] for one whose files lie
    /// elsewhere, [`Error::Taken`] where there is one of the new name.
    pub(crate) fn copy(&self, source: &str, copy: &VolumeCopy) -> Result<Volume, Error> {
        let (name, record) = self.begin(source, copy)?;
        let new = self.root.join(format!("clone-{}.tmp", names::fresh_id()));
        let made = fill(&self.root.join(source), &new, &record);
        let done = made.and_then(|()| self.settle(&name, &new, record));
        if let Some(entry) = self.table().get_mut(source) {
            entry.copied -= 1;
        }
        // What failed first is told.
        done.inspect_err(|_| drop(super::remove_tree(&new)))
    }

    /// Holds the source still; gives the new one's name and description.
    fn begin(&self, source: &str, copy: &VolumeCopy) -> Result<(String, Record), Error> {
        let mut table = self.table();
        let entry = table.get(source).ok_or_else(|| Error::NotFound(source.to_owned()))?;
        if !entry.mounted.is_empty() {
            let users = entry.mounted.iter().cloned().collect();
            return Err(Error::Mounted { name: source.to_owned(), users });
        }
        if entry.record.options.keys().any(|key| key != "size") {
            let problem = "its files lie where its options say: only volumes of files of their own \
                           are copied";
            let name = source.to_owned();
            return Err(Error::Options { name, problem: problem.to_owned() });
        }
        let name = match copy {
            VolumeCopy::Clone { name } | VolumeCopy::Snapshot { name: Some(name) } => {
                check_name(name)?.to_owned()
            }
            VolumeCopy::Snapshot { name: None } => {
                let free = |name: &String| !table.contains_key(name);
                let names = (1..).map(|number: u32| format!("{source}-snapshot-{number}"));
                let name = names.into_iter().find(free).unwrap_or_default();
                check_name(&name)?.to_owned()
            }
        };
        if table.contains_key(&name) {
            return Err(Error::Taken(name));
        }
        let mut labels: BTreeMap<_, _> = entry.record.labels.clone();
        labels.retain(|label, _| label != ANONYMOUS && label != SNAPSHOT);
        if let VolumeCopy::Snapshot { .. } = copy {
            labels.insert(SNAPSHOT.to_owned(), source.to_owned());
        }
        let options = entry.record.options.clone();
        let record = Record { created: SystemTime::now(), labels, options };
        table.entry(source.to_owned()).and_modify(|entry| entry.copied += 1);
        Ok((name, record))
    }

    /// Gives the copy its name, unless somebody took it meanwhile.
    fn settle(&self, name: &str, new: &Path, record: Record) -> Result<Volume, Error> {
        let mut table = self.table();
        if table.contains_key(name) {
            return Err(Error::Taken(name.to_owned()));
        }
        let path = self.root.join(name);
        fs::rename(new, &path).map_err(failed("rename", new))?;
        sync(&self.root)?;
        let entry = Entry::new(record);
        let volume = self.describe(name, &entry);
        table.insert(name.to_owned(), entry);
        Ok(volume)
    }
}

/// Copies the files of the volume at `from` to `new`, and has them on disk.
fn fill(from: &Path, new: &Path, record: &Record) -> Result<(), Error> {
    let data = new.join("_data");
    fs::create_dir_all(&data).map_err(failed("make", &data))?;
    set_mode(new, 0o701)?;
    let open = |path: &Path| File::open(path).map_err(failed("open", path));
    if record.limit().is_some() {
        set_mode(&data, 0o755)?;
        let (disk, copy) = (from.join(DISK), new.join(DISK));
        let made = File::create_new(&copy).map_err(failed("make", &copy))?;
        tree::copy::file(&open(&disk)?, &made).map_err(failed("copy", &disk))?;
        made.sync_all().map_err(failed("sync", &copy))?;
    } else {
        let (source, to) = (open(&from.join("_data"))?, open(&data)?);
        let copied = tree::copy::tree(source.as_fd(), to.as_fd());
        copied.map_err(failed("copy", &from.join("_data")))?;
        rustix::fs::syncfs(&to).map_err(|error| failed("sync", &data)(error.into()))?;
    }
    write(record, &new.join(RECORD))?;
    sync(new)
}

#[cfg(test)]
mod tests {
    use spec::Kind;

    use super::super::NewVolume;
    use super::*;

    fn volumes(temp: &tempfile::TempDir) -> Volumes {
        let volumes = Volumes::open(temp.path().join("volumes")).expect("new");
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let new = NewVolume { name: Some("web".to_owned()), labels, ..NewVolume::default() };
        let (volume, _) = volumes.create(&new).expect("made");
        fs::write(volume.mountpoint.join("file"), "data").expect("written");
        volumes
    }

    fn clone(name: &str) -> VolumeCopy {
        VolumeCopy::Clone { name: name.to_owned() }
    }

    #[test]
    fn a_copy_has_files_and_labels_of_its_own_and_outlives_the_engine() {
        let temp = tempfile::tempdir().expect("a directory");
        let volumes = volumes(&temp);
        let made = volumes.copy("web", &clone("other")).expect("copied");
        fs::write(made.mountpoint.join("file"), "new").expect("written");
        let first = volumes.get("web").expect("there").mountpoint;
        assert_eq!(fs::read_to_string(first.join("file")).expect("there"), "data");
        assert_eq!(made.labels["a"], "b");
        for want in ["web-snapshot-1", "web-snapshot-2"] {
            let made = volumes.copy("web", &VolumeCopy::Snapshot { name: None }).expect("copied");
            assert_eq!((made.name.as_str(), made.labels[SNAPSHOT].as_str()), (want, "web"));
        }
        // A clone of a snapshot is a volume like others.
        let clone = volumes.copy("web-snapshot-1", &clone("back")).expect("copied");
        assert!(!clone.labels.contains_key(SNAPSHOT));
        drop(volumes);
        let volumes = Volumes::open(temp.path().join("volumes")).expect("again");
        assert_eq!(volumes.list().len(), 5);
    }

    #[test]
    fn what_cannot_be_copied_is_refused_and_leaves_nothing() {
        let temp = tempfile::tempdir().expect("a directory");
        let volumes = volumes(&temp);
        let refused = |source: &str, name: &str| volumes.copy(source, &clone(name)).unwrap_err();
        assert_eq!(refused("web", "web").to_string(), "create web: a volume of that name exists");
        assert_eq!(refused("none", "new").kind(), Kind::NotFound);
        assert_eq!(refused("web", "../x").kind(), Kind::Invalid);
        volumes.hold("web", "aa").expect("there");
        volumes.mount("web", "aa").expect("mounted");
        let said = refused("web", "new");
        assert!(said.to_string().starts_with("copy web: container aa has it mounted"), "{said}");
        assert_eq!(said.kind(), Kind::Conflict);
        let options = [("type", "tmpfs"), ("device", "tmpfs")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let new = NewVolume { name: Some("mem".to_owned()), options, ..NewVolume::default() };
        volumes.create(&new).expect("made");
        assert!(refused("mem", "new").to_string().contains("where its options say"));
        let left: Vec<_> = fs::read_dir(temp.path().join("volumes")).expect("there").collect();
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn what_is_copied_is_not_mounted_grown_or_removed() {
        let temp = tempfile::tempdir().expect("a directory");
        let volumes = volumes(&temp);
        let (name, _) = volumes.begin("web", &clone("new")).expect("free");
        assert_eq!(name, "new");
        let said = volumes.mount("web", "aa").unwrap_err();
        assert_eq!(said.to_string(), "web is being copied: try again when that is done");
        assert_eq!(volumes.remove("web").unwrap_err().kind(), Kind::Conflict);
        assert_eq!(volumes.grow("web", "1G").unwrap_err().kind(), Kind::Conflict);
    }
}
