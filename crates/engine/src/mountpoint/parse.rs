//! `HostConfig.Binds` and `HostConfig.VolumesFrom`: texts with colons.

use super::{MountKind, MountPoint, absolute, invalid};
use crate::error::Error;
use crate::volume::NewVolume;

pub(super) const PROPAGATIONS: [&str; 6] =
    ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

impl MountPoint {
    /// Reads `[SOURCE:]DESTINATION[:OPTION,…]`; a source without a slash in front is a volume's name.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || invalid(format!("invalid volume specification: '{text}'"));
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        match parts.as_slice() {
            [destination] => Ok(Self::volume(absolute(destination)?)),
            // `/data:ro` names no source.
            [_, mode] if !mode.starts_with('/') => Err(wrong()),
            [source, destination] => Self::of(text, source, destination, ""),
            [source, destination, mode] => Self::of(text, source, destination, mode),
            _ => Err(wrong()),
        }
    }

    fn of(text: &str, source: &str, destination: &str, mode: &str) -> Result<Self, Error> {
        let mut point = Self::volume(absolute(destination)?);
        point.anonymous = false;
        mode.clone_into(&mut point.mode);
        if source.starts_with('/') {
            point.kind = MountKind::Bind;
            point.source = super::clean(source).unwrap_or_else(|| "/".to_owned());
            point.copy_up = false;
            point.make_source = true;
            point.recursive_readonly = true;
            "rprivate".clone_into(&mut point.propagation);
        } else {
            crate::volume::check_name(source)?;
            source.clone_into(&mut point.name);
            point.new = NewVolume { name: Some(source.to_owned()), ..NewVolume::default() };
        }
        point.options(mode).ok_or_else(|| {
            invalid(format!("invalid volume specification: '{text}': invalid mode: {mode}"))
        })?;
        let label = mode.split(',').any(|word| matches!(word, "z" | "Z"));
        if label && std::path::Path::new("/sys/fs/selinux/enforce").exists() {
            let what = "files are not labelled for SELinux by Hull yet";
            return Err(invalid(format!("invalid volume specification: '{text}': {what}")));
        }
        Ok(point)
    }

    /// Takes in the words after the last colon; `None` for one that is unknown, or said twice.
    fn options(&mut self, mode: &str) -> Option<()> {
        let bind = self.kind == MountKind::Bind;
        let mut seen = [false; 5];
        for option in mode.split(',').filter(|option| !option.is_empty()) {
            let group = match option {
                "ro" => {
                    self.writable = false;
                    0
                }
                "rw" => 0,
                // Labels for SELinux; without it there is nothing to be done.
                "z" | "Z" => 1,
                "nocopy" if !bind => {
                    self.copy_up = false;
                    2
                }
                // Docker's hints to other systems, where files are shared over a wire.
                "consistent" | "cached" | "delegated" => 3,
                known if bind && PROPAGATIONS.contains(&known) => {
                    known.clone_into(&mut self.propagation);
                    4
                }
                _ => return None,
            };
            if std::mem::replace(&mut seen[group], true) {
                return None;
            }
        }
        Some(())
    }
}

/// Reads `CONTAINER[:ro|rw|z|Z]`; gives the container and whether it is read-only.
pub(crate) fn volumes_from(text: &str) -> Result<(&str, bool), Error> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(invalid(format!("malformed volumes-from specification: {text}")));
    }
    let mut readonly = false;
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => readonly = true,
            "rw" | "z" | "Z" => {}
            _ => return Err(invalid(format!("invalid mode: {mode}"))),
        }
    }
    Ok((name, readonly))
}
