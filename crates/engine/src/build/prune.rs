//! What builds keep for the next ones, and how it is kept small.
//!
//! ```text
//!   steps' images without a name  ┐
//!   caches of RUN, where asked    ┴─▶ too many bytes? ─▶ what was not used for longest, leaves first
//! ```
//!
//! A step goes before those that it was made of: they are of use without it, it is not without them. What an
//! image with a name or a container was made of frees nothing when it goes, and so counts nothing either.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use build::caches::Kept;
use image::Image;
use spec::Digest;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::EventKind;
use crate::owner::blocking;

/// A step's image that only builds need.
#[derive(Debug, Clone)]
pub struct CachedStep {
    /// The image.
    pub image: Image,
    /// Bytes of the files in the layer that the step has made, if it has made one.
    pub size: u64,
    /// When a build has made or taken it last.
    pub used: SystemTime,
    /// Whether an image that has a name, or that a container uses, was made of it.
    pub needed: bool,
}

/// What is to go.
#[derive(Debug, Default, Clone, Copy)]
pub struct Prune {
    /// Only what was not used after this.
    pub until: Option<SystemTime>,
    /// Also what commands keep in caches.
    pub caches: bool,
    /// How much may stay.
    pub keep: Keep,
}

/// How much may stay, in bytes; 0 says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Keep {
    /// So much stays in any case.
    pub reserved: u64,
    /// More than this does not stay.
    pub at_most: u64,
    /// So much is to be free on the disk.
    pub free: u64,
}

/// What a prune of builds took away.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Images of steps.
    pub steps: Vec<Digest>,
    /// Bytes of files.
    pub reclaimed: u64,
}

impl Keep {
    /// The bytes that may stay of `total`, where `free` are free; `None` when nothing is said. As BuildKit
    /// reckons.
    fn of(self, total: u64, free: u64) -> Option<u64> {
        if (self.reserved, self.at_most, self.free) == (0, 0, 0) {
            return None;
        }
        let missing = self.free.saturating_sub(free);
        let kept = match (self.at_most, missing) {
            (0, 0) if self.free > 0 => total,
            (most, 0) => most,
            (0, missing) => total.saturating_sub(missing),
            (most, missing) => most.min(total.saturating_sub(missing)),
        };
        Some(kept.max(self.reserved))
    }
}

impl Engine {
    /// The images of steps that only builds need.
    pub fn cached_steps(&self) -> Vec<CachedStep> {
        let (images, uses) = (self.images().list(), self.image_uses());
        let of_containers: HashSet<&Digest> = uses.iter().map(|user| &user.image).collect();
        let is_step = |image: &Image| {
            let nameless = image.tags.is_empty() && image.digests.is_empty();
            image.parent.is_some() && nameless && !of_containers.contains(&image.id)
        };
        let parents: HashMap<&Digest, Option<&Digest>> =
            images.iter().map(|image| (&image.id, image.parent.as_ref())).collect();
        let mut needed = HashSet::new();
        for image in images.iter().filter(|image| !is_step(image)) {
            let mut next = image.parent.as_ref();
            while let Some(id) = next.filter(|id| needed.insert(*id)) {
                next = parents.get(id).copied().flatten();
            }
        }
        let step = |image: &Image| CachedStep {
            size: self.layer_size(image),
            used: self.images().last_used(&image.id).unwrap_or(SystemTime::UNIX_EPOCH),
            needed: needed.contains(&image.id),
            image: image.clone(),
        };
        images.iter().filter(|image| is_step(image)).map(step).collect()
    }

    fn layer_size(&self, image: &Image) -> u64 {
        let history = image.config.history().as_deref().unwrap_or_default();
        let is_empty = history.last().is_some_and(|step| step.empty_layer() == Some(true));
        let sizes = self.images().layer_sizes(image);
        sizes.last().copied().filter(|_| !is_empty).unwrap_or(0)
    }

    /// Removes what builds keep for the next ones and no container and no command uses.
    pub async fn prune_builds(&self, prune: Prune) -> Result<Pruned, Error> {
        let scratch = self.build_scratch()?;
        let is_old = move |used: SystemTime| prune.until.is_none_or(|until| used <= until);
        let mut caches = Vec::new();
        if prune.caches {
            let scratch = scratch.clone();
            caches = blocking(move || Ok(build::caches::list(&scratch)?)).await?;
        }
        let steps = self.cached_steps();
        let total = total(&steps, &caches);
        let free = free(&self.settings().data_root)?;
        let over = match prune.keep.of(total, free) {
            Some(kept) => Some(total.saturating_sub(kept)),
            None => prune.until.map(|_| u64::MAX),
        };
        let (steps, dirs) = match over {
            Some(over) => longest_unused(&steps, &caches, over, &is_old),
            None => (
                steps.into_iter().map(|step| step.image.id).collect(),
                caches.into_iter().map(|cache| cache.dir).collect(),
            ),
        };
        self.remove_kept(steps, dirs, scratch).await
    }

