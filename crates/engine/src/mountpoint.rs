//! What a container sees besides its image: binds, volumes and what lies in memory.
//!
//! ```text
//!   VolumesFrom ─▶ Binds ─▶ Mounts ─▶ Config.Volumes (the image's too)   a later one of a kind that
//!                                                                         may give way does
//! ```
//!
//! Made once, when the container is created; from then on they are part of its record.

mod parse;
pub(crate) mod propagation;
mod request;

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

pub(crate) use parse::volumes_from;
pub use request::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

use crate::container::Container;
use crate::error::Error;
use crate::volume::{DRIVER, NewVolume};

/// A place in a container where something else than its image is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// What is there.
    pub kind: MountKind,
    /// The volume's name; empty for anything else.
    pub name: String,
    /// On the host; empty for a tmpfs.
    pub source: String,
    /// In the container.
    pub destination: String,
    /// The options as the client wrote them after the last colon.
    pub mode: String,
    /// Whether it can be written.
    pub writable: bool,
    /// How mounts beneath it spread; empty for volumes.
    pub propagation: String,
    /// Whether mounts beneath the source are seen.
    pub recursive: bool,
    /// Whether `ro` is for the mounts beneath as well.
    pub recursive_readonly: bool,
    /// Whether a missing source is made.
    pub make_source: bool,
    /// Whether an empty volume is filled from the image.
    pub copy_up: bool,
    /// The part of the volume or image that is seen.
    pub subpath: String,
    /// The image's id; empty for anything else.
    pub image: String,
    /// The image's topmost layer, by chain id.
    pub layer: String,
    /// The tmpfs's options.
    pub options: Vec<String>,
    /// Whether the volume goes with its container when that is asked.
    pub anonymous: bool,
    /// How the volume is to be made, until it is.
    #[serde(skip)]
    pub new: NewVolume,
}

/// What is at a mount point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A file or directory of the host.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image's files, read-only.
    Image,
}

impl MountKind {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

/// Everything that is asked about mounts, from which [`resolve`] makes a list.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Mounts of other containers, with those containers' `ro`.
    pub(crate) from: Vec<(&'a Container, bool)>,
    pub(crate) binds: &'a [String],
    pub(crate) mounts: &'a [Mount],
    /// Destinations of anonymous volumes.
    pub(crate) volumes: &'a [String],
    /// Destinations that are a tmpfs already.
    pub(crate) tmpfs: Vec<String>,
    pub(crate) driver: &'a str,
}

/// The mount points that are asked for, by destination.
pub(crate) fn resolve(asked: &Asked<'_>) -> Result<Vec<MountPoint>, Error> {
    let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();
    for (container, readonly) in &asked.from {
        for point in container.mounts.iter().filter(|point| point.kind != MountKind::Tmpfs) {
            let mut point = point.clone();
            point.writable &= !readonly;
            point.copy_up = false;
            point.mode = String::new();
            point.new = NewVolume { name: Some(point.name.clone()), ..NewVolume::default() };
            points.insert(point.destination.clone(), point);
        }
    }
    let mut taken = std::collections::BTreeSet::new();
    let given = asked.binds.iter().map(|text| MountPoint::parse(text));
    for point in given.chain(asked.mounts.iter().map(MountPoint::from_request)) {
        let mut point = point?;
        if point.kind == MountKind::Volume && point.new.driver.is_empty() {
            asked.driver.clone_into(&mut point.new.driver);
        }
        let tmpfs = asked.tmpfs.contains(&point.destination);
        if !taken.insert(point.destination.clone()) || tmpfs {
            return Err(invalid(format!("Duplicate mount point: {}", point.destination)));
        }
        points.insert(point.destination.clone(), point);
    }
    for destination in asked.volumes {
        let clean = absolute(destination)?;
        if points.contains_key(&clean) || asked.tmpfs.contains(&clean) {
            continue;
        }
        let mut point = MountPoint::volume(clean.clone());
        asked.driver.clone_into(&mut point.new.driver);
        points.insert(clean, point);
    }
    Ok(points.into_values().collect())
}

impl MountPoint {
    /// An anonymous volume.
    fn volume(destination: String) -> Self {
        Self {
            kind: MountKind::Volume,
            destination,
            writable: true,
            recursive: true,
            copy_up: true,
            anonymous: true,
            ..Self::default()
        }
    }

    /// The driver, for clients.
    pub fn driver(&self) -> &'static str {
        if self.kind == MountKind::Volume { DRIVER } else { "" }
    }

    /// Whether it is put together before the container starts, see [`crate::staged`].
    pub(crate) fn is_staged(&self) -> bool {
        self.kind == MountKind::Image || !self.subpath.is_empty()
    }

    /// How the mount is described in a bundle: file system, source, options. `staged` is where it is put
    /// together, if it is.
    pub(crate) fn oci(&self, staged: &Path) -> (&'static str, String, Vec<String>) {
        if self.kind == MountKind::Tmpfs {
            let mut options: Vec<_> =
                ["nosuid", "nodev", "noexec"].iter().map(|word| (*word).to_owned()).collect();
            for option in &self.options {
                options.retain(|known| known.strip_prefix("no") != Some(option));
                options.push(option.clone());
            }
            if !self.writable {
                options.push("ro".to_owned());
            }
            return ("tmpfs", "tmpfs".to_owned(), options);
        }
        let mut options = vec![if self.recursive { "rbind" } else { "bind" }.to_owned()];
        if !self.writable {
            options.push("ro".to_owned());
            if self.recursive_readonly && self.recursive {
                options.push("rro".to_owned());
            }
        }
        let propagation = if self.propagation.is_empty() { "rprivate" } else { &self.propagation };
        options.push(propagation.to_owned());
        let source = if self.is_staged() {
            staged.to_string_lossy().into_owned()
        } else {
            self.source.clone()
        };
        ("bind", source, options)
    }
}

/// `path` without needless slashes and dots; `None` unless it is absolute, not `/`, without `..`.
pub(crate) fn clean(path: &str) -> Option<String> {
    let mut clean = String::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) if path.starts_with('/') => {
                clean.push('/');
                clean.push_str(name.to_str()?);
            }
            _ => return None,
        }
    }
    (!clean.is_empty()).then_some(clean)
}

/// A destination in a container.
fn absolute(path: &str) -> Result<String, Error> {
    if !path.starts_with('/') {
        return Err(invalid(format!("invalid mount path: '{path}' mount path must be absolute")));
    }
    clean(path).ok_or_else(|| {
        let what = "destination can't be '/' or hold '..'";
        invalid(format!("invalid volume specification: '{path}': invalid mount config: {what}"))
    })
}

fn invalid(problem: String) -> Error {
    Error::Mount(problem)
}

#[cfg(test)]
mod tests;
