//! What is done with images, and told as events.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use image::{
    Auth, Image, Images, Import, Loaded, Platform, Progress, Pruned, Reference, Removed, Save, Use,
};
use spec::Digest;
use tokio::io::AsyncRead;

use crate::container::Container;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::EventKind;
use crate::owner::Handle;

impl Engine {
    /// The images: list, look up. What is told as an event goes through the engine instead.
    pub fn images(&self) -> &Images {
        &self.shared.images
    }

    /// Pulls an image, see [`Images::pull`].
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        auth: Option<Auth>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Image, Error> {
        let image = self.shared.images.pull(reference, platform, auth, progress).await?;
        let name = reference.familiar_name();
        self.tell_image("pull", &reference.to_string(), &name, Some(&image));
        Ok(image)
    }

    /// Pushes an image, see [`Images::push`].
    pub async fn push(
        &self,
        reference: &Reference,
        all: bool,
        auth: Option<Auth>,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<(), Error> {
        self.shared.images.push(reference, all, auth, progress).await?;
        let image = self.shared.images.get(&reference.to_string()).ok();
        let name = reference.familiar_name();
        let actor = if all { name.clone() } else { reference.to_string() };
        self.tell_image("push", &actor, &name, image.as_ref());
        Ok(())
    }

    /// Makes an image of an archive, see [`Images::import`].
    pub async fn import(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        reference: Option<&Reference>,
        import: &Import,
    ) -> Result<Image, Error> {
        let image = self.shared.images.import(archive, reference, import).await?;
        let id = image.id.to_string();
        let name = reference.map_or_else(|| id.clone(), Reference::to_string);
        self.tell_image("import", &id, &name, Some(&image));
        if reference.is_some() {
            self.tell_image("tag", &id, &name, Some(&image));
        }
        Ok(image)
    }

    /// Gives an image another name, see [`Images::tag`].
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), Error> {
        self.shared.images.tag(source, target)?;
        if let Ok(image) = self.shared.images.get(&target.to_string()) {
            self.tell_image("tag", &image.id.to_string(), &target.to_string(), Some(&image));
        }
        Ok(())
    }

    /// Chooses images to save, see [`Images::save`].
    pub async fn save(&self, names: &[String]) -> Result<Save, Error> {
        let save = self.shared.images.save(names).await?;
        for id in save.ids() {
            let image = self.shared.images.get(&id.to_string()).ok();
            self.tell_image("save", &id.to_string(), &id.to_string(), image.as_ref());
        }
        Ok(save)
    }

    /// Takes in an archive's images, see [`Images::load`].
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin,
        platform: &Platform,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Loaded>, Error> {
        let loaded = self.shared.images.load(archive, platform, progress).await?;
        for Loaded { image, names } in &loaded {
            let id = image.id.to_string();
            let name = names.first().map_or_else(|| id.clone(), Reference::to_string);
            self.tell_image("load", &id, &name, Some(image));
        }
        Ok(loaded)
    }

    /// Removes an image's name, and the image with its last, unless a container uses it.
    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, Error> {
        let image = self.shared.images.get(name)?;
        let removed = self.shared.images.remove(name, &self.image_uses(), force).await?;
        self.tell_removed(&image.id, &removed);
        Ok(removed)
    }

    /// Removes those of `images` that no container uses, with all their names.
    pub async fn prune_images(&self, images: Vec<Digest>) -> Result<Pruned, Error> {
        let pruned = self.shared.images.prune(images.clone(), self.image_uses()).await?;
        for removed in &pruned.removed {
            if let Removed::Deleted(id) = removed
                && images.contains(id)
            {
                self.tell_image("delete", &id.to_string(), &id.to_string(), None);
            }
        }
        let attributes = [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into();
        self.shared.broker.publish(EventKind::Image, "prune", "", attributes);
        Ok(pruned)
    }

    /// Which container uses which image.
    pub fn image_uses(&self) -> Vec<Use> {
        self.shared.all().iter().flat_map(used_by).collect()
    }

    /// Bytes of files that the container has written over its image; where it writes to a disk of its own,
    /// which nobody reads here, what that holds of the host's.
    pub async fn written(&self, container: &Container) -> Result<u64, Error> {
        let upper = container.files.upper.clone();
        if container.isolation.files_on_host() {
            return crate::owner::blocking(move || Ok(size(upper))).await;
        }
        let disk = std::fs::metadata(upper.with_file_name("scratch.ext4"));
        Ok(disk.map_or(0, |disk| disk.blocks() * 512))
    }

    fn tell_removed(&self, image: &Digest, removed: &[Removed]) {
        let id = image.to_string();
        for one in removed {
            match one {
                Removed::Untagged(_) => self.tell_image("untag", &id, &id, None),
                Removed::Deleted(gone) if gone == image => {
                    self.tell_image("delete", &id, &id, None);
                }
                Removed::Deleted(_) => {}
            }
        }
    }

    pub(crate) fn tell_image(&self, action: &str, actor: &str, name: &str, image: Option<&Image>) {
        let config = image.and_then(|image| image.config.config().as_ref());
        let labels = config.and_then(|config| config.labels().clone()).unwrap_or_default();
        let mut attributes: BTreeMap<String, String> = labels.into_iter().collect();
        attributes.insert("name".to_owned(), name.to_owned());
        self.shared.broker.publish(EventKind::Image, action, actor, attributes);
    }
}

/// The image that a container stands on, and those that it mounts.
fn used_by(handle: &Handle) -> Vec<Use> {
    let container = handle.now().container;
    let mounted = container.mounts.iter().map(|point| &point.image).filter(|id| !id.is_empty());
    let images = std::iter::once(&container.image).chain(mounted);
    let used = images.filter_map(|image| image.parse::<Digest>().ok()).map(|image| {
        let (id, running) = (container.id.clone(), container.status.is_live());
        Use { container: id, image, running }
    });
    used.collect()
}

/// Bytes of the files beneath a directory; what vanishes meanwhile counts nothing.
fn size(directory: PathBuf) -> u64 {
    let mut bytes = 0;
    let mut open = vec![directory];
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => open.push(entry.path()),
                Ok(found) if found.is_file() => bytes += found.len(),
                _ => {}
            }
        }
    }
    bytes
}
