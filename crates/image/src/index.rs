//! `content/index.json`: which images there are and what they are called.
//!
//! One descriptor for each name, or one without a name for an image that has none. The file is written
//! anew for every change; what it says is complete, because everything it speaks of was on disk before.
//!
//! Spec: OCI image-spec, image-layout.md "index.json file", annotations.md
//! `org.opencontainers.image.ref.name`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use spec::Digest;

use crate::Reference;
use crate::disk::{self, Context};
use crate::manifest::Descriptor;

/// The annotation that holds a name, in its canonical form.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation that holds the id of the image that a build made it of.
const PARENT: &str = "dev.hull.image.parent";

/// One image in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manifest: Descriptor,
    pub(crate) names: Vec<Reference>,
    pub(crate) parent: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: String,
    manifests: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    manifest: Descriptor,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// Reads the index; there is none in a new store.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, disk::Error> {
    let bytes = match std::fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.on("read", path)?,
    };
    let document: Document = serde_json::from_slice(&bytes).on("parse", path)?;
    let mut entries: Vec<Entry> = Vec::new();
    for line in document.manifests {
        let name = line.annotations.get(NAME).map(|name| name.parse::<Reference>());
        let name = name.transpose().map_err(io::Error::other).on("parse", path)?;
        let parent = line.annotations.get(PARENT).and_then(|parent| parent.parse().ok());
        let same = |entry: &&mut Entry| entry.manifest.digest == line.manifest.digest;
        if let Some(entry) = entries.iter_mut().find(same) {
            entry.names.extend(name);
        } else {
            entries.push(Entry {
                manifest: line.manifest,
                names: name.into_iter().collect(),
                parent,
            });
        }
    }
    Ok(entries)
}

/// Replaces the index.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> Result<(), disk::Error> {
    let document = Document {
        schema_version: 2,
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        manifests: entries.iter().flat_map(lines).collect(),
    };
    let bytes = serde_json::to_vec_pretty(&document).on("write", path)?;
    disk::replace(path, &bytes)
}

fn lines(entry: &Entry) -> Vec<Line> {
    let parent = entry.parent.iter().map(|parent| (PARENT.to_owned(), parent.to_string()));
    let line = |name: Option<&Reference>| {
        let name = name.map(|name| (NAME.to_owned(), name.canonical()));
        let annotations = parent.clone().chain(name).collect();
        Line { manifest: entry.manifest.clone(), annotations }
    };
    if entry.names.is_empty() {
        return vec![line(None)];
    }
    entry.names.iter().map(|name| line(Some(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::digest_of;

    #[test]
    fn what_is_written_is_read() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("index.json");
        assert_eq!(read(&path).expect("none yet"), []);
        let entry = |text: &str, names: &[&str]| Entry {
            manifest: Descriptor {
                media_type: "a".into(),
                digest: digest_of(text.as_bytes()),
                size: 3,
                platform: None,
            },
            names: names.iter().map(|name| name.parse().expect("a name")).collect(),
            parent: Some(digest_of(b"parent")),
        };
        let digest = format!("alpine@{}", digest_of(b"x"));
        let entries = [entry("a", &["alpine:1", "q.io/a:2", &digest]), entry("b", &[])];
        write(&path, &entries).expect("write");
        assert_eq!(read(&path).expect("read"), entries);
    }
}
