//! The client's mounts: mount points, and `HostConfig.Tmpfs`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::defaults;
use crate::error::Error;
use crate::mountpoint::{MountKind, MountPoint, clean};
use crate::staged;

/// The mounts that mount points ask for; `staged` is where some are put together.
pub(super) fn of(points: &[MountPoint], staged: &Path) -> Vec<Value> {
    let one = |(number, point): (usize, &MountPoint)| {
        let (fstype, source, options) = point.oci(&staged::place(staged, number));
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        defaults::mount(&point.destination, fstype, &source, &options)
    };
    points.iter().enumerate().map(one).collect()
}

/// Makes a bind's source where it is missing and may be made, a directory as Docker's; refuses a source
/// that is missing otherwise.
pub(super) fn source(point: &MountPoint) -> Result<(), Error> {
    if point.kind != MountKind::Bind {
        return Ok(());
    }
    let path = Path::new(&point.source);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    if !point.make_source {
        return Err(Error::Mount(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            point.source
        )));
    }
    std::fs::create_dir_all(path).map_err(|source| Error::File {
        action: "make",
        path: path.to_owned(),
        source,
    })
}

/// The tmpfs mounts that `wanted` describes.
pub(crate) fn tmpfs(wanted: &BTreeMap<String, String>) -> Result<Vec<Value>, Error> {
    wanted
        .iter()
        .map(|(destination, options)| {
            let destination = clean(destination).ok_or_else(|| Error::Invalid {
                field: "HostConfig.Tmpfs",
                problem: match destination {
                    destination if !destination.starts_with('/') => {
                        format!("invalid mount path: {destination:?}: mount path must be absolute")
                    }
                    destination => format!("{destination:?}: destination can't be '/'"),
                },
            })?;
            let mut all = vec!["noexec", "nosuid", "nodev"];
            for option in options.split(',').filter(|option| !option.is_empty()) {
                let opposite =
                    option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
                all.retain(|known| *known != opposite && *known != option);
                all.push(option);
            }
            Ok(defaults::mount(&destination, "tmpfs", "tmpfs", &all))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_is_safe_unless_asked_otherwise() {
        let wanted = [("/run".to_owned(), "exec,size=1m".to_owned())].into();
        let mounts = tmpfs(&wanted).expect("valid");
        assert_eq!(mounts[0]["options"], serde_json::json!(["nosuid", "nodev", "exec", "size=1m"]));
    }
}
