//! `docker rmi`.
//!
//! ```text
//!   by name:  untag  ->  other names left?  done
//!                        none left?         delete, unless a container uses the image
//!   by id:    one repository only?  untag all  ->  delete
//!             several?              only by force
//! ```
//!
//! With the last image that a build made of another goes that one too, if it has no name; one that others
//! were made of stays, and only loses its names.
//!
//! Force deletes what stopped containers use (their layers stay until they go) and what has names in
//! several repositories; nothing deletes what a running container uses.

use std::collections::{BTreeMap, BTreeSet};

use spec::{ContainerId, Digest, Kind};

use crate::disk;
use crate::find::{self, is_id};
use crate::image::Image;
use crate::progress::short;
use crate::reference::Reference;
use crate::store::{State, Store};

/// A container that uses an image, as the engine sees it.
#[derive(Debug, Clone)]
pub struct Use {
    /// The container's id.
    pub container: ContainerId,
    /// The image's id.
    pub image: Digest,
    /// Whether it runs (or is paused): then even force does not delete the image.
    pub running: bool,
}

/// One record of docker's answer to `rmi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name, in its familiar form.
    Untagged(String),
    /// An image or layer, `sha256:…`.
    Deleted(Digest),
}

/// Why an image was not removed. The words are docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such image.
    #[error(transparent)]
    Image(#[from] find::Error),
    /// Its last name, and a container uses it.
    #[error(
        "conflict: unable to remove repository reference {name:?} (must force) - container \
         {container} is using its referenced image {image}"
    )]
    LastName {
        /// The name as it was given.
        name: String,
        /// Short id.
        container: String,
        /// Short id.
        image: String,
    },
    /// It has names in more than one repository.
    #[error(
        "conflict: unable to delete {0} (must be forced) - image is referenced in multiple repositories"
    )]
    Names(String),
    /// A build has made others of it, and it has no name to lose.
    #[error("conflict: unable to delete {0} (cannot be forced) - image has dependent child images")]
    Children(String),
    /// A stopped container uses it.
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped \
         container {container}"
    )]
    Stopped {
        /// Short id.
        image: String,
        /// Short id.
        container: String,
    },
    /// A running container uses it.
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running \
         container {container}"
    )]
    Running {
        /// Short id.
        image: String,
        /// Short id.
        container: String,
    },
    /// The store could not be changed.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Image(e) => e.kind(),
            Self::Disk(e) => e.kind(),
            Self::LastName { .. }
            | Self::Names(_)
            | Self::Children(_)
            | Self::Stopped { .. }
            | Self::Running { .. } => Kind::Conflict,
        }
    }
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// In order.
    pub removed: Vec<Removed>,
    /// Bytes of the files in layers that are gone.
    pub reclaimed: u64,
}

/// What a removal will do.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    untag: Vec<Reference>,
    delete: bool,
}

impl Store {
    /// Removes a name or an image. Blocks.
    pub(crate) fn remove(
        &self,
        name: &str,
        uses: &[Use],
        force: bool,
    ) -> Result<Vec<Removed>, Error> {
        let mut state = self.state();
        let image = state.find(name)?.clone();
        let mut plan = plan(&image, name, uses, force)?;
        if plan.delete && state.has_children(&image.id) {
            if plan.untag.is_empty() {
                return Err(Error::Children(short(&image.id)));
            }
            plan.delete = false;
        }
        let before = state.images.clone();
        let mut gone = Vec::new();
        if plan.delete {
            gone.extend(state.images.remove(&image.id));
            gone.extend(state.take_forebears(&image, uses));
        } else if let Some(kept) = state.images.get_mut(&image.id) {
            plan.untag.iter().for_each(|name| kept.remove_name(name));
        }
        self.save_or_restore(&mut state, before)?;
        let mut removed: Vec<_> =
            plan.untag.iter().map(|name| Removed::Untagged(name.to_string())).collect();
        let mut counted = BTreeSet::new();
        let deleted = gone.iter().flat_map(|image| deleted(image, &state));
        let deleted = deleted.filter(|one| counted.insert(one.clone()));
        removed.extend(deleted.map(Removed::Deleted));
        let garbage = if plan.delete { self.collect(&mut state)? } else { Vec::new() };
        drop(state);
        drop(garbage);
        Ok(removed)
    }
}

