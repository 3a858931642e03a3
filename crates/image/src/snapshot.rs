//! Unpacked layers by chain id.
//!
//! ```text
//!   snapshots/<chain id>/fs           the layer's own files, with overlayfs's marks
//!   snapshots/<chain id>/layer.json   what it measures and stands on
//!   snapshots/*.tmp                   being unpacked or removed
//! ```
//!
//! A chain id names a layer together with all beneath it, so images share what they have in common.
//!
//! Spec: OCI image-spec, config.md "Layer DiffID", "Layer ChainID".

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spec::{Digest, Kind};

use crate::compression::{self, PLAIN_LAYER, decompress};
use crate::content::digest_of;
use crate::disk::{self, Context};
use crate::unpack;

/// Bytes decompressed and hashed at a time.
const BUFFER: usize = 256 << 10;

/// Why a layer could not be unpacked into a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The blob or the snapshot's directory cannot be used.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The blob cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] compression::Error),
    /// The archive cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// What is behind the archive's end cannot be read.
    #[error("read the archive")]
    Read(#[source] io::Error),
    /// The archive is not the one that the image's configuration speaks of.
    #[error("layer verification failed: the archive has digest {found}, the image wants {wanted}")]
    DiffId {
        /// From the configuration.
        wanted: Digest,
        /// Of the uncompressed archive.
        found: Digest,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::Compression(e) => e.kind(),
            Self::Unpack(e) => e.kind(),
            Self::Read(_) | Self::DiffId { .. } => Kind::Invalid,
        }
    }
}

/// The layers beneath one data root.
#[derive(Debug)]
pub(crate) struct Snapshots {
    root: PathBuf,
}

/// A layer that was unpacked.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) diff_id: Digest,
    pub(crate) chain_id: Digest,
    /// Of its archive.
    pub(crate) media_type: &'static str,
}

/// A layer's files, which have no place yet. They go when this is dropped.
#[derive(Debug)]
pub(crate) struct Unpacked {
    temporary: Temporary,
    found: unpack::Found,
    diff_id: Digest,
    media_type: &'static str,
}

/// `layer.json`.
#[derive(Serialize, Deserialize)]
struct Facts {
    /// Bytes of all files.
    size: u64,
    /// The layer beneath.
    beneath: Option<Digest>,
}

impl Snapshots {
    /// Opens or makes the directory and removes what was never finished.
    pub(crate) fn open(data_root: &Path) -> Result<Self, disk::Error> {
        let root = data_root.join("snapshots");
        disk::make_private(&root)?;
        let unfinished = disk::list(&root)?.into_iter().filter(|path| disk::is_temporary(path));
        unfinished.into_iter().try_for_each(|path| disk::remove_tree(&path))?;
        Ok(Self { root })
    }

    /// The layer's files.
    pub(crate) fn files(&self, chain: &Digest) -> PathBuf {
        self.root.join(chain.hex()).join("fs")
    }

    /// Whether the layer is here.
    pub(crate) fn has(&self, chain: &Digest) -> bool {
        self.files(chain).is_dir()
    }

    /// Bytes of all files in the layer.
    pub(crate) fn size(&self, chain: &Digest) -> Result<u64, disk::Error> {
        Ok(self.facts(chain)?.size)
    }

    /// The layer and all beneath it, lowest first.
    pub(crate) fn chain(&self, top: Digest) -> Result<Vec<Digest>, disk::Error> {
        let mut chain = Vec::new();
        let mut next = Some(top);
        while let Some(id) = next {
            next = self.facts(&id)?.beneath;
            chain.push(id);
        }
        chain.reverse();
        Ok(chain)
    }

    fn facts(&self, chain: &Digest) -> Result<Facts, disk::Error> {
        let path = self.root.join(chain.hex()).join("layer.json");
        let file = File::open(&path).on("open", &path)?;
        serde_json::from_reader(file).on("read", &path)
    }

    /// The directories of layers, topmost first, as overlayfs wants them; `chain` is lowest first.
    pub(crate) fn stack(&self, chain: &[Digest]) -> Vec<PathBuf> {
        chain.iter().rev().map(|id| self.files(id)).collect()
    }

    /// Unpacks the archive at `blob` onto `beneath` (lowest first). `wanted` is the digest that the
    /// uncompressed archive must have; `progress` hears of bytes read from the blob. Blocks for long.
    /// The result is durable only after the filesystem was synced.
    pub(crate) fn unpack(
        &self,
        blob: &Path,
        beneath: &[Digest],
        wanted: Option<&Digest>,
        progress: &dyn Fn(u64),
    ) -> Result<Layer, Error> {
        let input = File::open(blob).on("open", blob)?;
        let unpacked = self.take(Counted { input, read: 0, progress }, wanted)?;
        self.place(unpacked, beneath)
    }

