//! What containers stand on.
//!
//! ```text
//!   containers/ID/layer     symlink to the topmost layer: keeps it and all beneath
//!   containers/ID/upper     what the container writes
//!   containers/ID/work      overlayfs's own
//!   containers/ID/empty     the lower directory of an image without layers, in place of `layer`
//!   containers/ID/lent/HEX  symlink to the topmost layer of another image, which it mounts
//! ```
//!
//! The hold lies with the container, so that the directory's end is the hold's end, whatever happens in
//! between. It is a symlink because making one is a single change of the filesystem: whoever syncs
//! anything after it (the engine's database does) has synced it, and there is no half of it.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use spec::{ContainerId, Digest, Kind};

use crate::disk::{self, Context};
use crate::find;
use crate::snapshot::Snapshots;
use crate::store::Store;
use crate::unpack::copy_root_attributes;

/// The directory of what is lent to a container.
const LENT: &str = "lent";

/// What a container's root filesystem is made of; goes into the task's overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Topmost first; empty never.
    pub lower: Vec<PathBuf>,
    /// `<data_root>/containers/ID/upper`.
    pub upper: PathBuf,
    /// `<data_root>/containers/ID/work`.
    pub work: PathBuf,
}

/// Why a container's snapshot is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image.
    #[error(transparent)]
    Image(#[from] find::Error),
    /// The container has a snapshot already.
    #[error("container {0} has a snapshot already")]
    Exists(ContainerId),
    /// The container has none.
    #[error("container {0} has no snapshot")]
    NotFound(ContainerId),
    /// The data root cannot be used.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Image(e) => e.kind(),
            Self::Exists(_) => Kind::Exists,
            Self::NotFound(_) => Kind::NotFound,
            Self::Disk(e) => e.kind(),
        }
    }
}

impl Store {
    /// Makes a container's directory and holds the image's layers. Leaves nothing when it fails.
    pub(crate) fn prepare(
        &self,
        container: &ContainerId,
        image: &Digest,
    ) -> Result<Snapshot, Error> {
        let chain = self.hold(container, image)?;
        let made = self.make(container, &chain);
        if made.is_err() {
            self.release(container)?;
        }
        Ok(made?)
    }

    fn hold(&self, container: &ContainerId, image: &Digest) -> Result<Vec<Digest>, Error> {
        let mut state = self.state();
        if state.holds.contains_key(container) {
            return Err(Error::Exists(container.clone()));
        }
        let image = state.images.get(image).ok_or(find::Error::NotFound(image.to_string()))?;
        let chain = image.chain.clone();
        state.holds.insert(container.clone(), chain.clone());
        Ok(chain)
    }

    fn make(&self, container: &ContainerId, chain: &[Digest]) -> Result<Snapshot, disk::Error> {
        let dir = self.containers.join(container.as_str());
        disk::make_dir(&dir)?;
        if let Some(top) = chain.last() {
            let (link, target) = (dir.join("layer"), Path::new("../../snapshots").join(top.hex()));
            symlink(target, &link).on("create", &link)?;
        }
        let snapshot = self.paths(container, chain);
        disk::make_dir(&snapshot.upper)?;
        disk::make_dir(&snapshot.work)?;
        match chain {
            [] => disk::make_dir(&snapshot.lower[0])?,
            _ => copy_root_attributes(&snapshot.lower[0], &snapshot.upper)?,
        }
        Ok(snapshot)
    }

    /// Keeps the layer `top` and all beneath it for a container that was prepared, besides its own.
    pub(crate) fn lend(&self, container: &ContainerId, top: &Digest) -> Result<(), Error> {
        let mut state = self.state();
        if !state.stands_on(top) {
            return Err(find::Error::NotFound(top.to_string()).into());
        }
        let chain = self.snapshots.chain(top.clone())?;
        let dir = self.containers.join(container.as_str()).join(LENT);
        std::fs::create_dir_all(&dir).on("create", &dir)?;
        let link = dir.join(top.hex());
        match symlink(Path::new("../../../snapshots").join(top.hex()), &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.on("create", &link)?,
        }
        state.lent.entry(container.clone()).or_default().extend(chain);
        Ok(())
    }

