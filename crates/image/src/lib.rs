//! Images: from a registry or an archive to layers that a container can stand on.
//!
//! Called by the engine, in one process (`hulld`) only; every method may be called at any time from
//! any thread. Methods that are not `async` do little or no I/O, but for [`Images::open`].
//!
//! ```text
//!   pull / import  ->  blobs (content/)  ->  layers (snapshots/)  ->  name (content/index.json)
//!   name  ->  image  ->  prepare(container)  ->  lower, upper, work  ->  release(container)
//! ```
//!
//! Invariant: whatever a name leads to is complete, verified and on disk. A crash at any instant leaves
//! the old or the new state and garbage, which the next [`Images::open`] collects.
//!
//! Spec: OCI image-spec; OCI distribution-spec.

pub mod changes;
pub mod commit;
pub mod compression;
mod content;
pub mod distribution;
pub mod draft;
pub mod expand;
pub mod extension;
pub mod find;
pub mod hold;
pub mod image;
pub mod import;
mod index;
pub mod load;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod remove;
pub mod save;
pub mod snapshot;
pub mod step;
mod store;
mod usage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use spec::{ContainerId, Digest, Kind};
use tokio::io::AsyncRead;

use store::Store;

pub use distribution::Remote;
pub use draft::Draft;
pub use extension::{Extension, Healthcheck};
pub use hold::Snapshot;
pub use image::Image;
pub use import::Import;
pub use load::Loaded;
pub use platform::{InvalidPlatform, Platform};
pub use progress::{Bytes, Progress, Status};
pub use reference::{DOCKER_HUB, InvalidReference, Reference};
pub use registry::{Auth, Registries};
pub use remove::{Pruned, Removed, Use};
pub use save::Save;
pub use step::{Contents, Step};
pub use tree::archive::Error as ArchiveError;
use tree::{archive, pack};
pub use tree::{disk, unpack};
pub use usage::Usage;

/// All images of one data root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    store: Arc<Store>,
    /// Whoever asks a registry keeps what it began with.
    registries: Arc<RwLock<Arc<Registries>>>,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A registry in the configuration cannot be meant.
    #[error(transparent)]
    Registry(#[from] registry::InvalidRegistry),
    /// The data root cannot be used.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Registry(_) => Kind::Invalid,
            Self::Disk(e) => e.kind(),
        }
    }
}

impl Images {
    /// Opens the store beneath `data_root`, making it if need be, and collects what a crash left.
    /// Blocks. Sets the process's TLS provider unless it has one.
    pub fn open(data_root: &Path, registries: Registries) -> Result<Self, Error> {
        // Refused only if there is one: then that is used.
        drop(rustls::crypto::ring::default_provider().install_default());
        let registries = Arc::new(RwLock::new(Arc::new(registries.checked()?)));
        let store = Arc::new(Store::open(data_root)?);
        Ok(Self { store, registries })
    }

