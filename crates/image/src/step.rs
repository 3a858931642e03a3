//! Images that grow step by step, as a build makes them.
//!
//! ```text
//!   parent ─▶ draft ─▶ step ─▶ draft ─▶ step ─▶ … ─▶ keep: on disk, with names
//!      └──────────────▶ known? the step was made before
//! ```
//!
//! Each step's image is whole and can be run. It is in the index, and so outlives the program, only after
//! [`Images::keep`]; until then a crash makes garbage of it.

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};
use spec::oci::image::History;
use spec::{ContainerId, Digest};

use crate::commit::{Error, finish, push};
use crate::draft::{Draft, Sealed};
use crate::image::Image;
use crate::store::Store;
use crate::{Images, Platform, Reference, blocking, pack, remove};

/// What one step makes of its parent.
#[derive(Debug, Clone)]
pub struct Step {
    /// The image that it begins with; `None` for one without anything.
    pub parent: Option<Digest>,
    /// The platform, where there is no parent.
    pub platform: Platform,
    /// The whole configuration that containers of it get, with the keys of an image's `config`.
    pub config: Value,
    /// When, as RFC 3339 has it.
    pub created: String,
    /// What made it: together with the parent, what it is known by.
    pub created_by: String,
    /// A note beside it in the history.
    pub comment: String,
    /// Who made it; empty keeps the parent's.
    pub author: String,
}

/// Writes a layer's archive.
pub type Pack = Box<dyn FnOnce(&mut dyn Write) -> Result<(), pack::Error> + Send>;

/// What a step adds to the files.
pub enum Contents {
    /// Nothing: only the configuration changes.
    Nothing,
    /// What was written to a draft.
    Draft(Draft),
}

impl Images {
    /// Begins a layer on an image's.
    pub async fn draft(&self, parent: Option<&Digest>) -> Result<Draft, Error> {
        let store = Arc::clone(&self.store);
        let chain = self.chain(parent)?;
        blocking(move || Ok(Draft::begin(&store, &chain)?)).await
    }

    /// A layer on an image's, of an archive with an image layer's marks.
    pub async fn filled(&self, parent: Option<&Digest>, pack: Pack) -> Result<Draft, Error> {
        let store = Arc::clone(&self.store);
        let chain = self.chain(parent)?;
        blocking(move || packed(&store, &chain, pack)).await
    }

    /// A layer of what a container has written, which it loses. It must not run, and its files must lie on
    /// this host.
    pub async fn taken(&self, container: &ContainerId) -> Result<Draft, Error> {
        let (store, container) = (Arc::clone(&self.store), container.clone());
        blocking(move || Draft::take(&store, &container)).await
    }

    /// Makes a step's image. With an `epoch`, seconds since 1970, none of its files is younger.
    pub async fn step(
        &self,
        step: Step,
        contents: Contents,
        epoch: Option<i64>,
    ) -> Result<Image, Error> {
        let store = Arc::clone(&self.store);
        let parent = step.parent.as_ref().map(|id| self.get(&id.to_string())).transpose()?;
        blocking(move || store.tidy(make(&store, parent.as_ref(), &step, contents, epoch))).await
    }

    /// The newest image that `created_by` made of `parent` before.
    pub fn known(&self, parent: Option<&Digest>, created_by: &str) -> Option<Image> {
        let state = self.store.state();
        let made = |image: &&Image| {
            image.parent.as_ref() == parent && last_step(image).is_some_and(|by| by == created_by)
        };
        let known = state.images.values().filter(made);
        known.max_by(|a, b| a.config.created().cmp(b.config.created())).cloned()
    }

    /// What `created_by` made of `parent` in one of the images `among`, which need not have been built here:
    /// one with the same layers and configurations so far, and that step next.
    pub fn known_from(
        &self,
        parent: Option<&Image>,
        created_by: &str,
        among: &[String],
    ) -> Option<Image> {
        let begins = parent.map_or(0, |parent| history(parent).len());
        let same = |image: &Image| {
            let so_far = parent.map(history).unwrap_or_default();
            let steps = |list: &[History]| -> Vec<Option<String>> {
                list.iter().map(|step| step.created_by().clone()).collect()
            };
            let own = history(image);
            own.len() == begins + 1
                && steps(&own[..begins]) == steps(so_far)
                && image.chain.starts_with(parent.map_or(&[][..], |parent| &parent.chain))
                && own[begins].created_by().as_deref() == Some(created_by)
        };
        among.iter().filter_map(|name| self.get(name).ok()).find(same)
    }