    /// The directories of the layer `top` and all beneath it, topmost first.
    pub(crate) fn lent(&self, top: &Digest) -> Result<Vec<PathBuf>, Error> {
        Ok(self.snapshots.stack(&self.snapshots.chain(top.clone())?))
    }

    /// The snapshot of a container that has one.
    pub(crate) fn snapshot(&self, container: &ContainerId) -> Result<Snapshot, Error> {
        let state = self.state();
        let chain = state.holds.get(container);
        let chain = chain.ok_or_else(|| Error::NotFound(container.clone()))?;
        Ok(self.paths(container, chain))
    }

    fn paths(&self, container: &ContainerId, chain: &[Digest]) -> Snapshot {
        let dir = self.containers.join(container.as_str());
        let lower = match chain {
            [] => vec![dir.join("empty")],
            _ => self.snapshots.stack(chain),
        };
        Snapshot { lower, upper: dir.join("upper"), work: dir.join("work") }
    }

    /// Removes a container's directory, then layers that stood for it alone.
    pub(crate) fn release(&self, container: &ContainerId) -> Result<(), disk::Error> {
        disk::remove_tree(&self.containers.join(container.as_str()))?;
        let mut state = self.state();
        let mut chain = state.holds.remove(container).unwrap_or_default();
        chain.extend(state.lent.remove(container).unwrap_or_default());
        let alone = chain.iter().any(|layer| !state.stands_on(layer));
        let garbage = if alone { self.collect(&mut state)? } else { Vec::new() };
        drop(state);
        drop(garbage);
        Ok(())
    }
}

/// The holds of all containers beneath `containers`.
pub(crate) fn read_all(
    containers: &Path,
    snapshots: &Snapshots,
) -> Result<HashMap<ContainerId, Vec<Digest>>, disk::Error> {
    let mut holds = HashMap::new();
    for dir in disk::list(containers)? {
        let id = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let Some(id) = id else { continue };
        let top = match std::fs::read_link(dir.join("layer")) {
            Ok(link) => Some(link),
            // It died before it held anything, or its image has no layers.
            Err(_) if !dir.join("empty").is_dir() => continue,
            Err(_) => None,
        };
        match top.map_or_else(|| Ok(Vec::new()), |link| snapshots.chain(named(&link)?)) {
            Ok(chain) => drop(holds.insert(id, chain)),
            Err(e) if e.is_absence() => {
                tracing::error!(container = %id, missing = %e.path.display(), "layer is gone");
            }
            Err(e) => return Err(e),
        }
    }
    Ok(holds)
}

/// What is lent to the containers beneath `containers`.
pub(crate) fn read_lent(
    containers: &Path,
    snapshots: &Snapshots,
) -> Result<HashMap<ContainerId, Vec<Digest>>, disk::Error> {
    let mut lent: HashMap<_, Vec<_>> = HashMap::new();
    for dir in disk::list(containers)? {
        let id = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let links = std::fs::read_dir(dir.join(LENT)).into_iter().flatten().flatten();
        let Some(id) = id else { continue };
        for link in links {
            match snapshots.chain(named(&link.path())?) {
                Ok(chain) => lent.entry(ContainerId::clone(&id)).or_default().extend(chain),
                Err(e) if e.is_absence() => {
                    tracing::error!(container = %id, missing = %e.path.display(), "layer is gone");
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(lent)
}

/// The layer that a hold's symlink names.
fn named(link: &Path) -> Result<Digest, disk::Error> {
    let hex = link.file_name().unwrap_or_default().to_string_lossy();
    format!("sha256:{hex}").parse::<Digest>().map_err(io::Error::other).on("read", link)
}
