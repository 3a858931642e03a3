//! A root filesystem of layers: directories on top of each other, and one that takes what is written.
//!
//! ```text
//!   SCRATCH/upper, work     what processes of the host wrote, and overlayfs's own
//!   SCRATCH/scratch.ext4    the disk of containers in VMs
//!   SCRATCH/limit-mib       its size, if that is not the host's default: see `create-scratch`
//! ```
//!
//! Who has written in a scratch space decides behind which wall it can be used again: the host mounts no
//! disk that a guest wrote.
//!
//! Spec: OCI runtime-spec, config-windows.md "Layer Folders": from the topmost to the base layer, the last
//! entry is the scratch space.

mod claim;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::oci::runtime as oci;
use spec::{ContainerId, Kind};

pub(crate) use claim::Claim;

/// The file in a scratch space that tells how much is written there, in MiB.
pub(crate) const LIMIT: &str = "limit-mib";

const FIELD: &str = "windows.layerFolders";

/// Why there are no layers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error("{FIELD}: {0}")]
    Invalid(String),
    /// Of the section there is only one member here.
    #[error(
        "windows.{0}: is not supported: of that section only layerFolders means something on Linux"
    )]
    Member(String),
    /// Two containers would write one directory.
    #[error("{FIELD}: container {id} uses the scratch space {}: want one for each", scratch.display())]
    InUse {
        /// The container.
        id: ContainerId,
        /// What it writes.
        scratch: PathBuf,
    },
    /// The store's containers could not be asked.
    #[error(transparent)]
    Store(#[from] container::Error),
    /// A file or directory.
    #[error("{FIELD}: {action} {}", path.display())]
    File {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Member(_) => Kind::Unsupported,
            Self::InUse { .. } => Kind::Conflict,
            Self::Store(error) => error.kind(),
            Self::File { .. } => Kind::Internal,
        }
    }

    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// The layers of a root filesystem, by absolute paths without symlinks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// A directory of the caller's, in which what is written is kept.
    pub(crate) scratch: PathBuf,
}

impl Layers {
    /// Takes the layers out of `spec`, which has a plain root then; `None` for one with a root of its own.
    /// Relative paths begin at the bundle.
    pub(crate) fn take(spec: &mut oci::Spec, bundle: &Path) -> Result<Option<Self>, Error> {
        let Some(section) = spec.windows() else { return Ok(None) };
        let layers = Self::read(section, bundle)?;
        let root = spec.root().clone();
        if root.as_ref().is_some_and(|root| !root.path().as_os_str().is_empty()) {
            return Err(invalid("there is a root.path as well: want one of them"));
        }
        let mut root = root.unwrap_or_else(|| {
            let mut root = oci::Root::default();
            // oci-spec's own default is not the specification's.
            root.set_readonly(Some(false));
            root
        });
        root.set_path("rootfs".into());
        spec.set_root(Some(root)).set_windows(None);
        Ok(Some(layers))
    }

    fn read(section: &Value, bundle: &Path) -> Result<Self, Error> {
        let members = section.as_object().ok_or_else(|| invalid("want a list of paths"))?;
        if let Some(other) = members.keys().find(|name| *name != "layerFolders") {
            return Err(Error::Member(other.clone()));
        }
        let list = members.get("layerFolders").and_then(Value::as_array);
        let path = |value: &Value| {
            let text = value.as_str().filter(|text| !text.is_empty());
            text.map(|text| bundle.join(text)).ok_or_else(|| invalid("want a list of paths"))
        };
        let list = list.ok_or_else(|| invalid("want a list of paths"))?;
        let mut lower: Vec<PathBuf> = list.iter().map(path).collect::<Result<_, _>>()?;
        let scratch = lower.pop().filter(|_| !lower.is_empty());
        let scratch =
            scratch.ok_or_else(|| invalid("want one layer or more, and then the scratch space"))?;
        if lower.len() > tree::view::MOST {
            let (count, most) = (lower.len(), tree::view::MOST);
            return Err(invalid(&format!("{count} layers: overlayfs takes {most}")));
        }
        let lower = lower.iter().map(|path| directory(path)).collect::<Result<_, _>>()?;
        let layers = Self { lower, scratch: directory(&scratch)? };
        layers.apart()?;
        Ok(layers)
    }

