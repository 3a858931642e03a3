//! The public face of the crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use spec::oci::image::ImageConfiguration;
use spec::{ContainerId, Digest, Kind};
use tokio::io::AsyncRead;

use crate::{Platform, Progress, Reference};

/// All images of one data root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    _root: Arc<PathBuf>,
}

/// Where images come from.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// Base URLs (`http://127.0.0.1:5000`) tried in order for images of docker.io, before docker.io.
    pub mirrors: Vec<String>,
    /// `HOST` or `HOST:PORT` that may be spoken to without TLS. Loopback addresses always may.
    pub insecure: Vec<String>,
}

/// What opens a registry's door; never printed.
#[derive(Clone)]
pub enum Auth {
    /// User and password.
    Basic {
        /// User.
        username: String,
        /// Password.
        password: String,
    },
    /// A registry token (`registrytoken` of docker's `X-Registry-Auth`).
    Bearer(String),
}

/// An image that is here, complete.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest, of one platform.
    pub manifest: Digest,
    /// Its configuration; `created()` of it is docker's `Created`.
    pub config: Arc<ImageConfiguration>,
    /// Names with a tag, sorted; their `Display` is docker's `RepoTags`.
    pub tags: Vec<Reference>,
    /// Names with a digest, sorted; their `Display` is docker's `RepoDigests`.
    pub digests: Vec<Reference>,
    /// Bytes of all files in its layers, as docker counts.
    pub size: u64,
    /// Chain ids of its layers, lowest first.
    pub chain: Vec<Digest>,
}

/// A container that uses an image, as the engine sees it.
#[derive(Debug, Clone)]
pub struct Use {
    /// The container's id.
    pub container: ContainerId,
    /// The image's id.
    pub image: Digest,
    /// Whether it runs (or is paused): then even force does not delete the image.
    pub running: bool,
}

/// One record of docker's answer to `rmi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name, in its familiar form.
    Untagged(String),
    /// An image or layer, `sha256:…`.
    Deleted(Digest),
}

/// What `docker import` takes besides the archive.
#[derive(Debug, Clone)]
pub struct Import {
    /// Dockerfile instructions (`CMD ["sh"]`, `ENV A=b`) for the configuration.
    pub changes: Vec<String>,
    /// A comment for the history.
    pub message: String,
    /// The platform to record.
    pub platform: Platform,
}

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

/// Placeholder for the errors of each method, which become one enum a module.
#[derive(Debug, thiserror::Error)]
#[error("images are not there yet")]
pub struct Error;

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

impl Images {
    /// Opens the store beneath `data_root`, making it if need be, and collects what a crash left.
    /// Blocks.
    pub fn open(data_root: &Path, _registries: Registries) -> Result<Self, Error> {
        Ok(Self { _root: Arc::new(data_root.to_owned()) })
    }

    /// Fetches an image and gives it its name. Cancelled by dropping the future: then nothing but
    /// whole blobs stays, and the next pull goes on from there.
    pub async fn pull(
        &self,
        _reference: &Reference,
        _platform: &Platform,
        _auth: Option<Auth>,
        _progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Image, Error> {
        Err(Error)
    }

    /// Makes an image of one layer from a tar archive, plain or compressed by gzip or zstd.
    pub async fn import(
        &self,
        _archive: impl AsyncRead + Send + Unpin + 'static,
        _reference: Option<&Reference>,
        _import: &Import,
    ) -> Result<Image, Error> {
        Err(Error)
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<Image> {
        Vec::new()
    }

    /// The image that `name` means: an id with or without `sha256:`, a unique beginning of one, a
    /// reference in any form.
    pub fn get(&self, _name: &str) -> Result<Image, Error> {
        Err(Error)
    }

    /// Gives the image `source` (anything [`Images::get`] takes) another name, which is taken from
    /// whatever had it.
    pub fn tag(&self, _source: &str, _target: &Reference) -> Result<(), Error> {
        Err(Error)
    }

    /// `docker rmi`: takes a name away, or all names of an id, and deletes the image with its last
    /// name. `uses` are all containers of the engine.
    pub async fn remove(
        &self,
        _name: &str,
        _uses: &[Use],
        _force: bool,
    ) -> Result<Vec<Removed>, Error> {
        Err(Error)
    }

    /// The directories of the image's layers, topmost first.
    pub fn layers(&self, _image: &Digest) -> Result<Vec<PathBuf>, Error> {
        Err(Error)
    }

    /// Makes `containers/ID` with `upper` and `work`, and keeps the image's layers until
    /// [`Images::release`], also when the image is removed before.
    pub async fn prepare(
        &self,
        _container: &ContainerId,
        _image: &Digest,
    ) -> Result<Snapshot, Error> {
        Err(Error)
    }

    /// The snapshot of a container that was prepared earlier, also before a restart.
    pub fn snapshot(&self, _container: &ContainerId) -> Result<Snapshot, Error> {
        Err(Error)
    }

    /// Removes the whole of `containers/ID` (the engine's files too) and layers that nothing uses any
    /// more. Does nothing when there is none. The container must not be mounted.
    pub async fn release(&self, _container: &ContainerId) -> Result<(), Error> {
        Ok(())
    }
}
