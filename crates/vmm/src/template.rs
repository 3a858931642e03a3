//! Templates: checkpoints of a guest whose agent waits, from which machines start.
//!
//! ```text
//!   <data_root>/templates/KEY/memory          the guest's memory, mapped copy-on-write by every clone
//!   <data_root>/templates/KEY/state           its devices' state
//!   <data_root>/templates/KEY/template.json   what it was made from
//!   <data_root>/templates/.making-KEY/        one in the making; renamed when it is complete and synced
//!   <exec_root>/vm/template-KEY.lock          held by who makes it: of many starts one builds, all use
//! ```
//!
//! The key names everything the guest's state depends on; when a part changes, its key does, and the
//! next build removes templates whose parts are gone. The files belong to root and nobody else can read
//! them: workers get descriptors.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::json;
use spec::Kind;

use crate::boot::{self, Origin, Parts, Running};
use crate::command::{self, Behind, Machine, Memory};
use crate::fingerprint::{self, Fingerprint};
use crate::{Config, cache, disk, initramfs, qmp};

/// How long a fresh guest runs on after its agent's first word: what the kernel still has to do in the
/// background would else be done again in every clone.
const SETTLE: Duration = Duration::from_millis(500);

/// How long saving may take.
const SAVING: Duration = Duration::from_secs(60);

/// A complete template, opened: it stays usable when its directory is removed.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) memory: File,
    pub(crate) state: File,
    directory: PathBuf,
}

/// Everything that the guest's state depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Inputs {
    /// The hypervisor's command line without descriptors' numbers.
    line: Vec<String>,
    /// The kernel's, without what is measured.
    append: String,
    /// The initramfs, whose name is itself a key.
    initramfs: PathBuf,
    /// The sizes of the disks in bytes.
    disks: (u64, u64),
    /// The host's processor: the guest was shown its features.
    processor: String,
    /// Hypervisor, kernel, module list, agent.
    files: Vec<Fingerprint>,
}

/// `template.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    inputs: Inputs,
    memory_bytes: u64,
    state_bytes: u64,
}

/// What a template is made for.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    config: &'a Config,
    machine: &'a Machine,
    inputs: Inputs,
    key: String,
}

impl<'a> Recipe<'a> {
    /// The recipe for machines like `machine` whose scratch disk has `scratch_bytes`.
    pub(crate) fn new(
        config: &'a Config,
        machine: &'a Machine,
        scratch_bytes: u64,
    ) -> Result<Self, Error> {
        let initramfs = initramfs::path(config)?;
        let files =
            [&config.qemu, &config.kernel, &config.modules.join("modules.dep"), &config.agent]
                .into_iter()
                .map(|path| Fingerprint::of(path).map_err(files("stat", path)))
                .collect::<Result<Vec<_>, _>>()?;
        let line = command::line(machine, &Behind::default(), Memory::Shared, None);
        let inputs = Inputs {
            line: line.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            append: command::append(machine.accel, None),
            initramfs,
            disks: (disk::ROOT_BYTES, scratch_bytes),
            processor: processor(),
            files,
        };
        let key = fingerprint::key(&inputs);
        Ok(Self { config, machine, inputs, key })
    }

    /// The template, made first where it is missing.
    pub(crate) fn ensure(&self) -> Result<Template, Error> {
        if let Some(template) = self.existing() {
            return Ok(template);
        }
        let _lock = self.lock()?;
        match self.existing() {
            Some(template) => Ok(template),
            None => self.make(),
        }
    }

    /// Makes another template in place of `broken`, unless somebody did so already.
    pub(crate) fn replace(&self, broken: &Template) -> Result<Template, Error> {
        let _lock = self.lock()?;
        if let Some(template) = self.existing().filter(|found| !found.same_as(broken)) {
            return Ok(template);
        }
        let directory = self.directory();
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(files("remove", &directory)(error));
            }
            _ => self.make(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.config.data_root.join("templates").join(&self.key)
    }

    /// Opens the template; `None` when it is not there or not whole.
    fn existing(&self) -> Option<Template> {
        let directory = self.directory();
        let record = fs::read(directory.join("template.json")).ok()?;
        let record: Record = serde_json::from_slice(&record).ok()?;
        let open = |name, size| {
            let file = File::open(directory.join(name)).ok()?;
            file.metadata().is_ok_and(|found| found.len() == size).then_some(file)
        };
        let memory = open("memory", record.memory_bytes)?;
        let state = open("state", record.state_bytes)?;
        Some(Template { memory, state, directory })
    }

