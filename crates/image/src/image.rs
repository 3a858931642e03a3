//! An image, as the store knows it.

use std::sync::Arc;

use serde_json::Value;
use spec::oci::image::ImageConfiguration;
use spec::{Digest, Kind};

use crate::content::Content;
use crate::disk;
use crate::extension::Extension;
use crate::index::Entry;
use crate::manifest::{self, Descriptor, Document, Manifest};
use crate::snapshot::{Snapshots, chain_ids};
use crate::{Platform, Reference};

/// An image that is here, complete.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest, of one platform.
    pub manifest: Digest,
    /// Its configuration; `created()` of it is docker's `Created`.
    pub config: Arc<ImageConfiguration>,
    /// What Docker writes there beside.
    pub extension: Extension,
    /// Names with a tag, sorted; their `Display` is docker's `RepoTags`.
    pub tags: Vec<Reference>,
    /// Names with a digest, sorted; their `Display` is docker's `RepoDigests`.
    pub digests: Vec<Reference>,
    /// Bytes of all files in its layers, as docker counts.
    pub size: u64,
    /// Chain ids of its layers, lowest first.
    pub chain: Vec<Digest>,
    /// The image that it was made of here, by a build; it may be gone.
    pub parent: Option<Digest>,
    /// Whether all of it is on disk for certain; else the index does not speak of it.
    pub(crate) settled: bool,
    /// How the index speaks of the manifest.
    pub(crate) descriptor: Descriptor,
    /// Manifest, configuration and layers.
    pub(crate) blobs: Vec<Digest>,
}

/// Why what is in the store is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A blob or layer is missing or cannot be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The manifest or configuration makes no sense.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::Manifest(e) => e.kind(),
        }
    }
}

impl Image {
    /// Puts the image together from its blobs and layers, which must all be here.
    pub(crate) fn load(
        content: &Content,
        snapshots: &Snapshots,
        entry: &Entry,
    ) -> Result<Self, Error> {
        let bytes = content.read(&entry.manifest.digest)?;
        let Document::Manifest(manifest) = manifest::parse(&bytes)? else {
            return Err(manifest::Error::Invalid("an index in place of an image").into());
        };
        let bytes = content.read(&manifest.config.digest)?;
        let config = Configuration::parse(&bytes, &manifest)?;
        let chain = chain_ids(&config.diff_ids);
        let sizes = chain.iter().map(|id| snapshots.size(id));
        let layers = manifest.layers.iter().map(|layer| layer.digest.clone());
        let mut image = Self {
            id: manifest.config.digest.clone(),
            manifest: entry.manifest.digest.clone(),
            config: Arc::new(config.typed),
            extension: Extension::parse(&bytes),
            tags: Vec::new(),
            digests: Vec::new(),
            size: sizes.sum::<Result<u64, _>>()?,
            chain,
            parent: entry.parent.clone(),
            settled: true,
            descriptor: entry.manifest.clone(),
            blobs: [entry.manifest.digest.clone(), manifest.config.digest.clone()]
                .into_iter()
                .chain(layers)
                .collect(),
        };
        entry.names.iter().for_each(|name| image.add_name(name.clone()));
        Ok(image)
    }

    /// The media type of its manifest.
    pub fn media_type(&self) -> &str {
        match self.descriptor.media_type.as_str() {
            "" => manifest::OCI_MANIFEST,
            known => known,
        }
    }

    /// The bytes of its manifest.
    pub fn manifest_size(&self) -> u64 {
        self.descriptor.size
    }

    /// All its names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Reference> {
        self.tags.iter().chain(&self.digests)
    }

    /// Whether it is called so.
    pub(crate) fn has_name(&self, name: &Reference) -> bool {
        self.names().any(|own| own == name)
    }

    /// Adds a name, if it is new.
    pub(crate) fn add_name(&mut self, name: Reference) {
        let names = if name.digest().is_some() { &mut self.digests } else { &mut self.tags };
        if let Err(place) = names.binary_search(&name) {
            names.insert(place, name);
        }
    }

    /// Takes a name away, if it is there.
    pub(crate) fn remove_name(&mut self, name: &Reference) {
        self.tags.retain(|own| own != name);
        self.digests.retain(|own| own != name);
    }

    /// What the index says of it.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            manifest: self.descriptor.clone(),
            names: self.names().cloned().collect(),
            parent: self.parent.clone(),
        }
    }
}

/// A configuration that fits its manifest.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) typed: ImageConfiguration,
    pub(crate) diff_ids: Vec<Digest>,
}

impl Configuration {
    /// Parses a configuration and compares it with the manifest that names it.
    pub(crate) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, manifest::Error> {
        let what = "the image's configuration";
        let parse = |source| manifest::Error::Parse { what, source };
        let mut value: Value = serde_json::from_slice(bytes).map_err(parse)?;
        // Go's word for a list with nothing in it: an image need not have layers.
        if let Some(list @ Value::Null) = value.pointer_mut("/rootfs/diff_ids") {
            *list = Value::Array(Vec::new());
        }
        let typed: ImageConfiguration = serde_json::from_value(value).map_err(parse)?;
        let diff_ids = typed.rootfs().diff_ids().iter().map(|id| id.parse());
        let diff_ids: Vec<Digest> = diff_ids.collect::<Result<_, _>>().map_err(|_| {
            manifest::Error::Invalid("rootfs.diff_ids of the configuration holds no sha256 digest")
        })?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(manifest::Error::Invalid(
                "as many layers as rootfs.diff_ids were expected",
            ));
        }
        Ok(Self { typed, diff_ids })
    }

    /// The platform that it was made for.
    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.typed.os().to_string(),
            architecture: self.typed.architecture().to_string(),
            variant: self.typed.variant().clone(),
        }
    }
}
