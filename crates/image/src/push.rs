//! Pushing an image.
//!
//! ```text
//!   manifest, as it was pulled or made  ->  layers: up to 5 uploads at once, none that is there already
//!     ->  configuration  ->  manifest under its tag
//! ```
//!
//! What is sent are the very bytes of the store, so an image that is pulled and pushed keeps its digest.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream;
use spec::{Digest, Kind};
use tokio::sync::{Semaphore, mpsc};

use crate::disk;
use crate::image::{self, Image};
use crate::manifest::{self, Descriptor, Document, Manifest};
use crate::pull::Bar;
use crate::registry::{self, Auth, Registries, Session};
use crate::store::Store;
use crate::{Progress, Reference, Status};

/// Layers that are sent at once; docker's number.
const UPLOADS: usize = 5;
/// Attempts at one blob before the push fails.
const ATTEMPTS: u32 = 5;
/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Pieces between disk and network.
const QUEUE: usize = 8;

/// Why an image was not pushed. The words are docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no image of this name here.
    #[error("An image does not exist locally with the tag: {0}")]
    NotHere(String),
    /// There are some in the repository, but not with this tag.
    #[error("tag does not exist: {0}")]
    NoTag(Reference),
    /// A name with a digest is the registry's to give.
    #[error("cannot push a digest reference")]
    ByDigest,
    /// The registry does not let us in.
    #[error("denied: requested access to the resource is denied")]
    Denied,
    /// Any other failure of the registry.
    #[error("push {reference}")]
    Registry {
        /// What was pushed.
        reference: Reference,
        /// What went wrong.
        source: Box<registry::Error>,
    },
    /// The data root.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The name that the registry gave cannot be kept.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The program is ending.
    #[error("the push was given up")]
    GivenUp,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotHere(_) | Self::NoTag(_) => Kind::NotFound,
            Self::ByDigest => Kind::Invalid,
            Self::Denied => Kind::Denied,
            Self::Registry { source, .. } => source.kind(),
            Self::Disk(e) => e.kind(),
            Self::Manifest(e) => e.kind(),
            Self::Image(e) => e.kind(),
            Self::GivenUp => Kind::Unavailable,
        }
    }
}

/// What is pushed where.
pub(crate) struct Request<'a> {
    pub(crate) reference: &'a Reference,
    /// All tags of the repository in place of the reference's own.
    pub(crate) all: bool,
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// Pushes one image, or all of a repository.
pub(crate) async fn push(
    store: &Arc<Store>,
    registries: &Registries,
    auth: Option<Auth>,
    request: &Request<'_>,
) -> Result<(), Error> {
    let reference = request.reference;
    if reference.digest().is_some() {
        return Err(Error::ByDigest);
    }
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    (request.progress)(Progress::of(Status::PushRefersTo(repository)));
    let images = chosen(store, request)?;
    let source = registries.own(reference.registry(), auth);
    for (name, image) in images {
        let failed = |source| failed(&name, source);
        let session = source.session(&name).await.map_err(failed)?;
        let upload = Upload { store, session, name: &name, progress: request.progress };
        upload.image(&image).await?;
    }
    Ok(())
}

/// The images with the names under which they go.
fn chosen(store: &Store, request: &Request<'_>) -> Result<Vec<(Reference, Image)>, Error> {
    let state = store.state();
    let mut named: Vec<(Reference, Image)> = Vec::new();
    for image in state.images.values() {
        let of_repository = image.tags.iter().filter(|tag| tag.same_repository(request.reference));
        named.extend(of_repository.map(|tag| (tag.clone(), image.clone())));
    }
    if named.is_empty() {
        return Err(Error::NotHere(request.reference.familiar_name()));
    }
    if !request.all {
        named.retain(|(name, _)| name == request.reference);
    }
    if named.is_empty() { Err(Error::NoTag(request.reference.clone())) } else { Ok(named) }
}

fn failed(reference: &Reference, source: registry::Error) -> Error {
    match source {
        registry::Error::Denied { .. } => Error::Denied,
        source => Error::Registry { reference: reference.clone(), source: Box::new(source) },
    }
}

