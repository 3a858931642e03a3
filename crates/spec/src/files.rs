//! What the engine asks about a container's files, of whoever stands at its side of the wall.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::ContainerId;
use crate::options::Options;

/// The service of our own beside containerd's task API, and its one method. Its messages are JSON:
/// [`Call`] and [`Answer`].
pub const SERVICE: &str = "dev.hull.Files";
/// See [`SERVICE`].
pub const METHOD: &str = "Serve";

/// One piece of work on a container's files. Paths are the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What is at a path: [`Answer::Stat`].
    Stat {
        /// Which.
        path: String,
    },
    /// An archive of what is there, as data.
    Get {
        /// Where.
        path: String,
    },
    /// Unpacks the archive that is the data, not compressed.
    Put(Put),
    /// The whole tree without what is mounted on it, as an archive.
    Export,
    /// What the writable layer changes, as data: a JSON object of [`Change`] a line.
    Changes,
    /// The writable layer as an image's layer.
    Layer,
}

/// How an archive is to be put into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// A directory.
    pub path: String,
    /// Refuse to put a directory in a file's place, or a file in a directory's.
    pub keep_kinds: bool,
    /// Whose everything becomes; `None` leaves the archive's owners.
    pub owner: Option<(u32, u32)>,
}

impl Request {
    /// Whether it comes with data; if not, it may give some.
    #[must_use]
    pub fn takes_data(&self) -> bool {
        matches!(self, Self::Put(_))
    }

    /// Whether it is about a path, so that what is mounted in the container is seen.
    #[must_use]
    pub fn sees_mounts(&self) -> bool {
        matches!(self, Self::Stat { .. } | Self::Get { .. } | Self::Put(_))
    }
}

/// What comes of a [`Request`] besides data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done, and the data complete.
    Done,
    /// What there is.
    Stat(PathStat),
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// The last component of the path.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Kind and permissions as Linux has them.
    pub mode: u32,
    /// When it was changed.
    pub mtime: SystemTime,
    /// Where a symlink leads inside the container; empty for anything else.
    pub link_target: String,
}

/// A difference between a container and its image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Absolute, in the container.
    pub path: String,
    /// What about it.
    pub kind: ChangeKind,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is another, or something beneath it is.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// A [`Request`] on its way to a shim, with all that one needs to know of a container that does not run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// Whose files.
    pub container: ContainerId,
    /// What to do with them.
    pub request: Request,
    /// A socket that the engine listens on: the shim connects and the data passes there, to its end.
    pub data: Option<PathBuf>,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The host's set-up.
    pub options: Options,
    /// The image's layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// The writable layer's place.
    pub upper: PathBuf,
    /// Overlayfs's own.
    pub work: PathBuf,
    /// The part of a configuration that matters to a container that does not run: the annotation of its
    /// wall, and its bind mounts.
    pub config: serde_json::Value,
}
