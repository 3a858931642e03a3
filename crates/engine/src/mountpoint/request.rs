//! `HostConfig.Mounts`: the same by fields.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::parse::PROPAGATIONS;
use super::{MountKind, MountPoint, absolute, invalid};
use crate::error::Error;
use crate::volume::NewVolume;

/// One of `HostConfig.Mounts`, in Docker's spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs` or `image`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// A path, a volume's name, empty for an anonymous one, or an image's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Where in the container.
    pub target: String,
    /// Whether it cannot be written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// A hint to other systems.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consistency: String,
    /// For a bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// For a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// For a tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// What can be said of a bind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// How mounts beneath spread.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Without the mounts beneath.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// Make a missing source.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_mountpoint: bool,
    /// The mounts beneath stay writable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_non_recursive: bool,
    /// The mounts beneath must not be writable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_force_recursive: bool,
}

/// What can be said of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Leave an empty one empty.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_copy: bool,
    /// Labels if it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The part that is seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// How it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
}

/// What can be said of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageOptions {
    /// The part that is seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// A volume's driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverConfig {
    /// Empty for the local one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The driver's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
}

/// What can be said of a tmpfs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// At most; 0 for the kernel's choice.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: i64,
    /// Permission bits; 0 for 1777.
    #[serde(skip_serializing_if = "is_zero_mode")]
    pub mode: u32,
    /// `["exec"]`, `["noexec"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<Vec<String>>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero_mode(number: &u32) -> bool {
    *number == 0
}

impl MountPoint {
    /// Reads one of `HostConfig.Mounts`.
    pub(crate) fn from_request(mount: &Mount) -> Result<Self, Error> {
        let wrong = |problem: &str| {
            invalid(format!("invalid mount config for type {:?}: {problem}", mount.kind))
        };
        if mount.target.is_empty() {
            return Err(wrong("field Target must not be empty"));
        }
        let mut point = Self::volume(absolute(&mount.target)?);
        point.writable = !mount.read_only;
        point.anonymous = false;
        let others = [
            ("bind", "BindOptions", mount.bind_options.is_some()),
            ("volume", "VolumeOptions", mount.volume_options.is_some()),
            ("tmpfs", "TmpfsOptions", mount.tmpfs_options.is_some()),
            ("image", "ImageOptions", mount.image_options.is_some()),
        ];
        if let Some((_, name, _)) = others.iter().find(|(kind, _, set)| *set && *kind != mount.kind)
        {
            return Err(wrong(&format!("field {name} must not be specified")));
        }
        match mount.kind.as_str() {
            "bind" => point.bind(mount, &wrong)?,
            "volume" => point.named(mount, &wrong)?,
            "tmpfs" => point.memory(mount, &wrong)?,
            "image" => point.image(mount, &wrong)?,
            _ => return Err(wrong("mount type unknown")),
        }
        Ok(point)
    }

    fn bind(&mut self, mount: &Mount, wrong: &dyn Fn(&str) -> Error) -> Result<(), Error> {
        let options = mount.bind_options.clone().unwrap_or_default();
        if mount.source.is_empty() {
            return Err(wrong("field Source must not be empty"));
        }
        if !mount.source.starts_with('/') {
            let source = &mount.source;
            let problem = format!("invalid mount path: '{source}' mount path must be absolute");
            return Err(wrong(&problem));
        }
        self.kind = MountKind::Bind;
        self.source = super::clean(&mount.source).unwrap_or_else(|| "/".to_owned());
        self.copy_up = false;
        self.make_source = options.create_mountpoint;
        self.recursive = !options.non_recursive;
        self.recursive_readonly = !options.read_only_non_recursive;
        let propagation = options.propagation.as_str();
        if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
            return Err(wrong(&format!("invalid propagation mode: {propagation}")));
        }
        let propagation = if propagation.is_empty() { "rprivate" } else { propagation };
        if options.read_only_force_recursive {
            let conflicts = [
                (!mount.read_only, "!ReadOnly"),
                (options.read_only_non_recursive, "ReadOnlyNonRecursive"),
                (options.non_recursive, "NonRecursive"),
                (propagation != "rprivate", "a propagation other than rprivate"),
            ];
            if let Some((_, what)) = conflicts.iter().find(|(is, _)| *is) {
                let problem = "mount options conflict";
                return Err(wrong(&format!("{problem}: {what} && ReadOnlyForceRecursive")));
            }
        }
        propagation.clone_into(&mut self.propagation);
        if !self.make_source && std::fs::symlink_metadata(&self.source).is_err() {
            return Err(wrong(&format!("bind source path does not exist: {}", self.source)));
        }
        Ok(())
    }

    fn named(&mut self, mount: &Mount, wrong: &dyn Fn(&str) -> Error) -> Result<(), Error> {
        let options = mount.volume_options.clone().unwrap_or_default();
        let driver = options.driver_config.unwrap_or_default();
        if !is_within(&options.subpath) {
            return Err(wrong("subpath must be a relative path within the volume"));
        }
        if mount.source.is_empty() && !options.subpath.is_empty() {
            return Err(wrong("must not set Subpath when using anonymous volumes"));
        }
        if mount.source.is_empty() && mount.read_only {
            return Err(wrong("must not set ReadOnly mode when using anonymous volumes"));
        }
        if !mount.source.is_empty() {
            crate::volume::check_name(&mount.source)?;
        }
        self.anonymous = mount.source.is_empty();
        mount.source.clone_into(&mut self.name);
        self.copy_up = !options.no_copy;
        self.subpath = options.subpath;
        self.new = NewVolume {
            name: Some(mount.source.clone()).filter(|name| !name.is_empty()),
            driver: driver.name,
            options: driver.options.unwrap_or_default(),
            labels: options.labels.unwrap_or_default(),
        };
        Ok(())
    }

    fn memory(&mut self, mount: &Mount, wrong: &dyn Fn(&str) -> Error) -> Result<(), Error> {
        let options = mount.tmpfs_options.clone().unwrap_or_default();
        if !mount.source.is_empty() {
            return Err(wrong("field Source must not be specified"));
        }
        self.kind = MountKind::Tmpfs;
        self.copy_up = false;
        if options.size_bytes > 0 {
            self.options.push(format!("size={}", options.size_bytes));
        }
        if options.mode != 0 {
            self.options.push(format!("mode={:o}", options.mode & 0o7777));
        }
        for words in options.options.iter().flatten() {
            match words.as_slice() {
                [word] if matches!(word.as_str(), "exec" | "noexec") => {
                    self.options.push(word.clone());
                }
                [] => return Err(wrong("invalid option array length")),
                [word, ..] => return Err(wrong(&format!("invalid option: {word}"))),
            }
        }
        Ok(())
    }

    fn image(&mut self, mount: &Mount, wrong: &dyn Fn(&str) -> Error) -> Result<(), Error> {
        let options = mount.image_options.clone().unwrap_or_default();
        if mount.source.is_empty() {
            return Err(wrong("field Source must not be empty"));
        }
        if !is_within(&options.subpath) {
            return Err(wrong("subpath must be a relative path within the volume"));
        }
        self.kind = MountKind::Image;
        mount.source.clone_into(&mut self.name);
        self.subpath = options.subpath;
        self.writable = false;
        self.copy_up = false;
        self.recursive = false;
        "rprivate".clone_into(&mut self.propagation);
        Ok(())
    }
}

/// Whether the words of a path alone leave it where it begins; symlinks are looked at when it is opened.
fn is_within(path: &str) -> bool {
    let mut depth = 0_i32;
    Path::new(path).components().all(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i32::MIN / 2,
        };
        depth >= 0
    })
}
