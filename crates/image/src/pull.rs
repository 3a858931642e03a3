//! Pulling an image.
//!
//! ```text
//!   sources in order  ->  manifest  ->  (index: the platform's manifest)  ->  configuration
//!     ->  layers: up to 3 at once, unpacked while they arrive, placed one on the other
//!     ->  synced  ->  named
//! ```
//!
//! A pull that fails leaves nothing. Dropping the future anywhere leaves whole blobs and whole layers
//! without a name: they save the next pull the work, or go with the next collection.

mod download;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use spec::{Digest, Kind};
use tokio::sync::{Mutex, Semaphore, oneshot};

use crate::content::digest_of;
use crate::disk;
use crate::image::{self, Configuration, Image};
use crate::manifest::{self, Descriptor, Document, Manifest};
use crate::registry::{self, Auth, Registries, Session};
use crate::snapshot::{self, Unpacked, chain_ids};
use crate::store::{Pin, Store};
use crate::{Platform, Progress, Reference, Status};
use download::{Download, Unpacking};

/// Layers that are downloaded at once; docker's number.
const DOWNLOADS: usize = 3;
/// How often a bar moves at most.
const BAR: Duration = Duration::from_millis(100);

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No registry has it.
    #[error("manifest for {0} not found: manifest unknown")]
    NotFound(Reference),
    /// The registry does not let us in, or does not tell whether it has it.
    #[error("pull access denied for {0}, repository does not exist or may require authorization")]
    Denied(String),
    /// It is for another platform.
    #[error(
        "image with reference {reference} was found but its platform ({found}) does not match the \
         specified platform ({wanted})"
    )]
    Platform {
        /// What was asked for.
        reference: Reference,
        /// What it is for.
        found: Platform,
        /// What it should be for.
        wanted: Platform,
    },
    /// Anything else that went wrong on the way.
    #[error("pull {reference}")]
    Failed {
        /// What was asked for.
        reference: Reference,
        /// What went wrong.
        source: Failure,
    },
}

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The manifest or configuration.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The bytes are not those that were asked for.
    #[error("{host} gave other bytes than asked for: want {wanted}, got {found}")]
    Digest {
        /// The registry.
        host: String,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// The blob does not end where it should.
    #[error("{host} gave more than the {size} bytes that {digest} has")]
    TooLong {
        /// The registry.
        host: String,
        /// The blob.
        digest: Digest,
        /// What its descriptor says.
        size: u64,
    },
    /// The blob ends before it should.
    #[error("{host} gave {found} of the {size} bytes that {digest} has")]
    TooShort {
        /// The registry.
        host: String,
        /// The blob.
        digest: Digest,
        /// What its descriptor says.
        size: u64,
        /// What came.
        found: u64,
    },
    /// The data root.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A layer cannot be unpacked.
    #[error("unpack layer {layer}")]
    Layer {
        /// The layer's blob.
        layer: Digest,
        /// Why.
        source: snapshot::Error,
    },
    /// The image cannot be stored.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The program is ending.
    #[error("the pull was given up")]
    GivenUp,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::Platform { .. } => Kind::NotFound,
            Self::Denied(_) => Kind::Denied,
            Self::Failed { source, .. } => source.kind(),
        }
    }

    pub(crate) fn of(reference: &Reference, source: Failure) -> Self {
        let reference = reference.clone();
        match source {
            Failure::Registry(registry::Error::NotFound { .. }) => Self::NotFound(reference),
            Failure::Registry(registry::Error::Denied { .. }) => {
                Self::Denied(reference.familiar_name())
            }
            source => Self::Failed { reference, source },
        }
    }
}

impl Failure {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Manifest(e) => e.kind(),
            Self::Digest { .. } | Self::TooLong { .. } | Self::TooShort { .. } => Kind::Invalid,
            Self::Disk(e) => e.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::Image(e) => e.kind(),
            Self::GivenUp => Kind::Unavailable,
        }
    }
}

/// What is pulled, and whom it is told.
pub(crate) struct Request<'a> {
    pub(crate) reference: &'a Reference,
    pub(crate) platform: &'a Platform,
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A manifest with where it came from.
struct Found {
    session: Session,
    /// What the name led to: the index, if it was one.
    target: Digest,
    manifest: Manifest,
    descriptor: Descriptor,
    bytes: bytes::Bytes,
}

/// One layer on its way.
struct Layer {
    blob: Descriptor,
    diff_id: Digest,
    /// Chain ids up to and with this layer.
    chain: Vec<Digest>,
}

/// Pulls from the first source that has the image.
pub(crate) async fn pull(
    store: &Arc<Store>,
    registries: &Registries,
    auth: Option<Auth>,
    request: &Request<'_>,
) -> Result<Image, Error> {
    let reference = request.reference;
    let found = locate(registries, auth, request).await.map_err(|e| Error::of(reference, e))?;
    let tag = reference.tag().map(str::to_owned);
    let id = if reference.digest().is_some() { Some(found.target.to_string()) } else { tag };
    let status = Status::PullingFrom(reference.repository().to_owned());
    (request.progress)(Progress { id, status, bytes: None });
    let received = receive(store, request, found).await;
    if received.is_err() {
        let store = Arc::clone(store);
        // It ends well or not at all, with the program.
        let _ = tokio::task::spawn_blocking(move || store.sweep()).await;
    }
    received
}