    async fn remove_kept(
        &self,
        steps: Vec<Digest>,
        dirs: Vec<PathBuf>,
        scratch: PathBuf,
    ) -> Result<Pruned, Error> {
        let gone = self.images().prune_steps(steps, self.image_uses()).await?;
        let mut pruned = Pruned { reclaimed: gone.reclaimed, ..Pruned::default() };
        for removed in gone.removed {
            if let image::Removed::Deleted(digest) = removed {
                pruned.steps.push(digest);
            }
        }
        pruned.reclaimed += blocking(move || Ok(build::caches::prune(&scratch, &dirs)?)).await?;
        let attributes = [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into();
        self.shared().broker.publish(EventKind::Builder, "prune", "", attributes);
        Ok(pruned)
    }

    /// Keeps what builds keep below the engine's limit. While a build goes on nothing is done: the last one
    /// to end does it.
    pub(super) async fn limit_builds(&self) {
        let Some(at_most) = self.settings().build_cache else { return };
        let Ok(_none_goes_on) = self.shared().builds.try_write() else { return };
        let keep = Keep { at_most, ..Keep::default() };
        match self.prune_builds(Prune { caches: true, keep, ..Prune::default() }).await {
            Ok(Pruned { reclaimed: 0, .. }) => {}
            Ok(Pruned { reclaimed, .. }) => tracing::info!(reclaimed, "builds keep less now"),
            Err(error) => tracing::warn!(%error, "what builds keep was not limited"),
        }
    }
}

/// The bytes that would be free without any of this.
fn total(steps: &[CachedStep], caches: &[Kept]) -> u64 {
    let mut counted = HashSet::new();
    let steps = steps.iter().filter(|step| !step.needed && step.size > 0);
    let steps = steps.filter(|step| counted.insert(step.image.chain.last()));
    let steps: u64 = steps.map(|step| step.size).sum();
    steps + caches.iter().map(|cache| cache.size).sum::<u64>()
}

fn free(path: &Path) -> Result<u64, Error> {
    let found = rustix::fs::statvfs(path).map_err(|error| Error::File {
        action: "look at the disk of",
        path: path.to_owned(),
        source: error.into(),
    })?;
    Ok(found.f_bavail * found.f_frsize)
}

/// Steps and caches that go until `over` bytes are free or nothing is left that may.
fn longest_unused(
    steps: &[CachedStep],
    caches: &[Kept],
    mut over: u64,
    is_old: &dyn Fn(SystemTime) -> bool,
) -> (Vec<Digest>, Vec<PathBuf>) {
    let steps: HashMap<&Digest, &CachedStep> =
        steps.iter().filter(|step| !step.needed).map(|step| (&step.image.id, step)).collect();
    let mut children: HashMap<&Digest, usize> = HashMap::new();
    let mut layers: HashMap<Option<&Digest>, usize> = HashMap::new();
    for step in steps.values().copied() {
        if let Some(parent) = &step.image.parent {
            *children.entry(parent).or_default() += 1;
        }
        *layers.entry(step.image.chain.last()).or_default() += usize::from(step.size > 0);
    }
    let mut next: BTreeSet<(SystemTime, Piece)> = caches
        .iter()
        .map(|cache| (cache.used, Piece::Cache(&cache.dir, cache.size)))
        .chain(
            steps
                .values()
                .filter(|step| !children.contains_key(&step.image.id))
                .map(|step| (step.used, Piece::Step(&step.image.id))),
        )
        .collect();
    let (mut gone, mut dirs) = (Vec::new(), Vec::new());
    while over > 0
        && let Some((used, piece)) = next.pop_first()
    {
        if !is_old(used) {
            break;
        }
        let step = match piece {
            Piece::Cache(dir, size) => {
                dirs.push(dir.to_owned());
                over = over.saturating_sub(size);
                continue;
            }
            Piece::Step(id) => steps[id],
        };
        gone.push(step.image.id.clone());
        // A layer is free with the last step that has made it.
        if step.size > 0
            && let Some(left) = layers.get_mut(&step.image.chain.last())
        {
            *left -= 1;
            over = over.saturating_sub(if *left == 0 { step.size } else { 0 });
        }
        if let Some(parent) = step.image.parent.as_ref().and_then(|id| steps.get(id))
            && let Some(left) = children.get_mut(&parent.image.id)
        {
            *left -= 1;
            if *left == 0 {
                next.insert((parent.used, Piece::Step(&parent.image.id)));
            }
        }
    }
    (gone, dirs)
}

/// Something that can go by itself.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Cache(&'a Path, u64),
    Step(&'a Digest),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_stays_is_reckoned_as_buildkit_does() {
        let cases = [
            ("nothing said", Keep::default(), None),
            ("at most", Keep { at_most: 40, ..Keep::default() }, Some(40)),
            ("reserved alone", Keep { reserved: 30, ..Keep::default() }, Some(30)),
            ("enough is free", Keep { free: 5, ..Keep::default() }, Some(100)),
            ("too little is free", Keep { free: 60, ..Keep::default() }, Some(50)),
            ("both", Keep { at_most: 70, free: 60, reserved: 0 }, Some(50)),
            ("but not below", Keep { at_most: 40, free: 60, reserved: 55 }, Some(55)),
        ];
        for (name, keep, want) in cases {
            assert_eq!(keep.of(100, 10), want, "{name}");
        }
    }

    #[test]
    fn caches_go_by_the_time_of_their_use_until_it_is_enough() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let cache = |name: &str, size, used| Kept { dir: name.into(), size, used: at(used) };
        let caches = [cache("new", 10, 9), cache("old", 10, 1), cache("middle", 10, 5)];
        let dirs = |over, until| longest_unused(&[], &caches, over, &|used| used <= at(until)).1;
        assert_eq!(dirs(0, 9), [""; 0].map(PathBuf::from));
        assert_eq!(dirs(1, 9), ["old"].map(PathBuf::from));
        assert_eq!(dirs(11, 9), ["old", "middle"].map(PathBuf::from));
        assert_eq!(dirs(30, 4), ["old"].map(PathBuf::from));
    }
}
