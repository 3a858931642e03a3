//! What is here: blobs, layers, images with their names, and what containers hold.
//!
//! ```text
//!   pin  ->  write blobs, unpack layers  ->  sync  ->  name in the index  ->  unpin
//! ```
//!
//! One lock guards names, pins and holds, and what removes something decides and unlinks under it: so a
//! blob that a pull has just found cannot disappear before the pull has named it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use spec::{ContainerId, Digest};

use crate::content::Content;
use crate::disk;
use crate::hold;
use crate::image::{self, Image};
use crate::index;
use crate::manifest::Descriptor;
use crate::snapshot::{Snapshots, Temporary};
use crate::{Reference, find};

/// Everything beneath one data root.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) content: Content,
    pub(crate) snapshots: Snapshots,
    /// Where the engine keeps its containers.
    pub(crate) containers: PathBuf,
    state: Mutex<State>,
}

/// What the lock guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By id.
    pub(crate) images: BTreeMap<Digest, Image>,
    /// Chain ids that containers stand on.
    pub(crate) holds: HashMap<ContainerId, Vec<Digest>>,
    /// Chain ids of other images that containers mount.
    pub(crate) lent: HashMap<ContainerId, Vec<Digest>>,
    pins: HashMap<Digest, Weak<Pin>>,
}

/// Keeps a blob or layer from being collected. Whoever makes the thing holds its lock meanwhile, so that
/// it is made once. The lowest layer of an image that is not compressed has the digest of its blob: who
/// needs both locks takes the layer's first.
#[derive(Debug, Default)]
pub(crate) struct Pin {
    /// Of the blob of this digest.
    pub(crate) blob: Arc<tokio::sync::Mutex<()>>,
    /// Of the layer whose chain id this is.
    pub(crate) layer: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Opens the store and collects what nothing leads to. Blocks.
    pub(crate) fn open(data_root: &Path) -> Result<Self, disk::Error> {
        let content = Content::open(data_root)?;
        let snapshots = Snapshots::open(data_root)?;
        let containers = data_root.join("containers");
        disk::make_private(&containers)?;
        let mut state = State {
            holds: hold::read_all(&containers, &snapshots)?,
            lent: hold::read_lent(&containers, &snapshots)?,
            ..State::default()
        };
        for entry in index::read(&content.index())? {
            match Image::load(&content, &snapshots, &entry) {
                Ok(image) => state.insert(image),
                // What cannot be read now may be read later: nothing is given up for that.
                Err(image::Error::Disk(e)) if !e.is_absence() && !e.is_damage() => return Err(e),
                Err(e) => {
                    let (error, digest) = (spec::chain(&e), &entry.manifest.digest);
                    tracing::error!(error, manifest = %digest, "image is damaged and left out");
                }
            }
        }
        let store = Self { content, snapshots, containers, state: Mutex::new(state) };
        drop(store.collect(&mut store.state())?);
        Ok(store)
    }

    /// The names, pins and holds, for as long as nothing blocks.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the maps whole: each change of them is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a blob or layer, be it here or not yet, until what is returned is dropped.
    pub(crate) fn pin(&self, digest: &Digest) -> Arc<Pin> {
        let mut state = self.state();
        state.pins.retain(|_, pin| pin.strong_count() > 0);
        if let Some(pin) = state.pins.get(digest).and_then(Weak::upgrade) {
            return pin;
        }
        let pin = Arc::new(Pin::default());
        state.pins.insert(digest.clone(), Arc::downgrade(&pin));
        pin
    }

    /// Makes an image of blobs and layers that are on disk, and gives it names, which are taken from
    /// whatever had them. Returns it and whether that changed anything. Blocks.
    pub(crate) fn add(
        &self,
        manifest: Descriptor,
        names: &[Reference],
    ) -> Result<(Image, bool), image::Error> {
        let entry = index::Entry { manifest, names: Vec::new(), parent: None };
        let image = Image::load(&self.content, &self.snapshots, &entry)?;
        let id = image.id.clone();
        let known = |images: &BTreeMap<Digest, Image>| {
            let has_all = |image: &Image| names.iter().all(|name| image.has_name(name));
            images.get(&id).is_some_and(|image| image.settled && has_all(image))
        };
        if !known(&self.state().images) {
            self.sync()?;
        }
        let mut state = self.state();
        let before = state.images.clone();
        let changed = !known(&before);
        state.insert(image);
        for name in names {
            state.rename(name, &id);
        }
        if changed {
            self.save_or_restore(&mut state, before)?;
        }
        Ok((state.images[&id].clone(), changed))
    }

