//! What the engine tells a shim of a container's log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The file in a container's streams directory that holds a [`Plan`]. Without it the shim keeps one
/// log that only grows, `json.log` in the same directory.
pub const FILE: &str = "log.json";

/// Where a container's log goes, and how it is kept small.
///
/// Older files are `PATH.1`, `PATH.2` and so on, or the same with `.gz`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The newest file; `None` for no log at all.
    pub path: Option<PathBuf>,
    /// Bytes after which a new file is begun; `None` for never.
    pub max_size: Option<u64>,
    /// How many files there are at most, the newest among them; at least one.
    pub max_files: u32,
    /// Whether older files are compressed by gzip.
    pub compress: bool,
    /// What is written with each line.
    pub attributes: BTreeMap<String, String>,
}
