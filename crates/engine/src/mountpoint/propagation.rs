//! How mounts spread between host and container.
//!
//! Spec: OCI runtime-spec, config-linux.md "Rootfs Mount Propagation"; kernel sharedsubtree.rst.

use std::path::Path;

use super::{MountKind, MountPoint};
use crate::error::Error;

/// What the root must be so that mounts spread as is asked; `None` for the default.
///
/// # Errors
///
/// When a source lies on a mount from which, or to which, nothing can spread.
pub(crate) fn of_root(points: &[MountPoint]) -> Result<Option<&'static str>, Error> {
    let mut root = None;
    for point in points.iter().filter(|point| point.kind == MountKind::Bind) {
        let (wanted, marks): (_, &[&str]) = match point.propagation.as_str() {
            "shared" | "rshared" => ("shared", &["shared:"]),
            "slave" | "rslave" => ("rslave", &["shared:", "master:"]),
            _ => continue,
        };
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let source = std::fs::canonicalize(&point.source);
        let source = source.unwrap_or_else(|_| Path::new(&point.source).to_owned());
        if let Some((at, false)) = mount_of(&table, &source, marks) {
            let kind = if marks.len() == 1 { "shared" } else { "shared or slave" };
            return Err(Error::Mount(format!(
                "path {} is mounted on {at} but it is not a {kind} mount",
                point.source
            )));
        }
        if root != Some("shared") {
            root = Some(wanted);
        }
    }
    Ok(root)
}

/// The mount that `path` is on, and whether it has one of the `marks`.
fn mount_of(table: &str, path: &Path, marks: &[&str]) -> Option<(String, bool)> {
    let mounts = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let at = fields.get(4)?.replace("\\040", " ");
        if !path.starts_with(&at) {
            return None;
        }
        let tags = fields.iter().skip(6).take_while(|field| **field != "-");
        let marked = tags.into_iter().any(|tag| marks.iter().any(|mark| tag.starts_with(mark)));
        Some((at, marked))
    });
    // Of two on the same place the later one is seen.
    mounts.max_by_key(|(at, _)| at.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_on_its_nearest_mount() {
        let table = "1 0 0:1 / / rw shared:1 - ext4 a rw\n2 1 0:2 / /mnt rw master:1 - tmpfs b rw\n\
                     3 1 0:3 / /mnt/a\\040b rw - tmpfs c rw";
        let on = |path: &str, marks: &[&str]| mount_of(table, Path::new(path), marks);
        assert_eq!(on("/x", &["shared:"]), Some(("/".into(), true)));
        assert_eq!(on("/mnt/x", &["shared:"]), Some(("/mnt".into(), false)));
        assert_eq!(on("/mnt/x", &["shared:", "master:"]), Some(("/mnt".into(), true)));
        assert_eq!(on("/mnt/a b/c", &["shared:", "master:"]), Some(("/mnt/a b".into(), false)));
    }
}