    fn lock(&self) -> Result<OwnedFd, Error> {
        let path = lock_path(&self.config.exec_root, &self.key);
        let directory = self.config.exec_root.join("vm");
        cache::make_directory(&directory).map_err(files("create", &directory))?;
        let lock = File::create(&path).map_err(files("create", &path))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| files("lock", &path)(errno.into()))?;
        Ok(lock.into())
    }

    fn make(&self) -> Result<Template, Error> {
        let began = Instant::now();
        let templates = self.config.data_root.join("templates");
        cache::make_directory(&templates).map_err(files("create", &templates))?;
        remove_stale(&templates);
        remove_abandoned(&templates, &self.config.exec_root);
        let making = templates.join(format!(".making-{}", self.key));
        drop(fs::remove_dir_all(&making));
        DirBuilder::new().mode(0o700).create(&making).map_err(files("create", &making))?;
        let made = self.save_into(&making).and_then(|()| {
            drop(fs::remove_dir_all(self.directory())); // one that is not whole
            fs::rename(&making, self.directory()).map_err(files("rename", &making))
        });
        if let Err(error) = made {
            drop(fs::remove_dir_all(&making));
            return Err(error);
        }
        let memory_mib = self.machine.memory_mib;
        tracing::info!(memory_mib, made_ms = began.elapsed().as_millis(), "template made");
        self.existing()
            .ok_or_else(|| files("open", &self.directory())(io::ErrorKind::InvalidData.into()))
    }

    /// Boots a guest and saves it.
    fn save_into(&self, directory: &Path) -> Result<(), Error> {
        let initramfs = initramfs::ensure(self.config)?;
        let memory_bytes = u64::from(self.machine.memory_mib) << 20;
        let memory = sparse(&directory.join("memory"), memory_bytes)?;
        let root = directory.join("root");
        drop(sparse(&root, self.inputs.disks.0)?);
        // QEMU takes a descriptor for a read-only disk only when it cannot write.
        let root = File::open(&root).map_err(files("open", &root))?;
        let scratch = sparse(&directory.join("scratch"), self.inputs.disks.1)?;
        let state = sparse(&directory.join("state"), 0)?;
        let (netns, taps) = boot::unplugged()?;
        let parts = Parts { root: root.into(), scratch: scratch.into(), taps, netns };
        let origin = Origin::Boot { initramfs: &initramfs, memory: Some(&memory) };
        let patience = boot::patience(self.machine.accel);
        let mut running = boot::bring_up(self.config, self.machine, parts, &origin, patience)?;
        thread::sleep(SETTLE);
        save(&mut running, &state).map_err(|cause| Error::Save {
            console: boot::last_words(&running.worker.console_tail(4)),
            source: cause,
        })?;
        drop(running);
        for placeholder in ["root", "scratch"] {
            let path = directory.join(placeholder);
            fs::remove_file(&path).map_err(files("remove", &path))?;
        }
        let sync = files("sync", directory);
        let state_bytes = memory
            .sync_all()
            .and_then(|()| state.sync_all())
            .and_then(|()| state.metadata())
            .map_err(sync)?
            .len();
        let record = Record { inputs: self.inputs.clone(), memory_bytes, state_bytes };
        let path = directory.join("template.json");
        let text = serde_json::to_vec(&record).expect("records are plain data");
        fs::write(&path, text).map_err(files("write", &path))
    }
}

impl Template {
    fn same_as(&self, other: &Self) -> bool {
        let identity = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        self.directory == other.directory && identity(&self.memory) == identity(&other.memory)
    }
}

/// Stops the guest and writes its devices' state; its memory is in the file already.
fn save(running: &mut Running, state: &File) -> Result<(), qmp::Error> {
    let deadline = Instant::now() + SAVING;
    let qmp = &mut running.qmp;
    boot::capabilities(qmp, deadline)?;
    qmp.execute("stop", &json!({}), deadline)?;
    qmp.give("getfd", &json!({ "fdname": "state" }), state.as_fd(), deadline)?;
    qmp.execute("migrate", &json!({ "uri": "fd:state" }), deadline)?;
    boot::settled(qmp, deadline)
}

/// Removes templates made from files that have changed or gone since.
fn remove_stale(templates: &Path) {
    for entry in fs::read_dir(templates).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let record = fs::read(path.join("template.json")).ok();
        let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        if !record.is_some_and(|record| record.inputs.files.iter().all(Fingerprint::holds)) {
            drop(fs::remove_dir_all(path));
        }
    }
}

