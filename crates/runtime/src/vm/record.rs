//! What is written down of a container in a VM, and finding it again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use container::{Status, Store, store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::ContainerId;
use spec::oci::runtime as oci;

use super::Error;
use super::shim::Shim;
use super::tasks::{State, Tasks};

/// Everything that the shim does not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: ContainerId,
    /// The bundle's directory, absolute.
    pub(crate) bundle: PathBuf,
    /// The root filesystem, or where it would be.
    pub(crate) rootfs: PathBuf,
    /// What it writes in, for a root filesystem of layers.
    #[serde(default)]
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) created: SystemTime,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) oci_version: String,
    /// What `exec` starts from when it names no other.
    pub(crate) process: Option<oci::Process>,
    /// The first container of the VM that it is in; `None` for one whose VM is its own.
    #[serde(default)]
    pub(crate) sandbox: Option<ContainerId>,
    /// The section `vm` with which its VM was made.
    #[serde(default)]
    pub(crate) section: Option<Value>,
    /// Where the shim is asked.
    pub(crate) address: String,
}

/// A container in a VM.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) directory: PathBuf,
    pub(crate) record: Record,
}

impl Record {
    /// Writes it, whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(store::FOREIGN_RECORD);
        let new = path.with_extension("new");
        let text = serde_json::to_vec(self);
        let text =
            text.map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        fs::write(&new, text).map_err(Error::file("write", &new))?;
        fs::rename(&new, &path).map_err(Error::file("write", path))
    }
}

impl Machine {
    /// The container `id` of `store`, if that is one in a VM.
    pub(crate) fn load(store: &Store, id: &ContainerId) -> Result<Option<Self>, Error> {
        let directory = store.directory(id);
        let path = directory.join(store::FOREIGN_RECORD);
        let bytes = match fs::read(&path) {
            // Neither is there a directory where the root is none.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            read => read.map_err(Error::file("read", &path))?,
        };
        let record = serde_json::from_slice(&bytes);
        let record =
            record.map_err(|source| Error::Json { what: path.display().to_string(), source })?;
        Ok(Some(Self { directory, record }))
    }

    /// Every container in a VM, in order of id.
    pub(crate) fn list(store: &Store) -> Result<Vec<Self>, container::Error> {
        let load = |id| Self::load(store, id).ok().flatten();
        Ok(store.ids()?.iter().filter_map(load).collect())
    }

    /// Where its record is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A connection to its shim.
    pub(super) fn tasks(&self) -> Result<Tasks, Error> {
        Tasks::connect(&self.record.address, &self.record.id)
    }

    pub(super) fn shim(&self) -> Shim<'_> {
        Shim { id: &self.record.id, directory: &self.directory }
    }

    /// Whether no other container of its root has the same shim.
    pub(crate) fn is_alone(&self) -> Result<bool, container::Error> {
        let root = self.directory.parent().unwrap_or(Path::new("/"));
        let Record { id, address, .. } = &self.record;
        let shares = |other: &Self| other.record.address == *address && other.record.id != *id;
        Ok(!Self::list(&Store::open(root))?.iter().any(shares))
    }

    /// Where it is in its life, and the worker's number while there is one.
    pub(crate) fn state(&self) -> Result<(Status, Option<i32>), Error> {
        match self.tasks().and_then(|mut tasks| tasks.state()) {
            Ok(State { status: Status::Stopped, .. }) | Err(Error::Gone { .. }) => {
                Ok((Status::Stopped, None))
            }
            Ok(State { status, pid }) => Ok((status, Some(pid))),
            // Its maker is still at it, or was killed.
            Err(Error::Refused { kind: spec::Kind::NotFound, .. }) => Ok((Status::Creating, None)),
            Err(error) => Err(error),
        }
    }
}
