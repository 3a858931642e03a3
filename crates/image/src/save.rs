//! `docker save`: images as one archive, which is an OCI image layout and docker's own format at once.
//!
//! ```text
//!   oci-layout, index.json    the manifests with their names
//!   manifest.json             docker's list: configuration, names and layers of each image
//!   repositories              docker's older list of names
//!   blobs/sha256/<hex>        the store's own bytes, so that digests stay what they are
//! ```
//!
//! Spec: OCI image-spec, image-layout.md; docker's image specification v1.2.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use serde_json::{Value, json};
use spec::{Digest, Kind};

use crate::disk::{self, Context};
use crate::image::Image;
use crate::manifest::{self, Document};
use crate::store::{Pin, Store};
use crate::{Reference, find};

/// Why images were not saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image.
    #[error(transparent)]
    Image(#[from] find::Error),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The data root cannot be read.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Nobody takes the archive any more.
    #[error("write the archive")]
    Write(#[source] io::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Image(e) => e.kind(),
            Self::Manifest(e) => e.kind(),
            Self::Disk(e) => e.kind(),
            Self::Write(_) => Kind::Internal,
        }
    }
}

/// Images that are kept until they are written.
#[derive(Debug)]
pub struct Save {
    store: Arc<Store>,
    images: Vec<Chosen>,
    _pins: Vec<Arc<Pin>>,
}

/// An image with the names under which it was asked for.
#[derive(Debug)]
struct Chosen {
    image: Image,
    names: Vec<Reference>,
}

/// Chooses what `names` mean: an id means the image without a name, a repository all of its tags.
pub(crate) fn choose(store: &Arc<Store>, names: &[String]) -> Result<Save, find::Error> {
    let mut images: Vec<Chosen> = Vec::new();
    let state = store.state();
    for name in names {
        for (image, tags) in named(state.images.values(), state.find(name), name)? {
            match images.iter_mut().find(|chosen| chosen.image.id == image.id) {
                Some(chosen) => chosen.names.extend(tags),
                None => images.push(Chosen { image, names: tags }),
            }
        }
    }
    drop(state);
    for chosen in &mut images {
        chosen.names.sort();
        chosen.names.dedup();
    }
    let blobs: BTreeSet<&Digest> = images.iter().flat_map(|one| &one.image.blobs).collect();
    let pins = blobs.into_iter().map(|blob| store.pin(blob)).collect();
    Ok(Save { store: Arc::clone(store), images, _pins: pins })
}

fn named<'a>(
    all: impl Iterator<Item = &'a Image>,
    found: Result<&'a Image, find::Error>,
    name: &str,
) -> Result<Vec<(Image, Vec<Reference>)>, find::Error> {
    let reference = name.parse::<Reference>().ok();
    let last = name.rsplit('/').next().unwrap_or(name);
    if let Some(reference) = reference.as_ref().filter(|_| !last.contains([':', '@'])) {
        let tags = |image: &Image| -> Vec<Reference> {
            image.tags.iter().filter(|tag| tag.same_repository(reference)).cloned().collect()
        };
        let of_repository: Vec<_> = all
            .map(|image| (image.clone(), tags(image)))
            .filter(|(_, tags)| !tags.is_empty())
            .collect();
        if !of_repository.is_empty() {
            return Ok(of_repository);
        }
    }
    let image = found?;
    let tag = reference.filter(|reference| image.tags.contains(reference));
    Ok(vec![(image.clone(), tag.into_iter().collect())])
}

impl Save {
    /// The ids of the images.
    pub fn ids(&self) -> impl Iterator<Item = &Digest> {
        self.images.iter().map(|chosen| &chosen.image.id)
    }

    /// Reads all of it once, so that damage is told before anything is written. Blocks.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let blobs: BTreeSet<&Digest> =
            self.images.iter().flat_map(|one| &one.image.blobs).collect();
        blobs.into_iter().try_for_each(|blob| Ok(self.store.content.check(blob)?))
    }

    /// Writes the archive. Blocks.
    pub fn write(&self, output: impl Write) -> Result<(), Error> {
        let mut archive = tar::Builder::new(output);
        directory(&mut archive, "blobs/")?;
        directory(&mut archive, "blobs/sha256/")?;
        let blobs: BTreeSet<&Digest> =
            self.images.iter().flat_map(|one| &one.image.blobs).collect();
        for blob in blobs {
            self.blob(&mut archive, blob)?;
        }
        let documents = [
            ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
            ("index.json", self.index()),
            ("manifest.json", self.list()?),
            ("repositories", self.repositories()),
        ];
        for (name, document) in documents {
            let text = document.to_string();
            member(&mut archive, name, text.len() as u64, text.as_bytes())?;
        }
        archive.into_inner().and_then(|mut output| output.flush()).map_err(Error::Write)
    }

    fn blob(&self, archive: &mut tar::Builder<impl Write>, blob: &Digest) -> Result<(), Error> {
        let path = self.store.content.path(blob);
        let file = File::open(&path).on("open", &path)?;
        let size = file.metadata().on("read", &path)?.len();
        member(archive, &place(blob), size, file)
    }

    /// Spec: OCI image-spec, image-layout.md "index.json file".
    fn index(&self) -> Value {
        let mut manifests = Vec::new();
        for Chosen { image, names } in &self.images {
            let mut line = json!(image.descriptor);
            if line["mediaType"].as_str().is_none_or(str::is_empty) {
                line["mediaType"] = json!(manifest::OCI_MANIFEST);
            }
            if names.is_empty() {
                manifests.push(line.clone());
            }
            for name in names {
                line["annotations"] = json!({
                    "io.containerd.image.name": name.canonical(),
                    "org.opencontainers.image.ref.name": name.tag(),
                });
                manifests.push(line.clone());
            }
        }
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        })
    }

    /// Docker's list.
    fn list(&self) -> Result<Value, Error> {
        let mut list = Vec::new();
        for Chosen { image, names } in &self.images {
            let bytes = self.store.content.read(&image.manifest)?;
            let Document::Manifest(manifest) = manifest::parse(&bytes)? else {
                return Err(manifest::Error::Invalid("an index in place of an image").into());
            };
            let names: Vec<String> = names.iter().map(Reference::to_string).collect();
            let layers = manifest.layers.iter().map(|layer| place(&layer.digest));
            list.push(json!({
                "Config": place(&image.id),
                "RepoTags": if names.is_empty() { Value::Null } else { json!(names) },
                "Layers": layers.collect::<Vec<_>>(),
            }));
        }
        Ok(list.into())
    }

    /// Repository to tag to topmost layer.
    fn repositories(&self) -> Value {
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for Chosen { image, names } in &self.images {
            let top = image.chain.last().map_or_else(String::new, |top| top.hex().to_owned());
            for name in names {
                let tags = repositories.entry(name.familiar_name()).or_default();
                tags.insert(name.tag().unwrap_or_default().to_owned(), top.clone());
            }
        }
        json!(repositories)
    }
}

fn place(blob: &Digest) -> String {
    format!("blobs/sha256/{}", blob.hex())
}

fn directory(archive: &mut tar::Builder<impl Write>, name: &str) -> Result<(), Error> {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    archive.append_data(&mut header, name, io::empty()).map_err(Error::Write)
}

fn member(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    bytes: impl Read,
) -> Result<(), Error> {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o644);
    header.set_size(size);
    archive.append_data(&mut header, name, bytes).map_err(Error::Write)
}
