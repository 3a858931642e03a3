//! What an archive says of its images.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use spec::Digest;

use super::Error;
use super::files::Files;
use crate::Reference;
use crate::manifest::{self, Descriptor, MAX_MANIFEST};
use crate::store::Store;

/// An image in docker's list.
pub(super) struct Listed {
    pub(super) config: (Digest, u64),
    pub(super) names: Vec<Reference>,
    /// Lowest first.
    pub(super) layers: Vec<(Digest, u64)>,
}

/// An image in an OCI index.
pub(super) struct Indexed {
    pub(super) manifest: Descriptor,
    pub(super) names: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    manifest: Descriptor,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// `manifest.json`.
pub(super) fn docker(store: &Store, files: &Files) -> Result<Option<Vec<Listed>>, Error> {
    let Some(lines) = document::<Vec<Line>>(store, files, "manifest.json")? else {
        return Ok(None);
    };
    let file = |name: &String| files.get(name).cloned().ok_or(Error::Missing(name.clone()));
    let listed = lines.into_iter().map(|line| {
        let names = line.repo_tags.unwrap_or_default();
        Ok(Listed {
            config: file(&line.config)?,
            names: names.iter().map(|name| reference(name)).collect::<Result<_, _>>()?,
            layers: line.layers.unwrap_or_default().iter().map(file).collect::<Result<_, _>>()?,
        })
    });
    listed.collect::<Result<_, _>>().map(Some)
}

/// `index.json`.
pub(super) fn index(store: &Store, files: &Files) -> Result<Option<Vec<Indexed>>, Error> {
    let Some(index) = document::<Index>(store, files, "index.json")? else { return Ok(None) };
    let indexed = index.manifests.into_iter().map(|entry| {
        let annotations = entry.annotations.unwrap_or_default();
        let whole = annotations.get("io.containerd.image.name");
        // A tag alone, as umoci and skopeo write it, says nothing of the repository.
        let short = annotations.get("org.opencontainers.image.ref.name");
        let name = whole.or(short.filter(|name| name.contains(['/', ':'])));
        let names = name.map(|name| reference(name)).transpose()?;
        Ok(Indexed { manifest: entry.manifest, names: names.into_iter().collect() })
    });
    indexed.collect::<Result<_, _>>().map(Some)
}

fn reference(name: &str) -> Result<Reference, Error> {
    name.parse().map_err(|_| Error::Invalid("a name in it is no reference"))
}

fn document<T: DeserializeOwned>(
    store: &Store,
    files: &Files,
    what: &'static str,
) -> Result<Option<T>, Error> {
    let Some((digest, size)) = files.get(what) else { return Ok(None) };
    if *size > MAX_MANIFEST {
        return Err(manifest::Error::Invalid("larger than 4 MiB").into());
    }
    let parsed = serde_json::from_slice(&store.content.read(digest)?);
    Ok(Some(parsed.map_err(|source| manifest::Error::Parse { what, source })?))
}