/// One image on its way.
struct Upload<'a> {
    store: &'a Arc<Store>,
    session: Session,
    name: &'a Reference,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Upload<'_> {
    async fn image(&self, image: &Image) -> Result<(), Error> {
        // Taken before the first look at them, so that a removal beside this one does not hurt.
        let pins: Vec<_> = image.blobs.iter().map(|blob| self.store.pin(blob)).collect();
        let bytes = self.store.content.read(&image.manifest)?;
        let Document::Manifest(manifest) = manifest::parse(&bytes)? else {
            return Err(manifest::Error::Invalid("an index in place of an image").into());
        };
        // A registry that cannot be reached now is not tried again and again, one that breaks off is.
        let greeted = self.session.has_blob(&manifest.config.digest).await;
        greeted.map_err(|source| failed(self.name, source))?;
        self.layers(image, &manifest).await?;
        self.blob(&manifest.config, None).await?;
        let size = bytes.len() as u64;
        let sent = self.session.put_manifest(bytes, &manifest.media_type).await;
        sent.map_err(|source| failed(self.name, source))?;
        let tag = self.name.tag().unwrap_or("latest").to_owned();
        let digest = image.manifest.clone();
        self.store.add(image.descriptor.clone(), &[self.name.at(digest.clone())])?;
        (self.progress)(Progress::of(Status::PushedAs { tag, digest, size }));
        drop(pins);
        Ok(())
    }

    async fn layers(&self, image: &Image, manifest: &Manifest) -> Result<(), Error> {
        let shown: Vec<Digest> = image
            .config
            .rootfs()
            .diff_ids()
            .iter()
            .map(|id| id.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| manifest::Error::Invalid("rootfs.diff_ids holds no sha256 digest"))?;
        let mut seen = Vec::new();
        let mut once = |layer: &Descriptor| {
            let new = !seen.contains(&layer.digest);
            seen.push(layer.digest.clone());
            new
        };
        let layers: Vec<_> = manifest.layers.iter().zip(&shown).collect();
        for (_, shown) in layers.iter().rev() {
            (self.progress)(Progress::layer(shown, Status::Preparing));
        }
        let turns = Semaphore::new(UPLOADS);
        let send = async |layer: &Descriptor, shown: &Digest| {
            let _turn = turns.acquire().await.map_err(|_| Error::GivenUp)?;
            self.blob(layer, Some(shown)).await
        };
        let sends = layers.iter().filter(|(layer, _)| once(layer)).map(|(l, s)| send(l, s));
        try_join_all(sends).await.map(drop)
    }

    /// Sends a blob unless it is there. With `shown`, its line tells how.
    async fn blob(&self, blob: &Descriptor, shown: Option<&Digest>) -> Result<(), Error> {
        let tell = |status| {
            if let Some(layer) = shown {
                (self.progress)(Progress::layer(layer, status));
            }
        };
        for attempt in 1.. {
            let sent = match self.session.has_blob(&blob.digest).await {
                Ok(true) if attempt == 1 => {
                    tell(Status::LayerAlreadyExists);
                    return Ok(());
                }
                Ok(true) => Ok(()),
                Ok(false) => {
                    self.check(&blob.digest).await?;
                    self.attempt(blob, shown).await
                }
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => break,
                Err(error) if attempt < ATTEMPTS && error.is_passing() => {
                    let seconds = 1 << (attempt - 1);
                    tracing::debug!(digest = %blob.digest, seconds, "upload broke, trying again");
                    tell(Status::Retrying(seconds));
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                Err(error) => return Err(failed(self.name, error)),
            }
        }
        tell(Status::Pushed);
        Ok(())
    }

    /// A registry that refuses a damaged blob could not say what is wrong.
    async fn check(&self, blob: &Digest) -> Result<(), Error> {
        let (store, blob) = (Arc::clone(self.store), blob.clone());
        let work = tokio::task::spawn_blocking(move || store.content.check(&blob));
        Ok(work.await.map_err(|_| Error::GivenUp)??)
    }

    /// One upload, from the beginning.
    async fn attempt(
        &self,
        blob: &Descriptor,
        shown: Option<&Digest>,
    ) -> Result<(), registry::Error> {
        let path = self.store.content.path(&blob.digest);
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (moved, mut heard) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            let mut sent = 0;
            for piece in read(&path) {
                sent += piece.as_ref().map_or(0, Bytes::len) as u64;
                // Gone only when the upload has failed, which says so itself.
                if pieces.blocking_send(piece).is_err() {
                    return;
                }
                // A full queue means that the bar has not caught up yet.
                let _ = moved.try_send(sent);
            }
        });
        let bytes = stream::unfold(queue, |mut queue| async move {
            queue.recv().await.map(|piece| (piece, queue))
        });
        let upload = self.session.put_blob(bytes, &blob.digest, blob.size);
        let bars = async {
            let mut bar = Bar::default();
            while let Some(sent) = heard.recv().await {
                if let Some(layer) = shown.filter(|_| bar.moves()) {
                    (self.progress)(Progress::bar(layer, Status::Pushing, sent, blob.size));
                }
            }
        };
        tokio::join!(upload, bars).0
    }
}

/// The file's bytes, piece by piece; ends after an error.
fn read(path: &std::path::Path) -> impl Iterator<Item = std::io::Result<Bytes>> {
    let mut file = Some(File::open(path));
    std::iter::from_fn(move || {
        let mut open = match file.take()? {
            Ok(open) => open,
            Err(error) => return Some(Err(error)),
        };
        let mut piece = Vec::with_capacity(PIECE);
        match open.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => {
                file = Some(Ok(open));
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(error)),
        }
    })
}