    /// Refuses layers one of which holds another, which overlayfs does not take.
    fn apart(&self) -> Result<(), Error> {
        let mut all: Vec<&PathBuf> = self.lower.iter().chain([&self.scratch]).collect();
        // Component by component: what a directory holds follows it.
        all.sort();
        match all.windows(2).find(|pair| pair[1].starts_with(pair[0])) {
            None => Ok(()),
            Some([outer, inner]) if outer == inner => {
                Err(invalid(&format!("{} is there twice", inner.display())))
            }
            Some(pair) => {
                let (outer, inner) = (pair[0].display(), pair[1].display());
                Err(invalid(&format!("{inner} is inside {outer}: want directories side by side")))
            }
        }
    }

    /// The options of an overlay, as containerd's snapshotters write them.
    pub(crate) fn options(&self) -> Vec<String> {
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

    /// The directory that takes what is written, and overlayfs's own.
    fn writable(&self) -> (PathBuf, PathBuf) {
        (self.scratch.join("upper"), self.scratch.join("work"))
    }
}

fn invalid(why: &str) -> Error {
    Error::Invalid(why.to_owned())
}

/// The directory at `path` by its own name.
fn directory(path: &Path) -> Result<PathBuf, Error> {
    let found = path.canonicalize().map_err(Error::file("find", path))?;
    if found.is_dir() {
        return Ok(found);
    }
    Err(invalid(&format!("{} is no directory", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Result<Option<Layers>, String> {
        let mut spec = spec::config::spec(text.as_bytes()).expect("valid").value;
        Layers::take(&mut spec, Path::new("/")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_is_the_scratch_space() {
        let found = layers(r#"{"windows": {"layerFolders": ["usr", "/etc/.", "/tmp"]}}"#);
        let want = Layers { lower: vec!["/usr".into(), "/etc".into()], scratch: "/tmp".into() };
        assert_eq!(found, Ok(Some(want)));
        assert_eq!(layers(r#"{"root": {"path": "rootfs"}}"#), Ok(None));
    }

    #[test]
    fn colons_in_names_are_not_between_them() {
        let layers = Layers { lower: vec!["/a:b".into(), r"/c\d".into()], scratch: "/s".into() };
        assert_eq!(
            layers.options(),
            [r"lowerdir=/a\:b:/c\\d", "upperdir=/s/upper", "workdir=/s/work"]
        );
    }

    #[test]
    fn what_names_no_layers_is_refused() {
        let many =
            format!(r#"{{"windows": {{"layerFolders": [{}"/tmp"]}}}}"#, r#""/usr","#.repeat(501));
        for (text, said) in [
            (r#"{"windows": {"layerFolders": ["/tmp"]}}"#, "one layer or more"),
            (r#"{"windows": {"layerFolders": [1, "/tmp"]}}"#, "a list of paths"),
            (r#"{"windows": {}}"#, "a list of paths"),
            (r#"{"windows": {"layerFolders": ["/usr", "/nowhere"]}}"#, "find /nowhere"),
            (r#"{"windows": {"layerFolders": ["/usr", "/etc/passwd"]}}"#, "no directory"),
            (r#"{"windows": {"layerFolders": ["/usr", "/tmp"], "hyperv": {}}}"#, "windows.hyperv"),
            (r#"{"windows": {"layerFolders": ["/usr", "/etc", "/usr/bin"]}}"#, "inside /usr"),
            (
                r#"{"windows": {"layerFolders": ["/usr", "/etc", "/tmp/../usr"]}}"#,
                "/usr is there twice",
            ),
            (&many, "501 layers"),
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
