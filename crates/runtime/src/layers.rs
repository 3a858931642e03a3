//! A root filesystem of layers: directories on top of each other, and one that takes what is written.
//!
//! Spec: OCI runtime-spec, config-windows.md "Layer Folders": from the topmost to the base layer, the last
//! entry is the scratch space.

use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::oci::runtime as oci;

use crate::vm::Error;

const FIELD: &str = "windows.layerFolders";

/// The layers of a root filesystem, by absolute paths.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// A directory of the caller's, in which what is written is kept.
    pub(crate) scratch: PathBuf,
}

impl Layers {
    /// The layers that `spec` names; `None` for one with a root of its own. Relative paths begin at the
    /// bundle.
    pub(crate) fn of(spec: &oci::Spec, bundle: &Path) -> Result<Option<Self>, Error> {
        let Some(section) = spec.windows() else { return Ok(None) };
        let invalid = |why: &str| Error::Invalid { field: FIELD, why: why.to_owned() };
        let members = section.as_object().ok_or_else(|| invalid("want a list of paths"))?;
        if let Some(other) = members.keys().find(|name| *name != "layerFolders") {
            let why =
                "is not supported: of that section only layerFolders means something on Linux";
            return Err(Error::unsupported(format!("windows.{other}"), why));
        }
        let list = members.get("layerFolders").and_then(Value::as_array);
        let path =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
        let paths: Option<Vec<PathBuf>> =
            list.and_then(|list| list.iter().map(|one| Some(bundle.join(path(one)?))).collect());
        let mut lower = paths.ok_or_else(|| invalid("want a list of paths"))?;
        let scratch = lower.pop().filter(|_| !lower.is_empty());
        let scratch =
            scratch.ok_or_else(|| invalid("want one layer or more, and then the scratch space"))?;
        let root = spec.root().as_ref().map(oci::Root::path);
        if root.is_some_and(|path| !path.as_os_str().is_empty()) {
            return Err(invalid("there is a root.path as well: want one of them"));
        }
        for path in lower.iter().chain([&scratch]) {
            let found = std::fs::metadata(path).map_err(Error::file("find", path))?;
            if !found.is_dir() {
                return Err(invalid(&format!("{} is no directory", path.display())));
            }
        }
        Ok(Some(Self { lower, scratch }))
    }

    /// The directory that takes what is written, and overlayfs's own.
    pub(crate) fn writable(&self) -> (PathBuf, PathBuf) {
        (self.scratch.join("upper"), self.scratch.join("work"))
    }

    /// The options of an overlay, as containerd's snapshotters write them.
    pub(crate) fn overlay(&self) -> Vec<String> {
        let escaped = |path: &PathBuf| {
            let text = path.display().to_string();
            text.replace('\\', r"\\").replace(':', r"\:")
        };
        let lower: Vec<String> = self.lower.iter().map(escaped).collect();
        let (upper, work) = self.writable();
        vec![
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Result<Option<Layers>, String> {
        let spec = spec::config::spec(text.as_bytes()).expect("valid").value;
        Layers::of(&spec, Path::new("/")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_is_the_scratch_space() {
        let found = layers(r#"{"windows": {"layerFolders": ["usr", "/etc", "/tmp"]}}"#);
        let want = Layers { lower: vec!["/usr".into(), "/etc".into()], scratch: "/tmp".into() };
        assert_eq!(found, Ok(Some(want)));
        assert_eq!(layers(r#"{"root": {"path": "rootfs"}}"#), Ok(None));
    }

    #[test]
    fn colons_in_names_are_not_between_them() {
        let layers = Layers { lower: vec!["/a:b".into(), r"/c\d".into()], scratch: "/s".into() };
        assert_eq!(
            layers.overlay(),
            [r"lowerdir=/a\:b:/c\\d", "upperdir=/s/upper", "workdir=/s/work"]
        );
    }

    #[test]
    fn what_names_no_layers_is_refused() {
        for (text, said) in [
            (r#"{"windows": {"layerFolders": ["/tmp"]}}"#, "one layer or more"),
            (r#"{"windows": {"layerFolders": [1, "/tmp"]}}"#, "a list of paths"),
            (r#"{"windows": {}}"#, "a list of paths"),
            (r#"{"windows": {"layerFolders": ["/usr", "/nowhere"]}}"#, "find /nowhere"),
            (r#"{"windows": {"layerFolders": ["/usr", "/etc/passwd"]}}"#, "no directory"),
            (r#"{"windows": {"layerFolders": ["/usr", "/tmp"], "hyperv": {}}}"#, "windows.hyperv"),
            (
                r#"{"windows": {"layerFolders": ["/usr", "/tmp"]}, "root": {"path": "rootfs"}}"#,
                "root.path",
            ),
        ] {
            let error = layers(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