    /// Unpacks an archive that needs not be here yet, and whose layers beneath need not either. Reads
    /// `input` to its end. Blocks for long.
    pub(crate) fn take(
        &self,
        input: impl Read,
        wanted: Option<&Digest>,
    ) -> Result<Unpacked, Error> {
        let temporary = Temporary(disk::temporary(&self.root));
        let files = temporary.0.join("fs");
        disk::make_dir(&files)?;
        let (input, compression) = decompress(input)?;
        let media_type = compression.media_type()?;
        let input = Hashed { input, hash: Sha256::new() };
        // Headers are read in small pieces; to decompress and hash such is slow.
        let mut input = BufReader::with_capacity(BUFFER, input);
        let found = unpack::unpack(&mut input, &files)?;
        // What follows the archive's end mark belongs to the digest.
        io::copy(&mut input, &mut io::sink()).map_err(Error::Read)?;
        let diff_id = Digest::from_sha256(input.into_inner().hash.finalize().into());
        if let Some(wanted) = wanted.filter(|wanted| **wanted != diff_id) {
            return Err(Error::DiffId { wanted: wanted.clone(), found: diff_id });
        }
        Ok(Unpacked { temporary, found, diff_id, media_type })
    }

    /// Gives an unpacked layer its place on `beneath` (lowest first), unless something is there.
    pub(crate) fn place(&self, layer: Unpacked, beneath: &[Digest]) -> Result<Layer, Error> {
        let Unpacked { temporary, found, diff_id, media_type } = layer;
        unpack::settle(&temporary.0.join("fs"), &self.stack(beneath), &found)?;
        let chain_id = above(beneath.last(), &diff_id);
        let facts = temporary.0.join("layer.json");
        let beneath = beneath.last().cloned();
        let text = serde_json::to_vec(&Facts { size: found.size, beneath }).on("write", &facts)?;
        std::fs::write(&facts, text).on("write", &facts)?;
        let target = self.root.join(chain_id.hex());
        let renamed = std::fs::rename(&temporary.0, &target).on("rename", &temporary.0);
        if !self.has(&chain_id) {
            renamed?;
        }
        Ok(Layer { diff_id, chain_id, media_type })
    }

    /// The chain ids of all layers.
    pub(crate) fn list(&self) -> Result<Vec<Digest>, disk::Error> {
        let digest = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            format!("sha256:{name}").parse().ok()
        };
        Ok(disk::list(&self.root)?.into_iter().filter_map(digest).collect())
    }

    /// Takes a layer's name away at once; what is returned removes its files when dropped.
    pub(crate) fn discard(&self, chain: &Digest) -> Result<Temporary, disk::Error> {
        let (from, to) = (self.root.join(chain.hex()), disk::temporary(&self.root));
        std::fs::rename(&from, &to).on("rename", &from)?;
        Ok(Temporary(to))
    }

    /// A directory to be made a layer of.
    pub(crate) fn temporary(&self) -> Temporary {
        Temporary(disk::temporary(&self.root))
    }

    /// Where all of it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// A directory that is removed when this is dropped, unless it has another name by then.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Unpacked {
    /// A layer whose files lie in `temporary` with all their attributes; `size` is the bytes of them.
    pub(crate) fn sealed(temporary: Temporary, size: u64, diff_id: Digest) -> Self {
        let found = unpack::Found::whole(size);
        Self { temporary, found, diff_id, media_type: PLAIN_LAYER }
    }

    /// The chain id that it has on `beneath`.
    pub(crate) fn on(&self, beneath: Option<&Digest>) -> Digest {
        above(beneath, &self.diff_id)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(e) = disk::remove_tree(&self.0) {
            tracing::warn!(error = %e.source, path = %self.0.display(), "snapshot not removed");
        }
    }
}

/// The chain ids of an image's layers, lowest first.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    diff_ids.iter().fold(Vec::new(), |mut chain, diff_id| {
        chain.push(above(chain.last(), diff_id));
        chain
    })
}

/// The chain id of a layer on `beneath`.
fn above(beneath: Option<&Digest>, diff_id: &Digest) -> Digest {
    match beneath {
        None => diff_id.clone(),
        Some(beneath) => digest_of(format!("{beneath} {diff_id}").as_bytes()),
    }
}

struct Counted<'a> {
    input: File,
    read: u64,
    progress: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read += read as u64;
        (self.progress)(self.read);
        Ok(read)
    }
}

struct Hashed<R> {
    input: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_names_all_that_is_beneath() {
        let (a, b) = (digest_of(b"a"), digest_of(b"b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain, [a.clone(), digest_of(format!("{a} {b}").as_bytes())]);
        assert_ne!(chain_ids(&[b.clone(), a])[1], chain[1]);
        assert_eq!(chain_ids(&[]), []);
    }
}