    /// Which registries are asked.
    pub fn registries(&self) -> Arc<Registries> {
        Arc::clone(&self.registries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks others from now on; what has begun goes on as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Registry`] for one that cannot be meant; then nothing has changed.
    pub fn use_registries(&self, registries: Registries) -> Result<(), Error> {
        let registries = Arc::new(registries.checked()?);
        *self.registries.write().unwrap_or_else(PoisonError::into_inner) = registries;
        Ok(())
    }

    /// Fetches an image and gives it its name. Cancelled by dropping the future: then nothing but
    /// whole blobs and layers stays, and the next pull goes on from there.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        auth: Option<Auth>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Image, pull::Error> {
        let request = pull::Request { reference, platform, progress: &progress };
        pull::pull(&self.store, &self.registries(), auth, &request).await
    }

    /// Sends an image, or with `all` every tag of the repository, to the registry in its name. Cancelled
    /// by dropping the future.
    pub async fn push(
        &self,
        reference: &Reference,
        all: bool,
        auth: Option<Auth>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<(), push::Error> {
        let request = push::Request { reference, all, progress: &progress };
        push::push(&self.store, &self.registries(), auth, &request).await
    }

    /// Asks the registry at `host` whether it takes the credentials. Gives an identity token, where the
    /// registry has such: that is kept in the password's place.
    pub async fn log_in(&self, host: &str, auth: Auth) -> Result<Option<String>, registry::Error> {
        distribution::log_in(&self.registries(), host, auth).await
    }

    /// The repositories whose names hold `term`: of the registry that it begins with, or of the mirrors of
    /// Docker Hub. `None` when there are none of these.
    pub async fn search(&self, term: &str) -> Result<Option<Vec<Reference>>, registry::Error> {
        distribution::search(&self.registries(), term).await
    }

    /// What the registry says of an image, without fetching it.
    pub async fn look_up(
        &self,
        reference: &Reference,
        auth: Option<Auth>,
    ) -> Result<Remote, pull::Error> {
        distribution::look_up(&self.registries(), reference, auth).await
    }

    /// All tags that the registry has in the reference's repository.
    pub async fn remote_tags(
        &self,
        reference: &Reference,
        auth: Option<Auth>,
    ) -> Result<Vec<Reference>, pull::Error> {
        distribution::tags(&self.registries(), reference, auth).await
    }

    /// Chooses images to save: by id without a name, by repository with all of its tags. They are kept
    /// until what is returned is dropped. One that is damaged on disk is refused.
    pub async fn save(&self, names: &[String]) -> Result<Save, save::Error> {
        let save = save::choose(&self.store, names)?;
        blocking(move || save.check().map(|()| save)).await
    }

    /// Takes in the images of an archive of [`Images::save`], of docker, or of an OCI image layout.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin,
        platform: &Platform,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Loaded>, load::Error> {
        load::load(&self.store, archive, platform, Arc::new(progress)).await
    }

    /// Removes those of `images` that no container uses, with all their names. `uses` are all containers
    /// of the engine.
    pub async fn prune(&self, images: Vec<Digest>, uses: Vec<Use>) -> Result<Pruned, disk::Error> {
        let store = Arc::clone(&self.store);
        blocking(move || store.prune(&images, &uses, true)).await
    }

    /// The same, but what only they were made of stays.
    pub async fn prune_steps(
        &self,
        images: Vec<Digest>,
        uses: Vec<Use>,
    ) -> Result<Pruned, disk::Error> {
        let store = Arc::clone(&self.store);
        blocking(move || store.prune(&images, &uses, false)).await
    }

    /// What the images take on disk.
    pub fn usage(&self) -> Usage {
        usage::usage(&self.store)
    }

    /// Bytes of files in each layer of the image, lowest first.
    pub fn layer_sizes(&self, image: &Image) -> Vec<u64> {
        let size = |layer| self.store.snapshots.size(layer).unwrap_or(0);
        image.chain.iter().map(size).collect()
    }

    /// Makes an image of one layer from a tar archive, plain or compressed.
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Unpin,
        reference: Option<&Reference>,
        import: &Import,
    ) -> Result<Image, import::Error> {
        import::import(&self.store, archive, reference, import).await
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<Image> {
        let mut images: Vec<Image> = self.store.state().images.values().cloned().collect();
        images.sort_by(|a, b| b.config.created().cmp(a.config.created()).then(a.id.cmp(&b.id)));
        images
    }

    /// The images of which a build has made others.
    pub fn parents(&self) -> BTreeSet<Digest> {
        let state = self.store.state();
        state.images.values().filter_map(|image| image.parent.clone()).collect()
    }

    /// The image that `name` means: an id with or without `sha256:`, a unique beginning of one, a
    /// reference in any form.
    pub fn get(&self, name: &str) -> Result<Image, find::Error> {
        self.store.state().find(name).cloned()
    }

    /// Gives the image `source` (anything [`Images::get`] takes) another name, which is taken from
    /// whatever had it.
    ///
    /// # Errors
    ///
    /// [`remove::Error::Image`] when there is no `source`, [`remove::Error::Disk`] when the index
    /// cannot be written; then nothing has changed.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), remove::Error> {
        let mut state = self.store.state();
        let id = state.find(source)?.id.clone();
        let before = state.images.clone();
        state.rename(target, &id);
        Ok(self.store.save_or_restore(&mut state, before)?)
    }

    /// `docker rmi`: takes a name away, or all names of an id, and deletes the image with its last
    /// name. `uses` are all containers of the engine.
    pub async fn remove(
        &self,
        name: &str,
        uses: &[Use],
        force: bool,
    ) -> Result<Vec<Removed>, remove::Error> {
        let (store, name, uses) = (Arc::clone(&self.store), name.to_owned(), uses.to_vec());
        blocking(move || store.remove(&name, &uses, force)).await
    }

    /// The directories of the image's layers, topmost first; none for an image without layers.
    pub fn layers(&self, image: &Digest) -> Result<Vec<PathBuf>, find::Error> {
        let state = self.store.state();
        let image = state.images.get(image);
        let image = image.ok_or_else(|| find::Error::NotFound("by that id".to_owned()))?;
        Ok(self.store.snapshots.stack(&image.chain))
    }

    /// Makes `containers/ID` with `upper` and `work`, and keeps the image's layers until
    /// [`Images::release`], also when the image is removed before.
    pub async fn prepare(
        &self,
        container: &ContainerId,
        image: &Digest,
    ) -> Result<Snapshot, hold::Error> {
        let store = Arc::clone(&self.store);
        let (container, image) = (container.clone(), image.clone());
        blocking(move || store.prepare(&container, &image)).await
    }

    /// Keeps a layer of an image and all beneath it until [`Images::release`], for a container that was
    /// prepared and mounts the image. Blocks.
    pub fn lend(&self, container: &ContainerId, top: &Digest) -> Result<(), hold::Error> {
        self.store.lend(container, top)
    }

    /// The directories of a layer that is lent and of all beneath it, topmost first. Blocks.
    pub fn lent(&self, top: &Digest) -> Result<Vec<PathBuf>, hold::Error> {
        self.store.lent(top)
    }

    /// The snapshot of a container that was prepared earlier, also before a restart.
    pub fn snapshot(&self, container: &ContainerId) -> Result<Snapshot, hold::Error> {
        self.store.snapshot(container)
    }

    /// The containers that hold layers, so that an engine can release those it does not know.
    pub fn held(&self) -> Vec<ContainerId> {
        self.store.state().holds.keys().cloned().collect()
    }

    /// Removes the whole of `containers/ID` (the engine's files too) and layers that nothing uses any
    /// more. Does nothing when there is none. The container must not be mounted.
    pub async fn release(&self, container: &ContainerId) -> Result<(), hold::Error> {
        let (store, container) = (Arc::clone(&self.store), container.clone());
        blocking(move || Ok(store.release(&container)?)).await
    }
}

/// Runs `work` where it may block. It is finished even if nobody waits for it any more.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
