//! What fronts ask about volumes, and how containers come by theirs.

use std::sync::Arc;

use image::Snapshot;

use crate::container::Container;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::EventKind;
use crate::files::fill::fill;
use crate::mountpoint::{self, Asked, MountKind, MountPoint};
use crate::owner::blocking;
use crate::shared::Shared;
use crate::staged;
use crate::volume::{self, DRIVER, NewVolume, SNAPSHOT, Volume, VolumeCopy};

impl Engine {
    /// Makes a volume, unless there is one of that name.
    pub async fn create_volume(&self, new: NewVolume) -> Result<Volume, Error> {
        let shared = Arc::clone(self.shared());
        blocking(move || shared.make_volume(&new)).await
    }

    /// All volumes, by name.
    pub fn volumes(&self) -> Vec<Volume> {
        self.shared().volumes.list()
    }

    /// The volume of that name.
    pub fn volume(&self, name: &str) -> Result<Volume, Error> {
        Ok(self.shared().volumes.get(name)?)
    }

    /// Removes a volume that no container refers to.
    pub async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let (shared, name) = (Arc::clone(self.shared()), name.to_owned());
        blocking(move || shared.remove_volume(&name)).await
    }

    /// Gives a volume that has a limit a larger one: `size` as its option `size` spells it.
    pub async fn grow_volume(&self, name: &str, size: &str) -> Result<Volume, Error> {
        let (shared, name, size) = (Arc::clone(self.shared()), name.to_owned(), size.to_owned());
        blocking(move || Ok(shared.volumes.grow(&name, &size)?)).await
    }

    /// Makes a copy of a volume that no container which runs has.
    pub async fn copy_volume(&self, source: &str, copy: VolumeCopy) -> Result<Volume, Error> {
        let (shared, source) = (Arc::clone(self.shared()), source.to_owned());
        blocking(move || {
            let volume = shared.volumes.copy(&source, &copy)?;
            shared.tell_volume("create", &volume.name, &[("source", &source)]);
            Ok(volume)
        })
        .await
    }

    /// Bytes of all files in a volume.
    pub async fn volume_size(&self, name: &str) -> Result<u64, Error> {
        let (shared, name) = (Arc::clone(self.shared()), name.to_owned());
        blocking(move || Ok(shared.volumes.size(&name)?)).await
    }

    /// Tells that unused volumes were removed, and how many bytes that freed.
    pub fn volumes_pruned(&self, reclaimed: u64) {
        let facts = [("reclaimed".to_owned(), reclaimed.to_string())].into();
        self.shared().broker.publish(EventKind::Volume, "prune", "", facts);
    }

    /// The mount points that a container is to have.
    pub(crate) fn mount_points(&self, container: &Container) -> Result<Vec<MountPoint>, Error> {
        let host = &container.host;
        let mut others = Vec::new();
        for text in &host.volumes_from {
            let (name, readonly) = mountpoint::volumes_from(text)?;
            let handle =
                self.shared().find(name).map_err(|error| Error::Mount(error.to_string()))?;
            others.push((handle.now().container, readonly));
        }
        let mut points = mountpoint::resolve(&Asked {
            from: others.iter().map(|(container, readonly)| (&**container, *readonly)).collect(),
            binds: &host.binds,
            mounts: &host.mounts,
            volumes: &container.config.volumes,
            tmpfs: host.tmpfs.keys().filter_map(|at| mountpoint::clean(at)).collect(),
            driver: &host.volume_driver,
        })?;
        for point in points.iter_mut().filter(|point| point.kind == MountKind::Image) {
            self.find_image(point)?;
        }
        Ok(points)
    }

    /// Takes down which image a mount point means; another container's knows it already.
    fn find_image(&self, point: &mut MountPoint) -> Result<(), Error> {
        if !point.layer.is_empty() {
            return Ok(());
        }
        let image = self.image(&point.name)?;
        let top = image.chain.last().ok_or_else(|| {
            Error::Mount(format!("image {}: it has no files to be mounted", point.name))
        })?;
        point.image = image.id.to_string();
        point.layer = top.to_string();
        Ok(())
    }
}

impl Shared {
    /// Blocks.
    fn make_volume(&self, new: &NewVolume) -> Result<Volume, Error> {
        let (volume, made) = self.volumes.create(new)?;
        if made {
            self.tell_volume("create", &volume.name, &[]);
        }
        Ok(volume)
    }

    /// Blocks.
    fn remove_volume(&self, name: &str) -> Result<(), Error> {
        self.volumes.remove(name)?;
        self.tell_volume("destroy", name, &[]);
        Ok(())
    }

