//! `docker load`: images from an archive of `docker save`, of any docker, or of an OCI image layout.
//!
//! ```text
//!   stream  ->  every file a blob of the store, kept by a pin  ->  manifest.json or index.json
//!     ->  layers unpacked  ->  image and names  ->  pins dropped, what nothing leads to collected
//! ```
//!
//! Invariant: nothing of the archive is ever a path. A file in it is found by its name in a table, and
//! stored by its digest.
//!
//! Spec: OCI image-spec, image-layout.md; docker's image specification v1.2.

mod documents;
mod files;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde_json::json;
use spec::{Digest, Kind};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::image::{self, Configuration, Image};
use crate::manifest::{self, Descriptor, Document, Manifest, OCI_MANIFEST};
use crate::snapshot::{self, chain_ids};
use crate::store::{Pin, Store};
use crate::{Platform, Progress, Reference, Status};
use crate::{archive, compression, disk};
use files::Files;

/// Bytes taken from the stream at a time.
const PIECE: usize = 256 << 10;
/// Pieces between stream and disk.
const QUEUE: usize = 8;

/// Why an archive's images were not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// It cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] compression::Error),
    /// It is an archive of something else.
    #[error("invalid archive: {0}")]
    Invalid(&'static str),
    /// It names a file that it does not have.
    #[error("invalid archive: it has no {0:?}")]
    Missing(String),
    /// It has an image for other platforms alone, or one that makes no sense.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The data root cannot be used.
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
    #[error("the load was given up")]
    GivenUp,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Archive(e) => e.kind(),
            Self::Compression(e) => e.kind(),
            Self::Invalid(_) | Self::Missing(_) => Kind::Invalid,
            Self::Manifest(e) => e.kind(),
            Self::Disk(e) => e.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::Image(e) => e.kind(),
            Self::GivenUp => Kind::Unavailable,
        }
    }
}

/// An image that came with an archive.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// The names that it came with.
    pub names: Vec<Reference>,
}

/// Who hears of layers being unpacked.
pub(crate) type Told = Arc<dyn Fn(Progress) + Send + Sync>;

/// Takes in all images of the archive.
pub(crate) async fn load(
    store: &Arc<Store>,
    mut input: impl AsyncRead + Send + Unpin,
    platform: &Platform,
    told: Told,
) -> Result<Vec<Loaded>, Error> {
    let (pieces, queue) = mpsc::channel::<io::Result<Vec<u8>>>(QUEUE);
    let (store, platform) = (Arc::clone(store), platform.clone());
    let work = tokio::task::spawn_blocking(move || {
        let loaded = take_in(&store, Pieces { queue, piece: Vec::new(), at: 0 }, &platform, &told);
        // What the archive had and no image needs, or all of it after a failure.
        drop(store.collect(&mut store.state())?);
        loaded
    });
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = input.read_buf(&mut piece).await;
        let end = matches!(read, Ok(0) | Err(_));
        // Gone when the work has its end mark, or failed, which says so itself.
        if matches!(read, Ok(0)) || pieces.send(read.map(|_| piece)).await.is_err() || end {
            break;
        }
    }
    drop(pieces);
    work.await.map_err(|_| Error::GivenUp)?
}

/// The stream, for who may block.
struct Pieces {
    queue: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            self.piece = match self.queue.blocking_recv() {
                Some(piece) => piece?,
                None => return Ok(0),
            };
            self.at = 0;
        }
        let read = io::Read::read(&mut &self.piece[self.at..], buffer)?;
        self.at += read;
        Ok(read)
    }
}

fn take_in(
    store: &Store,
    input: impl io::Read,
    platform: &Platform,
    told: &Told,
) -> Result<Vec<Loaded>, Error> {
    let (input, _) = compression::decompress(input)?;
    let files = Files::take(store, input)?;
    let mut loading = Loading { store, told, pins: Vec::new() };
    let listed = documents::docker(store, &files)?;
    let indexed = documents::index(store, &files)?;
    if listed.is_none() && indexed.is_none() {
        return Err(Error::Invalid("it holds neither manifest.json nor index.json"));
    }
    let mut loaded: Vec<Loaded> = Vec::new();
    for entry in indexed.into_iter().flatten() {
        let descriptor = loading.resolve(entry.manifest, platform)?;
        let image = loading.image(descriptor, &entry.names)?;
        merge(&mut loaded, image, entry.names);
    }
    for entry in listed.into_iter().flatten() {
        let known = loaded.iter().find(|known| known.image.id == entry.config.0);
        let image = if let Some(known) = known {
            store.add(known.image.descriptor.clone(), &entry.names)?.0
        } else {
            let descriptor = loading.describe(&entry)?;
            loading.image(descriptor, &entry.names)?
        };
        merge(&mut loaded, image, entry.names);
    }
    Ok(loaded)
}

