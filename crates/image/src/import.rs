//! `docker import`: a tar archive becomes an image of one layer.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use spec::{Digest, Kind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::changes::{self, Changes};
use crate::compression;
use crate::content::Writer;
use crate::disk::{self, Context};
use crate::image::{self, Image};
use crate::manifest::{Descriptor, OCI_MANIFEST};
use crate::snapshot::{self, Layer};
use crate::store::Store;
use crate::{Platform, Reference};

/// Bytes taken from the stream at a time.
const PIECE: usize = 128 << 10;
/// Pieces between stream and disk.
const QUEUE: usize = 8;

/// What `docker import` takes besides the archive.
#[derive(Debug, Clone)]
pub struct Import {
    /// Dockerfile instructions (`CMD ["sh"]`, `ENV A=b`) for the configuration.
    pub changes: Vec<String>,
    /// A comment for the history; docker's own is `Imported from -`.
    pub message: String,
    /// The platform to record.
    pub platform: Platform,
}

/// Why an archive did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A change makes no sense.
    #[error(transparent)]
    Change(#[from] changes::Error),
    /// The client's stream broke.
    #[error("receive the archive")]
    Receive(#[source] std::io::Error),
    /// The archive cannot be stored.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The archive cannot be unpacked.
    #[error("import")]
    Unpack(#[from] snapshot::Error),
    /// The image cannot be stored.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The program is ending.
    #[error("the import was given up")]
    GivenUp,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Change(e) => e.kind(),
            Self::Receive(_) => Kind::Invalid,
            Self::Disk(e) => e.kind(),
            Self::Unpack(e) => e.kind(),
            Self::Image(e) => e.kind(),
            Self::GivenUp => Kind::Unavailable,
        }
    }
}

/// Stores the archive, unpacks it and names the image.
pub(crate) async fn import(
    store: &Arc<Store>,
    archive: impl AsyncRead + Send + Unpin,
    name: Option<&Reference>,
    import: &Import,
) -> Result<Image, Error> {
    let changes = Changes::parse(&import.changes)?;
    let writer = receive(store.content.writer()?, archive).await?;
    let names: Vec<Reference> = name.cloned().into_iter().collect();
    let (store, import) = (Arc::clone(store), import.clone());
    let work = tokio::task::spawn_blocking(move || {
        store.tidy(make(&store, writer, &names, &changes, &import))
    });
    work.await.map_err(|_| Error::GivenUp)?
}

/// Takes the stream to the disk.
async fn receive(
    mut writer: Writer,
    mut archive: impl AsyncRead + Send + Unpin,
) -> Result<Writer, Error> {
    let (pieces, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
    let disk = tokio::task::spawn_blocking(move || {
        while let Some(piece) = queue.blocking_recv() {
            writer.write(&piece)?;
        }
        Ok::<_, disk::Error>(writer)
    });
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if archive.read_buf(&mut piece).await.map_err(Error::Receive)? == 0 {
            break;
        }
        // Gone only if the disk has failed, which says so itself.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    Ok(disk.await.map_err(|_| Error::GivenUp)??)
}

/// The archive as a layer may be: what no media type has a name for is decompressed.
fn as_layer(store: &Store, archive: Writer) -> Result<Writer, Error> {
    let found = compression::of_file(archive.path()).map_err(snapshot::Error::from)?;
    if found.media_type().is_ok() {
        return Ok(archive);
    }
    let compressed = File::open(archive.path()).on("open", archive.path())?;
    let (mut plain, _) = compression::decompress(compressed).map_err(snapshot::Error::from)?;
    let (mut writer, mut piece) = (store.content.writer()?, vec![0; PIECE]);
    loop {
        let read = plain.read(&mut piece).map_err(snapshot::Error::Read)?;
        if read == 0 {
            return Ok(writer);
        }
        writer.write(&piece[..read])?;
    }
}

fn make(
    store: &Store,
    writer: Writer,
    names: &[Reference],
    changes: &Changes,
    import: &Import,
) -> Result<Image, Error> {
    let writer = as_layer(store, writer)?;
    let (digest, size) = (writer.digest(), writer.length());
    let blob_pin = store.pin(&digest);
    let layer = store.snapshots.unpack(writer.path(), &[], None, &|_| ())?;
    // Another collection may have come between; then it is unpacked once more, now kept.
    let layer_pin = store.pin(&layer.chain_id);
    if !store.snapshots.has(&layer.chain_id) {
        store.snapshots.unpack(writer.path(), &[], None, &|_| ())?;
    }
    if !store.content.has(&digest) {
        store.content.commit(writer)?;
    }
    let config = serde_json::to_vec(&configuration(&layer, changes, import)).unwrap_or_default();
    let config_size = config.len();
    let config_pin = store.pin(&crate::content::digest_of(&config));
    let config = store.content.put(&config)?;
    let manifest = manifest(&config, config_size, &digest, size, layer.media_type);
    let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
    let manifest_pin = store.pin(&crate::content::digest_of(&manifest));
    let descriptor = Descriptor {
        media_type: OCI_MANIFEST.to_owned(),
        digest: store.content.put(&manifest)?,
        size: manifest.len() as u64,
        platform: None,
    };
    let (image, _) = store.add(descriptor, names)?;
    drop((blob_pin, layer_pin, config_pin, manifest_pin));
    Ok(image)
}

/// Spec: OCI image-spec, config.md.
fn configuration(layer: &Layer, changes: &Changes, import: &Import) -> Value {
    let now = OffsetDateTime::from(SystemTime::now());
    let created = now.format(&Rfc3339).unwrap_or_default();
    let mut config = json!({
        "created": created,
        "architecture": import.platform.architecture,
        "os": import.platform.os,
        "config": changes.config(),
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
        "history": [{ "created": created, "comment": import.message }],
    });
    if let Some(variant) = &import.platform.variant {
        config["variant"] = json!(variant);
    }
    config
}

/// Spec: OCI image-spec, manifest.md.
fn manifest(
    config: &Digest,
    config_size: usize,
    layer: &Digest,
    layer_size: u64,
    layer_type: &str,
) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config,
            "size": config_size,
        },
        "layers": [{ "mediaType": layer_type, "digest": layer, "size": layer_size }],
    })
}