    /// Makes the volumes of a container that is being made, and fills those that are new. On failure
    /// it has none. Blocks.
    pub(crate) fn take_volumes(
        &self,
        container: &mut Container,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let id = container.id.to_string();
        let mut points = std::mem::take(&mut container.mounts);
        let taken = points.iter_mut().filter(|point| point.kind == MountKind::Volume).try_for_each(
            |point| {
                let volume = self.make_volume(&point.new)?;
                point.name.clone_from(&volume.name);
                point.source = volume.mountpoint.to_string_lossy().into_owned();
                if let Some(of) = volume.labels.get(SNAPSHOT) {
                    if point.writable {
                        let (name, of) = (volume.name.clone(), of.clone());
                        return Err(volume::Error::Snapshot { name, of }.into());
                    }
                    // An empty one stays so.
                    point.copy_up = false;
                }
                self.volumes.hold(&point.name, &id)?;
                if point.copy_up {
                    self.fill_volume(point, &volume, snapshot)?;
                }
                Ok(())
            },
        );
        let lent =
            points.iter_mut().enumerate().filter(|(_, point)| point.kind == MountKind::Image);
        let places = self.places(container.id.as_str());
        let taken = taken.and_then(|()| {
            lent.into_iter().try_for_each(|(number, point)| {
                let top = point.layer.parse();
                let top = top.map_err(|error| Error::Mount(format!("image: {error}")))?;
                self.images.lend(&container.id, &top)?;
                let source = staged::place(&places.mounts, number);
                point.source = source.to_string_lossy().into_owned();
                Ok(())
            })
        });
        container.mounts = points;
        if taken.is_err() {
            self.drop_volumes(container, true);
        }
        taken
    }

    /// Fills a new volume with what the image has in its place. What lies in memory is left empty: it will
    /// be another one when the container starts. Blocks.
    fn fill_volume(
        &self,
        point: &MountPoint,
        volume: &Volume,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        if volume.options.get("type").is_some_and(|kind| kind == "tmpfs") {
            return Ok(());
        }
        let user = format!("filling {}", crate::names::fresh_id());
        self.volumes.mount(&point.name, &user)?;
        let filled = match staged::open(point) {
            Ok(to) => fill(snapshot, &point.destination, &volume.mountpoint, to),
            // A part that is not there is missed at the start.
            Err(_) => Ok(()),
        };
        let unmounted = self.volumes.unmount(&point.name, &user);
        filled?;
        Ok(unmounted.map(drop)?)
    }

    /// Gives a container's volumes back, and with `remove` removes those that nobody named. Blocks.
    pub(crate) fn drop_volumes(&self, container: &Container, remove: bool) {
        let volumes = container.mounts.iter().filter(|point| point.kind == MountKind::Volume);
        for point in volumes.filter(|point| !point.name.is_empty()) {
            self.volumes.release(&point.name, container.id.as_str());
            if !remove || !point.anonymous {
                continue;
            }
            match self.remove_volume(&point.name) {
                // Another container has it by `--volumes-from`.
                Ok(()) | Err(Error::Volume(volume::Error::InUse { .. })) => {}
                Err(error) => {
                    let error = spec::chain(&error);
                    tracing::warn!(volume = point.name, error, "volume was not removed");
                }
            }
        }
    }

    /// Has the container's volumes mounted, for its start. Blocks.
    pub(crate) fn mount_volumes(&self, container: &Container) -> Result<(), Error> {
        let id = container.id.as_str();
        for point in container.mounts.iter().filter(|point| point.kind == MountKind::Volume) {
            self.volumes.mount(&point.name, id)?;
            let facts = [
                ("container", id),
                ("destination", point.destination.as_str()),
                ("propagation", point.propagation.as_str()),
                ("read/write", if point.writable { "true" } else { "false" }),
            ];
            self.tell_volume("mount", &point.name, &facts);
        }
        Ok(())
    }

    /// The container has ended. Blocks.
    pub(crate) fn unmount_volumes(&self, container: &Container) {
        let id = container.id.as_str();
        for point in container.mounts.iter().filter(|point| point.kind == MountKind::Volume) {
            match self.volumes.unmount(&point.name, id) {
                Ok(true) => self.tell_volume("unmount", &point.name, &[("container", id)]),
                Ok(false) => {}
                Err(error) => {
                    let error = spec::chain(&error);
                    tracing::warn!(volume = point.name, error, "volume is still mounted");
                }
            }
        }
    }

    /// Counts the volumes of a container that an earlier engine made.
    pub(crate) fn adopt_volumes(&self, container: &Container) {
        let id = container.id.as_str();
        for point in container.mounts.iter().filter(|point| point.kind == MountKind::Volume) {
            if let Err(error) = self.volumes.hold(&point.name, id) {
                tracing::error!(container = id, error = %error, "volume is gone");
            }
            if container.shim.is_some() {
                self.volumes.adopt(&point.name, id);
            }
        }
    }

    fn tell_volume(&self, action: &str, name: &str, facts: &[(&str, &str)]) {
        let driver = std::iter::once(("driver", DRIVER));
        let facts = driver.chain(facts.iter().copied());
        let attributes = facts.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.broker.publish(EventKind::Volume, action, name, attributes);
    }
}