    /// An image's whole configuration, with what Docker writes there beside.
    pub async fn configuration(&self, image: &Digest) -> Result<Value, Error> {
        let (store, image) = (Arc::clone(&self.store), image.clone());
        blocking(move || store.document(&image)).await
    }

    /// Writes all steps' images to the disk and gives names to `id`.
    pub async fn keep(
        &self,
        id: Option<&Digest>,
        names: &[Reference],
    ) -> Result<(), remove::Error> {
        let (store, id, names) = (Arc::clone(&self.store), id.cloned(), names.to_vec());
        blocking(move || Ok(store.keep(id.as_ref(), &names)?)).await
    }

    /// The chain ids of an image's layers, lowest first.
    fn chain(&self, image: Option<&Digest>) -> Result<Vec<Digest>, Error> {
        let Some(image) = image else { return Ok(Vec::new()) };
        Ok(self.get(&image.to_string())?.chain)
    }
}

/// The steps of an image.
fn history(image: &Image) -> &[History] {
    image.config.history().as_deref().unwrap_or_default()
}

/// What made the last step of an image.
fn last_step(image: &Image) -> Option<&str> {
    history(image).last()?.created_by().as_deref()
}

fn make(
    store: &Store,
    parent: Option<&Image>,
    step: &Step,
    contents: Contents,
    epoch: Option<i64>,
) -> Result<Image, Error> {
    let chain = parent.map_or(&[][..], |parent| &parent.chain);
    let _kept: Vec<_> =
        parent.iter().flat_map(|parent| &parent.blobs).map(|blob| store.pin(blob)).collect();
    let draft = match contents {
        Contents::Nothing => None,
        Contents::Draft(draft) => Some(draft),
    };
    let sealed = draft.map(|draft| draft.seal(store, epoch)).transpose()?.flatten();
    let mut config = match parent {
        Some(parent) => store.document(&parent.id)?,
        None => blank(&step.platform),
    };
    let mut pins = Vec::new();
    let layer = match sealed {
        None => None,
        Some(Sealed { blob, layer }) => {
            let (digest, size) = (blob.digest(), blob.length());
            pins.push(store.pin(&digest));
            pins.push(store.pin(&layer.on(chain.last())));
            let layer = store.snapshots.place(layer, chain)?;
            if !store.content.has(&digest) {
                store.content.commit(blob)?;
            }
            push(&mut config["rootfs"]["diff_ids"], json!(layer.diff_id));
            Some((digest, size, layer.compression.media_type()))
        }
    };
    write_over(&mut config, step, layer.is_none());
    let beneath = parent.map(|parent| store.document(&parent.manifest)).transpose()?;
    let image = finish(store, &beneath.unwrap_or_default(), &config, layer, |descriptor| {
        store.add_step(descriptor, step.parent.clone())
    })?;
    drop(pins);
    Ok(image)
}

/// An archive's files as a draft; the archive is written and read at the same time.
fn packed(store: &Store, chain: &[Digest], pack: Pack) -> Result<Draft, Error> {
    let (reader, mut writer) = std::io::pipe().map_err(Error::Pipe)?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || pack(&mut writer));
        let draft = Draft::fill(store, chain, &reader);
        drop(reader);
        let packed = packing.join().map_err(|_| Error::GivenUp)?;
        // Whoever packs breaks off when nobody reads any more: then why not is the reason.
        let draft = draft?;
        packed?;
        Ok(draft)
    })
}

/// A configuration without anything.
fn blank(platform: &Platform) -> Value {
    let mut config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "rootfs": { "type": "layers", "diff_ids": [] },
        "history": [],
    });
    if let Some(variant) = &platform.variant {
        config["variant"] = json!(variant);
    }
    config
}

/// Puts what the step says over its parent's.
fn write_over(config: &mut Value, step: &Step, is_empty: bool) {
    if let Some(object) = config.as_object_mut() {
        for old in ["container", "container_config", "docker_version", "id", "parent"] {
            object.remove(old);
        }
    }
    config["config"] = step.config.clone();
    config["created"] = json!(step.created);
    let mut history = json!({ "created": step.created, "created_by": step.created_by });
    if !step.author.is_empty() {
        config["author"] = json!(step.author);
        history["author"] = json!(step.author);
    }
    if !step.comment.is_empty() {
        history["comment"] = json!(step.comment);
    }
    if is_empty {
        history["empty_layer"] = json!(true);
    }
    push(&mut config["history"], history);
}