/// Removes what builders that were killed have left: nobody holds their locks.
fn remove_abandoned(templates: &Path, exec_root: &Path) {
    for entry in fs::read_dir(templates).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(key) = name.strip_prefix(".making-") else { continue };
        let Ok(lock) = File::create(lock_path(exec_root, key)) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn lock_path(exec_root: &Path, key: &str) -> PathBuf {
    exec_root.join("vm").join(format!("template-{key}.lock"))
}

/// A file of `size` bytes without content, for root alone.
fn sparse(path: &Path, size: u64) -> Result<File, Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|file| file.set_len(size).map(|()| file)).map_err(files("create", path))
}

/// The host processor's name, or nothing where it is not told.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().find(|line| line.starts_with("model name")).unwrap_or_default().to_owned()
}

fn files(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Files { step, path: path.to_owned(), source }
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The initramfs could not be made.
    #[error("make the initramfs")]
    Initramfs(#[from] initramfs::Error),
    /// The guest did not boot.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// The guest could not be saved.
    #[error("save the guest{console}")]
    Save {
        /// The last lines of the console, in parentheses, or nothing.
        console: String,
        /// Why.
        source: qmp::Error,
    },
    /// A step with files.
    #[error("{step} {}", path.display())]
    Files {
        /// The step.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Initramfs(error) => error.kind(),
            Self::Boot(error) => error.kind(),
            Self::Save { .. } => Kind::Unavailable,
            Self::Files { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Kind::Exhausted
            }
            Self::Files { .. } => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use spec::options::Accel;

    use super::*;

    /// A configuration whose files exist, in `directory`.
    fn config(directory: &Path) -> Config {
        let modules = directory.join("modules");
        fs::create_dir_all(modules.join("k")).unwrap();
        let dep: String = spec::modules::NEEDED.map(|name| format!("k/{name}.ko:\n")).concat();
        fs::write(modules.join("modules.dep"), dep).unwrap();
        for name in spec::modules::NEEDED {
            fs::write(modules.join(format!("k/{name}.ko")), name).unwrap();
        }
        let [qemu, kernel, agent] = ["qemu", "kernel", "agent"].map(|name| {
            fs::write(directory.join(name), name).unwrap();
            directory.join(name)
        });
        let (data_root, exec_root) = (directory.join("data"), directory.join("exec"));
        Config { qemu, kernel, modules, agent, accel: Accel::Tcg, data_root, exec_root }
    }

    #[test]
    fn the_key_changes_with_each_input_and_with_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let machine = Machine { accel: Accel::Tcg, memory_mib: 256, cpus: 1 };
        let key = |machine: &Machine, scratch| Recipe::new(&config, machine, scratch).unwrap().key;
        let first = key(&machine, 1 << 30);
        assert_eq!(key(&machine, 1 << 30), first);
        let mut keys = vec![
            first.clone(),
            key(&Machine { memory_mib: 512, ..machine }, 1 << 30),
            key(&Machine { cpus: 2, ..machine }, 1 << 30),
            key(&Machine { accel: Accel::Kvm, ..machine }, 1 << 30),
            key(&machine, 2 << 30),
        ];
        for part in ["qemu", "kernel", "agent", "modules/modules.dep"] {
            let path = directory.path().join(part);
            let content = fs::read(&path).unwrap();
            thread::sleep(Duration::from_millis(10));
            fs::write(&path, content).unwrap();
            keys.push(key(&machine, 1 << 30));
        }
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_template_with_a_file_cut_short_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let machine = Machine { accel: Accel::Tcg, memory_mib: 256, cpus: 1 };
        let recipe = Recipe::new(&config, &machine, 1 << 30).unwrap();
        let at = recipe.directory();
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("memory"), "12345678").unwrap();
        fs::write(at.join("state"), "1234").unwrap();
        let record = Record { inputs: recipe.inputs.clone(), memory_bytes: 8, state_bytes: 4 };
        fs::write(at.join("template.json"), serde_json::to_vec(&record).unwrap()).unwrap();
        assert!(recipe.existing().is_some());
        remove_stale(at.parent().unwrap());
        assert!(recipe.existing().is_some(), "its files are unchanged");
        fs::write(at.join("state"), "12").unwrap();
        assert!(recipe.existing().is_none());
        fs::remove_file(&config.agent).unwrap();
        remove_stale(at.parent().unwrap());
        assert!(!at.exists());
    }
}