/// Finds the manifest for the platform. A mirror that fails in any way hands over to the next source;
/// what the last one says counts, unless it cannot be reached and a mirror knew better.
async fn locate(
    registries: &Registries,
    auth: Option<Auth>,
    request: &Request<'_>,
) -> Result<Found, Failure> {
    let mut unknown = None;
    let mut last = None;
    for source in registries.sources(request.reference, auth) {
        if let Some(error) = last.take() {
            tracing::debug!(mirror_error = %error, "mirror does not give the image");
        }
        let asked = match source.session(request.reference).await {
            Ok(session) => ask(session, request).await,
            Err(e) => Err(e.into()),
        };
        match asked {
            Ok(found) => return Ok(found),
            Err(error) => {
                if error.kind() == Kind::NotFound {
                    unknown = Some(registry::Error::NotFound { host: source.host.clone() });
                }
                last = Some(error);
            }
        }
    }
    match (last, unknown) {
        (Some(Failure::Registry(registry::Error::Unreachable { .. })), Some(unknown)) => {
            Err(unknown.into())
        }
        (Some(error), _) => Err(error),
        (None, _) => Err(Failure::GivenUp),
    }
}

async fn ask(session: Session, request: &Request<'_>) -> Result<Found, Failure> {
    let bytes = session.manifest(request.reference.digest()).await?;
    let target = digest_of(&bytes);
    if let Some(wanted) = request.reference.digest() {
        verify(&session, wanted, &target)?;
    }
    match manifest::parse(&bytes)? {
        Document::Manifest(manifest) => {
            let descriptor = described(&manifest, &bytes);
            Ok(Found { session, target, manifest, descriptor, bytes })
        }
        Document::Index(manifests) => {
            let chosen = manifest::choose(&manifests, request.platform)?;
            let bytes = session.manifest(Some(&chosen.digest)).await?;
            verify(&session, &chosen.digest, &digest_of(&bytes))?;
            let Document::Manifest(manifest) = manifest::parse(&bytes)? else {
                return Err(manifest::Error::Invalid("an index within an index").into());
            };
            let descriptor = described(&manifest, &bytes);
            Ok(Found { session, target, manifest, descriptor, bytes })
        }
    }
}

fn described(manifest: &Manifest, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: manifest.media_type.clone(),
        digest: digest_of(bytes),
        size: bytes.len() as u64,
        platform: None,
    }
}

fn verify(session: &Session, wanted: &Digest, found: &Digest) -> Result<(), Failure> {
    if wanted == found {
        return Ok(());
    }
    let (wanted, found) = (wanted.clone(), found.clone());
    Err(Failure::Digest { host: session.host().to_owned(), wanted, found })
}

/// Fetches what the manifest names, and names the image.
async fn receive(store: &Arc<Store>, request: &Request<'_>, found: Found) -> Result<Image, Error> {
    let reference = request.reference;
    let failed = |e: Failure| Error::of(reference, e);
    let blobs = [&found.manifest.config, &found.descriptor].into_iter();
    let pins: Vec<_> = blobs.map(|blob| store.pin(&blob.digest)).collect();
    let writing = Mutex::default();
    let download = Download { store, session: &found.session, progress: request.progress, writing };
    download.fetch(&found.manifest.config).await.map_err(failed)?;
    let config = store.content.read(&found.manifest.config.digest).map_err(Failure::from);
    let config = config.and_then(|bytes| Ok(Configuration::parse(&bytes, &found.manifest)?));
    let config = config.map_err(failed)?;
    let is_for = config.platform();
    let variant = is_for.variant.as_deref();
    if !request.platform.accepts(&is_for.os, &is_for.architecture, variant) {
        let (reference, wanted) = (reference.clone(), request.platform.clone());
        return Err(Error::Platform { reference, found: is_for, wanted });
    }
    let layer_pins = layers(&download, &found.manifest, &config.diff_ids).await.map_err(failed)?;
    let image = finish(store, request, &found).await.map_err(failed)?;
    drop((pins, layer_pins));
    Ok(image)
}

