//! Devices by name: what files of the host's administrator say that a container needs for them.
//!
//! ```text
//!   VENDOR/CLASS=NAME  ─▶  the file of that kind in the last directory that has one  ─▶  edits
//! ```
//!
//! The files are read at each start: drivers write them anew when the host boots. They are root's, and what they
//! say is done: hooks run as root, outside of the container.
//!
//! Spec: Container Device Interface, SPEC.md.

mod apply;
mod file;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
pub(crate) use apply::apply;
use file::{Edits, File};

/// The field of a request that asks for such devices.
const FIELD: &str = "HostConfig.DeviceRequests";

/// Whether it is such a name and not a path.
pub fn is_name(text: &str) -> bool {
    split(text).is_some()
}

/// `vendor.com/class` and the device's name; `None` when it is no such name.
fn split(text: &str) -> Option<(&str, &str)> {
    let (kind, name) = text.split_once('=')?;
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let ends = name.ends_with(|last: char| last.is_ascii_alphanumeric());
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    (begins && ends && name.chars().all(legal) && is_kind(kind)).then_some((kind, name))
}

/// Spec: "Kind": a vendor and a class, both beginning with a letter.
fn is_kind(kind: &str) -> bool {
    let part = |text: &str, marks: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.ends_with(|last: char| last.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
    };
    kind.split_once('/').is_some_and(|(vendor, class)| part(vendor, "-_.") && part(class, "-_"))
}

/// What the devices with these names need, in order; what is for all of a file comes before its devices.
/// Blocks.
///
/// # Errors
///
/// [`Error::Invalid`] that names the devices which no file describes, and the files that could not be read.
pub(crate) fn resolve(dirs: &[PathBuf], names: &[String]) -> Result<Vec<Edits>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let (files, broken) = read_all(dirs);
    let (mut used, mut edits, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let (kind, device) =
            split(name).ok_or_else(|| invalid(format!("{name:?}: want VENDOR/CLASS=NAME")))?;
        let known = |file: &&Found| file.file.kind == kind && file.file.device(device).is_some();
        // A later directory goes before an earlier one; in one directory nobody knows which is meant.
        let last = files.iter().filter(known).map(|file| file.dir).max();
        let mut here = files.iter().filter(known).filter(|file| Some(file.dir) == last);
        let (Some(found), other) = (here.next(), here.next()) else {
            missing.push(name.as_str());
            continue;
        };
        if let Some(other) = other {
            let (one, two) = (found.path.display(), other.path.display());
            return Err(invalid(format!("conflicting device {name}: in {one} and in {two}")));
        }
        if !used.contains(&&found.path) {
            used.push(&found.path);
            edits.extend(found.file.container_edits.clone());
        }
        edits.extend(found.file.device(device).cloned());
    }
    if missing.is_empty() { Ok(edits) } else { Err(unresolved(dirs, &missing, &broken)) }
}

/// Paths of the host that a device stands for; none when nothing describes it.
pub(crate) fn paths(dirs: &[PathBuf], name: &str) -> Vec<String> {
    let edits = resolve(dirs, &[name.to_owned()]).unwrap_or_default();
    edits.iter().flat_map(Edits::paths).collect()
}

struct Found {
    /// The place of its directory among them.
    dir: usize,
    path: PathBuf,
    file: File,
}

/// All files that can be read, and what is wrong with the others.
fn read_all(dirs: &[PathBuf]) -> (Vec<Found>, Vec<String>) {
    let (mut files, mut broken) = (Vec::new(), Vec::new());
    for (dir, path) in dirs.iter().enumerate() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let described =
            |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml");
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(described).collect();
        paths.sort();
        for path in paths {
            match read(&path) {
                Ok(file) => files.push(Found { dir, path, file }),
                Err(problem) => broken.push(format!("{}: {problem}", path.display())),
            }
        }
    }
    (files, broken)
}

fn read(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: File = match path.extension().and_then(|end| end.to_str()) {
        Some("yaml") => serde_saphyr::from_str(&text).map_err(|error| error.to_string())?,
        _ => serde_json::from_str(&text).map_err(|error| error.to_string())?,
    };
    file.check().map(|()| file)
}

fn unresolved(dirs: &[PathBuf], missing: &[&str], broken: &[String]) -> Error {
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let mut problem = format!(
        "CDI device injection failed: unresolvable CDI devices {}: no file in {} describes them",
        missing.join(", "),
        dirs.join(", ")
    );
    for file in broken {
        problem.push_str("; not used: ");
        problem.push_str(file);
    }
    invalid(problem)
}

fn invalid(problem: String) -> Error {
    Error::Invalid { field: FIELD, problem }
}

#[cfg(test)]
mod tests;