/// One image may be listed once for each of its names.
fn merge(loaded: &mut Vec<Loaded>, image: Image, names: Vec<Reference>) {
    match loaded.iter_mut().find(|known| known.image.id == image.id) {
        Some(known) => {
            known.names.extend(names);
            known.names.sort();
            known.names.dedup();
            known.image = image;
        }
        None => loaded.push(Loaded { image, names }),
    }
}

/// The images being made, and what keeps their parts.
struct Loading<'a> {
    store: &'a Store,
    told: &'a Told,
    pins: Vec<Arc<Pin>>,
}

impl Loading<'_> {
    /// The manifest that an index leads to.
    fn resolve(&mut self, found: Descriptor, platform: &Platform) -> Result<Descriptor, Error> {
        match manifest::parse(&self.read(&found.digest)?)? {
            Document::Manifest(_) => Ok(found),
            Document::Index(manifests) => Ok(manifest::choose(&manifests, platform)?.clone()),
        }
    }

    /// A blob that the archive brought, or that was here before.
    fn read(&mut self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.keep(digest)?;
        Ok(self.store.content.read(digest)?)
    }

    fn keep(&mut self, digest: &Digest) -> Result<(), Error> {
        self.pins.push(self.store.pin(digest));
        if self.store.content.has(digest) {
            return Ok(());
        }
        Err(Error::Missing(format!("blobs/sha256/{}", digest.hex())))
    }

    /// Makes a manifest for an image that docker's list describes.
    fn describe(&mut self, entry: &documents::Listed) -> Result<Descriptor, Error> {
        let mut layers = Vec::new();
        for (digest, size) in &entry.layers {
            let path = self.store.content.path(digest);
            let kind = compression::of_file(&path)?.media_type()?;
            layers.push(json!({ "mediaType": kind, "digest": digest, "size": size }));
        }
        let (config, size) = &entry.config;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config,
                "size": size,
            },
            "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        self.pins.push(self.store.pin(&crate::content::digest_of(&bytes)));
        let digest = self.store.content.put(&bytes)?;
        let media_type = OCI_MANIFEST.to_owned();
        Ok(Descriptor { media_type, digest, size: bytes.len() as u64, platform: None })
    }

    /// Unpacks the layers and names the image.
    fn image(&mut self, descriptor: Descriptor, names: &[Reference]) -> Result<Image, Error> {
        let Document::Manifest(manifest) = manifest::parse(&self.read(&descriptor.digest)?)? else {
            return Err(manifest::Error::Invalid("an index within an index").into());
        };
        let config = self.read(&manifest.config.digest)?;
        let config = Configuration::parse(&config, &manifest)?;
        self.layers(&manifest, &config.diff_ids)?;
        Ok(self.store.add(descriptor, names)?.0)
    }

    fn layers(&mut self, manifest: &Manifest, diff_ids: &[Digest]) -> Result<(), Error> {
        let chain = chain_ids(diff_ids);
        for (at, (layer, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
            self.keep(&layer.digest)?;
            let pin = self.store.pin(&chain[at]);
            let made = {
                let _making = pin.layer.blocking_lock();
                self.unpack(layer, diff_id, &chain[..=at])
            };
            self.pins.push(pin);
            made?;
        }
        Ok(())
    }

    fn unpack(&self, layer: &Descriptor, diff_id: &Digest, chain: &[Digest]) -> Result<(), Error> {
        let Some((id, beneath)) = chain.split_last() else { return Ok(()) };
        if self.store.snapshots.has(id) {
            return Ok(());
        }
        let bar = std::cell::RefCell::new(crate::pull::Bar::default());
        let moved = |read| {
            if bar.borrow_mut().moves() {
                (self.told)(Progress::bar(diff_id, Status::LoadingLayer, read, layer.size));
            }
        };
        let path = self.store.content.path(&layer.digest);
        let unpacked = self.store.snapshots.unpack(&path, beneath, Some(diff_id), &moved);
        let failed = |source| Error::Layer { layer: layer.digest.clone(), source };
        unpacked.map_err(failed)?;
        let size = layer.size;
        (self.told)(Progress::bar(diff_id, Status::LoadingLayer, size, size));
        Ok(())
    }
}

/// Names of files in the archive, as they are asked for.
type Table<T> = BTreeMap<Vec<u8>, T>;

#[cfg(test)]
mod tests;