/// Downloads and unpacks all layers. What is returned keeps them until they have a name.
async fn layers(
    download: &Download<'_>,
    manifest: &Manifest,
    diff_ids: &[Digest],
) -> Result<Vec<Arc<Pin>>, Failure> {
    let chain = chain_ids(diff_ids);
    let of = |(i, (blob, diff_id)): (usize, (&Descriptor, &Digest))| Layer {
        blob: blob.clone(),
        diff_id: diff_id.clone(),
        chain: chain[..=i].to_vec(),
    };
    let layers: Vec<Layer> = manifest.layers.iter().zip(diff_ids).enumerate().map(of).collect();
    let everything = layers.iter().map(|layer| &layer.blob.digest).chain(&chain);
    let pins = everything.map(|digest| download.store.pin(digest)).collect();
    for layer in &layers {
        (download.progress)(Progress::layer(&layer.blob.digest, Status::PullingFsLayer));
    }
    // Fair: a layer never waits for one above it.
    let turns = Semaphore::new(DOWNLOADS);
    let mut beneath = None;
    let mut all = Vec::new();
    for layer in &layers {
        let (placed, next) = oneshot::channel();
        all.push(download.layer(layer, &turns, beneath.replace(next), placed));
    }
    try_join_all(all).await?;
    download.written().await?;
    Ok(pins)
}

impl Download<'_> {
    /// Brings a layer, and gives it its place once the one beneath has it.
    async fn layer(
        &self,
        layer: &Layer,
        turns: &Semaphore,
        beneath: Option<oneshot::Receiver<()>>,
        placed: oneshot::Sender<()>,
    ) -> Result<(), Failure> {
        let Some((id, below)) = layer.chain.split_last() else { return Ok(()) };
        let turn = turns.acquire().await.map_err(|_| Failure::GivenUp)?;
        let pin = self.store.pin(id);
        // Until it has its place, so that of two pulls one waits for the other's work.
        let making = pin.layer.clone().lock_owned().await;
        let kept = Arc::new((making, pin));
        let tell = |status| (self.progress)(Progress::layer(&layer.blob.digest, status));
        let is_placed = self.store.snapshots.has(id);
        if is_placed && self.store.content.has(&layer.blob.digest) {
            tell(Status::AlreadyExists);
        } else {
            let diff_id = layer.diff_id.clone();
            let unpacking = (!is_placed).then(|| Unpacking { diff_id, kept: kept.clone() });
            let unpacked = self.fetch_layer(&layer.blob, unpacking).await?;
            drop(turn);
            if let Some(beneath) = beneath {
                // It says itself why it has failed.
                beneath.await.map_err(|_| Failure::GivenUp)?;
            }
            if let Some(unpacked) = unpacked {
                self.place(layer, unpacked, below, kept).await?;
            }
            tell(Status::PullComplete);
        }
        // There is none above the topmost.
        let _ = placed.send(());
        Ok(())
    }

    async fn place(
        &self,
        layer: &Layer,
        unpacked: Unpacked,
        beneath: &[Digest],
        kept: Arc<dyn Send + Sync>,
    ) -> Result<(), Failure> {
        let (store, beneath) = (Arc::clone(self.store), beneath.to_vec());
        let work = tokio::task::spawn_blocking(move || {
            let _kept = kept;
            store.snapshots.place(unpacked, &beneath)
        });
        let placed = work.await.map_err(|_| Failure::GivenUp)?;
        let failed = |source| Failure::Layer { layer: layer.blob.digest.clone(), source };
        placed.map_err(failed)?;
        self.write().await
    }

    /// Has what there is so far written to the disk, beside the rest of the pull: then there is less to
    /// wait for in the end.
    async fn write(&self) -> Result<(), Failure> {
        let mut writing = self.writing.lock().await;
        if writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return Ok(());
        }
        let store = Arc::clone(self.store);
        match writing.replace(tokio::task::spawn_blocking(move || store.sync())) {
            Some(last) => Ok(last.await.map_err(|_| Failure::GivenUp)??),
            None => Ok(()),
        }
    }

    /// Waits for that. A failure of it is told nowhere else.
    async fn written(&self) -> Result<(), Failure> {
        match self.writing.lock().await.take() {
            Some(last) => Ok(last.await.map_err(|_| Failure::GivenUp)??),
            None => Ok(()),
        }
    }
}

/// Stores the manifest and gives the image its names.
async fn finish(
    store: &Arc<Store>,
    request: &Request<'_>,
    found: &Found,
) -> Result<Image, Failure> {
    let reference = request.reference;
    let mut names = vec![reference.at(found.target.clone())];
    if reference.digest().is_none() {
        names.push(reference.clone());
    }
    let (bytes, descriptor) = (found.bytes.clone(), found.descriptor.clone());
    let store = Arc::clone(store);
    let work = tokio::task::spawn_blocking(move || {
        store.content.put(&bytes)?;
        store.add(descriptor, &names).map_err(Failure::from)
    });
    let (image, changed) = work.await.map_err(|_| Failure::GivenUp)??;
    (request.progress)(Progress::of(Status::Digest(found.target.clone())));
    let name = reference.clone();
    let end = if changed { Status::Downloaded(name) } else { Status::UpToDate(name) };
    (request.progress)(Progress::of(end));
    Ok(image)
}

/// When a bar may move again.
#[derive(Default)]
pub(crate) struct Bar(Option<Instant>);

impl Bar {
    pub(crate) fn moves(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= BAR);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