impl Store {
    /// Removes those of `images` that no container uses, with all their names, and on demand the forebears
    /// that nothing else was made of. Blocks.
    pub(crate) fn prune(
        &self,
        images: &[Digest],
        uses: &[Use],
        forebears: bool,
    ) -> Result<Pruned, disk::Error> {
        let mut state = self.state();
        let before = state.images.clone();
        let unused = |id: &&Digest| !uses.iter().any(|user| user.image == **id);
        let mut gone = Vec::new();
        for id in images.iter().filter(unused) {
            if let Some(image) = state.images.remove(id) {
                gone.push(image.clone());
                if forebears {
                    gone.extend(state.take_forebears(&image, uses));
                }
            }
        }
        if !gone.is_empty() {
            self.save_or_restore(&mut state, before)?;
        }
        let mut pruned = Pruned::default();
        let mut counted = BTreeSet::new();
        for image in &gone {
            let names = image.names().map(|name| Removed::Untagged(name.to_string()));
            pruned.removed.extend(names);
            for one in deleted(image, &state).filter(|one| counted.insert(one.clone())) {
                if one != image.id {
                    pruned.reclaimed += self.snapshots.size(&one).unwrap_or(0);
                }
                pruned.removed.push(Removed::Deleted(one));
            }
        }
        let garbage = self.collect(&mut state)?;
        drop(state);
        drop(garbage);
        Ok(pruned)
    }
}

impl State {
    /// Whether a build has made other images of it.
    pub(crate) fn has_children(&self, image: &Digest) -> bool {
        self.images.values().any(|one| one.parent.as_ref() == Some(image))
    }

    /// Takes away the images that only `image`, which is gone, was made of: those without a name that no
    /// container uses.
    fn take_forebears(&mut self, image: &Image, uses: &[Use]) -> Vec<Image> {
        let mut gone = Vec::new();
        let mut next = image.parent.clone();
        while let Some(id) = next.take() {
            let stays = uses.iter().any(|user| user.image == id) || self.has_children(&id);
            let free = |image: &Image| !stays && image.names().next().is_none();
            if self.images.get(&id).is_some_and(free)
                && let Some(image) = self.images.remove(&id)
            {
                next.clone_from(&image.parent);
                gone.push(image);
            }
        }
        gone
    }
}

/// The image's id and the layers that went with it, topmost first.
fn deleted<'a>(image: &'a Image, state: &'a State) -> impl Iterator<Item = Digest> + 'a {
    let layers = image.chain.iter().rev().filter(|layer| !state.stands_on(layer));
    std::iter::once(&image.id).chain(layers).cloned()
}

/// Decides; follows moby's `ImageDelete`.
fn plan(image: &Image, name: &str, uses: &[Use], force: bool) -> Result<Plan, Error> {
    let by: Vec<&Use> = uses.iter().filter(|user| user.image == image.id).collect();
    if is_id(&image.id, name) {
        if !single_repository(image) && !force {
            return Err(Error::Names(short(&image.id)));
        }
        check_unused(image, &by, force)?;
        return Ok(Plan { untag: image.names().cloned().collect(), delete: true });
    }
    if let Some(user) = by.first().filter(|_| !force && single_repository(image)) {
        return Err(Error::LastName {
            name: name.to_owned(),
            container: user.short(),
            image: short(&image.id),
        });
    }
    let untag = names_to_go(image, name)?;
    let last = untag.len() == image.names().count();
    // A container that stands on a nameless image keeps it; that is no conflict then.
    Ok(Plan { untag, delete: last && check_unused(image, &by, force).is_ok() })
}

fn check_unused(image: &Image, by: &[&Use], force: bool) -> Result<(), Error> {
    let image = short(&image.id);
    if let Some(user) = by.iter().find(|user| user.running) {
        return Err(Error::Running { image, container: user.short() });
    }
    match by.first().filter(|_| !force) {
        Some(user) => Err(Error::Stopped { image, container: user.short() }),
        None => Ok(()),
    }
}

/// The name itself, and with a repository's last tag also the digests of that repository.
fn names_to_go(image: &Image, name: &str) -> Result<Vec<Reference>, Error> {
    let given: Reference = name.parse().map_err(find::Error::from)?;
    let given = match given.digest() {
        Some(digest) => given.at(digest.clone()),
        None => given,
    };
    let others = image.tags.iter().any(|tag| *tag != given && tag.same_repository(&given));
    let with_it = given.digest().is_none() && !others;
    let digests = image.digests.iter().filter(|own| with_it && own.same_repository(&given));
    Ok(std::iter::once(&given).chain(digests).cloned().collect())
}

/// At most one tag, and all names in one repository.
fn single_repository(image: &Image) -> bool {
    let mut repositories = BTreeMap::new();
    for name in image.names() {
        *repositories.entry(name.familiar_name()).or_insert(0) += usize::from(name.tag().is_some());
    }
    repositories.len() <= 1 && repositories.values().all(|tags| *tags <= 1)
}

impl Use {
    fn short(&self) -> String {
        self.container.as_str().chars().take(12).collect()
    }
}

#[cfg(test)]
mod tests;