    /// Takes in what a build's step made of `parent`. The index hears of it with [`Self::keep`].
    pub(crate) fn add_step(
        &self,
        manifest: Descriptor,
        parent: Option<Digest>,
    ) -> Result<Image, image::Error> {
        let entry = index::Entry { manifest, names: Vec::new(), parent };
        let mut image = Image::load(&self.content, &self.snapshots, &entry)?;
        image.settled = false;
        let id = image.id.clone();
        let mut state = self.state();
        state.insert(image);
        Ok(state.images[&id].clone())
    }

    /// Brings all images to the disk, and gives names to one. Blocks.
    pub(crate) fn keep(&self, id: Option<&Digest>, names: &[Reference]) -> Result<(), disk::Error> {
        let open = |image: &&Image| !image.settled;
        let open: Vec<Digest> =
            self.state().images.values().filter(open).map(|image| image.id.clone()).collect();
        if open.is_empty() && names.is_empty() {
            return Ok(());
        }
        self.sync()?;
        let mut state = self.state();
        let before = state.images.clone();
        for id in &open {
            if let Some(image) = state.images.get_mut(id) {
                image.settled = true;
            }
        }
        for (name, id) in names.iter().zip(id.into_iter().cycle()) {
            state.rename(name, id);
        }
        self.save_or_restore(&mut state, before)
    }

    /// Waits until all blobs and layers are on disk.
    pub(crate) fn sync(&self) -> Result<(), disk::Error> {
        disk::sync_filesystems(&[self.content.root(), self.snapshots.root()])
    }

    /// Writes the index; if that fails, nothing has changed.
    pub(crate) fn save_or_restore(
        &self,
        state: &mut State,
        before: BTreeMap<Digest, Image>,
    ) -> Result<(), disk::Error> {
        let settled = state.images.values().filter(|image| image.settled);
        let entries: Vec<_> = settled.map(Image::entry).collect();
        let written = index::write(&self.content.index(), &entries);
        if written.is_err() {
            state.images = before;
        }
        written
    }

    /// `done`; after a failure without what came before it. Nothing may be pinned for it any more. Blocks.
    pub(crate) fn tidy<T, E>(&self, done: Result<T, E>) -> Result<T, E> {
        if done.is_err() {
            self.sweep();
        }
        done
    }

    /// Collects after a failure, which is not to be hidden by another. Blocks.
    pub(crate) fn sweep(&self) {
        if let Err(error) = self.collect(&mut self.state()) {
            tracing::warn!(error = spec::chain(&error), "rubbish stays until the next start");
        }
    }

    /// Removes blobs and layers that no image, container or pin leads to. What is returned removes the
    /// layers' files when dropped: after the lock.
    pub(crate) fn collect(&self, state: &mut State) -> Result<Vec<Temporary>, disk::Error> {
        let used = state.used();
        for blob in self.content.list()?.iter().filter(|blob| !used.contains(*blob)) {
            disk::remove_file(&self.content.path(blob))?;
        }
        let layers = self.snapshots.list()?;
        let unused = layers.iter().filter(|layer| !used.contains(*layer));
        unused.map(|layer| self.snapshots.discard(layer)).collect()
    }
}

impl State {
    /// Adds an image, or its names to one of the same id.
    fn insert(&mut self, image: Image) {
        match self.images.get_mut(&image.id) {
            Some(known) => {
                known.settled |= image.settled;
                image.names().for_each(|name| known.add_name(name.clone()));
            }
            None => drop(self.images.insert(image.id.clone(), image)),
        }
    }

    /// Gives a name to one image alone.
    pub(crate) fn rename(&mut self, name: &Reference, id: &Digest) {
        for (other, image) in &mut self.images {
            if other == id {
                image.add_name(name.clone());
            } else {
                image.remove_name(name);
            }
        }
    }

    /// The image that `name` means.
    pub(crate) fn find(&self, name: &str) -> Result<&Image, find::Error> {
        find::find(&self.images, name)
    }

    /// Whether some image or container stands on this layer.
    pub(crate) fn stands_on(&self, layer: &Digest) -> bool {
        let held = self.holds.values().chain(self.lent.values());
        let mut chains = self.images.values().map(|image| &image.chain).chain(held);
        chains.any(|chain| chain.contains(layer))
    }

    /// Blobs and layers to keep; their digests cannot be confused.
    fn used(&self) -> BTreeSet<Digest> {
        let images = self.images.values().flat_map(|image| image.blobs.iter().chain(&image.chain));
        let pinned = self.pins.iter().filter(|(_, pin)| pin.strong_count() > 0);
        let held = self.holds.values().chain(self.lent.values()).flatten();
        images.chain(held).chain(pinned.map(|(digest, _)| digest)).cloned().collect()
    }
}
