//! Images that grow step by step, as a build makes them.
//!
//! ```text
//!   parent ─▶ draft ─▶ step ─▶ draft ─▶ step ─▶ … ─▶ keep: on disk, with names
//!      └──────────────▶ known? the step was made before
//! ```
//!
//! Each step's image is whole and can be run. It is in the index, and so outlives the program, only after
//! [`Images::keep`]; until then a crash makes garbage of it.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use spec::oci::image::History;
use spec::{ContainerId, Digest};

use crate::commit::{Error, finish, push};
use crate::draft::{Draft, Sealed};
use crate::image::Image;
use crate::store::{Pin, Store};
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
    /// What the same step has made in another image, see [`Images::known_from`].
    Same(Box<Image>),
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
        let made =
            blocking(move || store.tidy(make(&store, parent.as_ref(), &step, contents, epoch)));
        let image = made.await?;
        self.mark_used(&image.id);
        Ok(image)
    }

    /// When a build has made or taken this step's image last: the time of its configuration's file.
    pub fn last_used(&self, image: &Digest) -> Option<SystemTime> {
        std::fs::metadata(self.store.content.path(image)).and_then(|file| file.modified()).ok()
    }

    fn mark_used(&self, image: &Digest) {
        let file = File::open(self.store.content.path(image));
        let marked = file.and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = marked {
            tracing::debug!(%image, %error, "not marked as used");
        }
    }

    /// The newest image that `created_by` made of `parent` before; it counts as used.
    pub fn known(&self, parent: Option<&Digest>, created_by: &str) -> Option<Image> {
        let state = self.store.state();
        let made = |image: &&Image| {
            image.parent.as_ref() == parent && last_step(image).is_some_and(|by| by == created_by)
        };
        let known = state.images.values().filter(made);
        let known = known.max_by(|a, b| a.config.created().cmp(b.config.created())).cloned()?;
        drop(state);
        self.mark_used(&known.id);
        Some(known)
    }

    /// One of the images `among`, which need not have been built here, that has the same layers and steps as
    /// `parent`, and `created_by` next.
    pub fn known_from(
        &self,
        parent: Option<&Image>,
        created_by: &str,
        among: &[String],
    ) -> Option<Image> {
        let so_far = parent.map(history).unwrap_or_default();
        let words = |list: &[History]| -> Vec<Option<String>> {
            list.iter().map(|step| step.created_by().clone()).collect()
        };
        let same = |image: &Image| {
            let own = history(image);
            let next = own.get(so_far.len()).and_then(|step| step.created_by().as_deref());
            next == Some(created_by)
                && words(&own[..so_far.len()]) == words(so_far)
                && image.chain.starts_with(parent.map_or(&[][..], |parent| &parent.chain))
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
    let mut config = match parent {
        Some(parent) => store.document(&parent.id)?,
        None => blank(&step.platform),
    };
    let mut pins = Vec::new();
    let mut step = step.clone();
    let added = match contents {
        Contents::Nothing => None,
        Contents::Draft(draft) => match draft.seal(store, epoch)? {
            Some(sealed) => Some(place(store, chain, sealed, &mut pins)?),
            None => None,
        },
        Contents::Same(image) => {
            pins.extend(image.blobs.iter().chain(&image.chain).map(|digest| store.pin(digest)));
            let before = config["history"].as_array().map_or(0, Vec::len);
            let of_image = store.document(&image.id)?;
            // The same step, made at the same time, is the same image.
            if let Some(created) = of_image["history"][before]["created"].as_str() {
                created.clone_into(&mut step.created);
            }
            let is_empty = of_image["history"][before]["empty_layer"] == true;
            let layer = &store.document(&image.manifest)?["layers"][chain.len()];
            let diff_id = &of_image["rootfs"]["diff_ids"][chain.len()];
            (!is_empty).then(|| (diff_id.clone(), layer.clone()))
        }
    };
    let layer = added.map(|(diff_id, layer)| {
        push(&mut config["rootfs"]["diff_ids"], diff_id);
        layer
    });
    write_over(&mut config, &step, layer.is_none());
    let beneath = parent.map(|parent| store.document(&parent.manifest)).transpose()?;
    let image = finish(store, &beneath.unwrap_or_default(), &config, layer, |descriptor| {
        store.add_step(descriptor, step.parent.clone())
    })?;
    drop(pins);
    Ok(image)
}

/// Gives a sealed layer and its archive their places; gives its diff id, and how a manifest speaks of it.
fn place(
    store: &Store,
    chain: &[Digest],
    Sealed { blob, layer }: Sealed,
    pins: &mut Vec<Arc<Pin>>,
) -> Result<(Value, Value), Error> {
    let (digest, size) = (blob.digest(), blob.length());
    pins.push(store.pin(&digest));
    pins.push(store.pin(&layer.on(chain.last())));
    let layer = store.snapshots.place(layer, chain)?;
    if !store.content.has(&digest) {
        store.content.commit(blob)?;
    }
    let media_type = layer.media_type;
    let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": size });
    Ok((json!(layer.diff_id), descriptor))
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
