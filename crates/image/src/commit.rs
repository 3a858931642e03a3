//! `docker commit`: what a container has written becomes a layer on its image's.
//!
//! ```text
//!   layer's archive ─▶ blob ─▶ snapshot on the image's layers ─▶ configuration, manifest ─▶ name
//! ```
//!
//! Spec: OCI image-spec, manifest.md, config.md.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use spec::{Digest, Kind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::changes::{self, Base, Changes};
use crate::content::{Writer, digest_of};
use crate::manifest::{Descriptor, OCI_MANIFEST};
use crate::store::Store;
use crate::{Images, Reference, disk, find, hold, image, pack, snapshot};

/// The keys of a configuration that a container has itself.
const OWN: [&str; 9] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Labels",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// What an image of a container is to be.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its name; `None` for one without.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// What ran, for the history.
    pub command: String,
    /// The container's configuration, with the keys of an image's.
    pub config: Value,
    /// What the client wants in its place.
    pub over: Value,
    /// Dockerfile instructions, over both.
    pub changes: Vec<String>,
}

/// Why a container did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A change makes no sense.
    #[error(transparent)]
    Change(#[from] changes::Error),
    /// The container's image is gone.
    #[error(transparent)]
    Find(#[from] find::Error),
    /// The container's files cannot be read.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// The layer cannot be stored.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The layer cannot be unpacked.
    #[error("commit")]
    Unpack(#[from] snapshot::Error),
    /// The image cannot be stored.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The container's image cannot be read.
    #[error("read the container's image")]
    Parent(#[source] serde_json::Error),
    /// The container's layer is not to be had.
    #[error(transparent)]
    Container(#[from] hold::Error),
    /// Nothing to pass the layer through.
    #[error("make a pipe")]
    Pipe(#[source] io::Error),
    /// The program is ending.
    #[error("the commit was given up")]
    GivenUp,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Change(error) => error.kind(),
            Self::Find(error) => error.kind(),
            Self::Disk(error) => error.kind(),
            Self::Unpack(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Container(error) => error.kind(),
            Self::Pack(pack::Error::Write(error)) => disk::kind_of(error),
            Self::Pack(_) | Self::Parent(_) | Self::Pipe(_) => Kind::Internal,
            Self::GivenUp => Kind::Unavailable,
        }
    }
}

impl Images {
    /// Makes an image of a container: a layer, which `pack` writes, on those of the image `parent`.
    pub async fn commit(
        &self,
        parent: &Digest,
        commit: Commit,
        pack: impl FnOnce(&mut dyn Write) -> Result<(), pack::Error> + Send + 'static,
    ) -> Result<image::Image, Error> {
        let parent = self.get(&parent.to_string())?;
        let own = serde_json::from_value(commit.over["Shell"].clone()).ok();
        let shell = own.or_else(|| parent.extension.shell.clone());
        let env = [&commit.config, &commit.over]
            .iter()
            .flat_map(|config| config["Env"].as_array().into_iter().flatten())
            .filter_map(|pair| pair.as_str().map(str::to_owned))
            .collect();
        let changes = Changes::over(Base { shell, env }, &commit.changes)?;
        let store = Arc::clone(&self.store);
        let work = move || store.tidy(make(&store, &parent, &commit, &changes, pack));
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::GivenUp)?
    }
}

/// A blob as what an archive is written to.
pub(crate) struct Blob(pub(crate) Writer);

impl Write for Blob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| error.source)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn make(
    store: &Store,
    parent: &image::Image,
    commit: &Commit,
    changes: &Changes,
    pack: impl FnOnce(&mut dyn Write) -> Result<(), pack::Error>,
) -> Result<image::Image, Error> {
    let parent_pins: Vec<_> = parent.blobs.iter().map(|blob| store.pin(blob)).collect();
    let mut blob = io::BufWriter::with_capacity(128 << 10, Blob(store.content.writer()?));
    pack(&mut blob)?;
    let blob = blob.into_inner().map_err(|error| pack::Error::Write(error.into_error()))?.0;
    let (digest, size) = (blob.digest(), blob.length());
    let blob_pin = store.pin(&digest);
    let layer = store.snapshots.unpack(blob.path(), &parent.chain, None, &|_| ())?;
    let layer_pin = store.pin(&layer.chain_id);
    // Another collection may have come between; then it is unpacked once more, now kept.
    if !store.snapshots.has(&layer.chain_id) {
        store.snapshots.unpack(blob.path(), &parent.chain, None, &|_| ())?;
    }
    if !store.content.has(&digest) {
        store.content.commit(blob)?;
    }
    let config = configuration(store.document(&parent.id)?, &layer.diff_id, commit, changes);
    let layer = Some(json!({ "mediaType": layer.media_type, "digest": digest, "size": size }));
    let names: Vec<Reference> = commit.reference.iter().cloned().collect();
    let image = finish(store, &store.document(&parent.manifest)?, &config, layer, |descriptor| {
        store.add(descriptor, &names).map(|(image, _)| image)
    })?;
    drop((parent_pins, blob_pin, layer_pin));
    Ok(image)
}

/// Writes a configuration and the manifest that leads to it: the layers of `parent`'s manifest and
/// perhaps one more, as a manifest speaks of it. `add` takes it among the images.
pub(crate) fn finish(
    store: &Store,
    parent: &Value,
    config: &Value,
    layer: Option<Value>,
    add: impl FnOnce(Descriptor) -> Result<image::Image, image::Error>,
) -> Result<image::Image, Error> {
    let config = serde_json::to_vec(config).map_err(Error::Parent)?;
    let config_pin = store.pin(&digest_of(&config));
    let manifest = manifest(parent, &config, layer);
    store.content.put(&config)?;
    let manifest = serde_json::to_vec(&manifest).map_err(Error::Parent)?;
    let manifest_pin = store.pin(&digest_of(&manifest));
    let descriptor = Descriptor {
        media_type: OCI_MANIFEST.to_owned(),
        digest: store.content.put(&manifest)?,
        size: manifest.len() as u64,
        platform: None,
    };
    let image = add(descriptor)?;
    drop((config_pin, manifest_pin));
    Ok(image)
}

impl Store {
    /// A blob of JSON.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Value, Error> {
        serde_json::from_slice(&self.content.read(digest)?).map_err(Error::Parent)
    }
}

/// The parent's configuration, with what the container and the client change.
fn configuration(mut parent: Value, diff_id: &Digest, commit: &Commit, changes: &Changes) -> Value {
    let now = OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default();
    let mut config = parent["config"].as_object().cloned().unwrap_or_default();
    config.retain(|key, _| !OWN.contains(&key.as_str()));
    config.extend(commit.config.as_object().cloned().unwrap_or_default());
    overlay(&mut config, &commit.over);
    overlay(&mut config, &changes.config());
    let mut history = json!({ "created": now, "created_by": commit.command });
    for (key, text) in [("author", &commit.author), ("comment", &commit.message)] {
        if !text.is_empty() {
            history[key] = json!(text);
        }
    }
    let object = parent.as_object_mut();
    let Some(object) = object else { return Value::Null };
    for old in ["author", "container", "container_config", "docker_version", "id", "parent"] {
        object.remove(old);
    }
    if !commit.author.is_empty() {
        object.insert("author".to_owned(), json!(commit.author));
    }
    object.insert("created".to_owned(), json!(now));
    object.insert("config".to_owned(), Value::Object(config));
    push(&mut parent["rootfs"]["diff_ids"], json!(diff_id));
    push(&mut parent["history"], history);
    parent
}

pub(crate) fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

/// Puts what `over` says in place of what is there; what is a set is joined. An entrypoint makes the
/// command that was meant for another void.
fn overlay(config: &mut Map<String, Value>, over: &Value) {
    let Some(over) = over.as_object() else { return };
    if over.contains_key("Entrypoint") && !over.contains_key("Cmd") {
        config.remove("Cmd");
    }
    for (key, value) in over {
        match (config.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (Some(Value::Array(old)), Value::Array(new)) if key == "Env" => {
                let name = |entry: &Value| {
                    entry.as_str().and_then(|e| e.split('=').next()).map(str::to_owned)
                };
                let names: Vec<_> = new.iter().map(name).collect();
                old.retain(|entry| !names.contains(&name(entry)));
                old.extend(new.iter().cloned());
            }
            (Some(Value::Array(old)), Value::Array(new)) if key == "OnBuild" => {
                old.extend(new.iter().cloned());
            }
            _ => drop(config.insert(key.clone(), value.clone())),
        }
    }
}

/// The parent's layers and the new one.
fn manifest(parent: &Value, config: &[u8], layer: Option<Value>) -> Value {
    let mut layers = parent["layers"].as_array().cloned().unwrap_or_default();
    layers.extend(layer);
    for layer in &mut layers {
        let oci = match layer["mediaType"].as_str() {
            Some("application/vnd.docker.image.rootfs.diff.tar.gzip") => "tar+gzip",
            Some("application/vnd.docker.image.rootfs.diff.tar") => "tar",
            _ => continue,
        };
        layer["mediaType"] = json!(format!("application/vnd.oci.image.layer.v1.{oci}"));
    }
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(config),
            "size": config.len(),
        },
        "layers": layers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_lie_over_the_container_and_it_over_its_image() {
        let parent = json!({
            "architecture": "amd64", "os": "linux", "container": "x",
            "config": { "Cmd": ["old"], "Healthcheck": { "Test": ["CMD", "true"] }, "User": "u" },
            "rootfs": { "type": "layers", "diff_ids": ["sha256:1"] },
            "history": [{ "created_by": "first" }],
        });
        let commit = Commit {
            config: json!({ "Cmd": ["sh"], "Env": ["A=1", "B=2"], "Labels": { "a": "1" } }),
            over: json!({ "Env": ["B=3"] }),
            message: "why".to_owned(),
            ..Commit::default()
        };
        let changes = Changes::parse(&["LABEL b=2", "ENTRYPOINT [\"/e\"]"]).expect("valid");
        let made = configuration(parent, &digest_of(b"layer"), &commit, &changes);
        let want = json!({
            "Env": ["A=1", "B=3"], "Labels": { "a": "1", "b": "2" }, "Entrypoint": ["/e"],
            "Healthcheck": { "Test": ["CMD", "true"] },
        });
        assert_eq!(made["config"], want);
        assert_eq!(made["rootfs"]["diff_ids"][1], json!(digest_of(b"layer")));
        assert_eq!(made["history"][1]["comment"], json!("why"));
        assert_eq!(made["container"], Value::Null);
    }
}
