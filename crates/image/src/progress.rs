//! What a pull or push tells while it runs.
//!
//! The words are docker's, because its client and every script around it read them: `docker pull`
//! draws one line for each id.

use std::fmt;

use spec::Digest;

use crate::Reference;

/// One step of a pull or push. Maps field by field to docker's `{"status","id","progressDetail"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The line it belongs to: the first 12 digits of a layer's digest, or the tag being pulled.
    pub id: Option<String>,
    /// What happens; prints docker's text.
    pub status: Status,
    /// How far a download or an unpacking is.
    pub bytes: Option<Bytes>,
}

/// Bytes done of bytes to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Done.
    pub current: u64,
    /// To do.
    pub total: u64,
}

/// What happens; prints docker's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The manifest was found; the repository without its registry.
    PullingFrom(String),
    /// A layer is to be fetched.
    PullingFsLayer,
    /// Its turn has not come.
    Waiting,
    /// Bytes arrive.
    Downloading,
    /// The connection broke; the next attempt starts after this many seconds.
    Retrying(u64),
    /// All bytes are here and are being checked.
    VerifyingChecksum,
    /// The blob is in the store.
    DownloadComplete,
    /// The layer is being unpacked.
    Extracting,
    /// The layer is unpacked.
    PullComplete,
    /// The layer was here before.
    AlreadyExists,
    /// The digest that the name led to.
    Digest(Digest),
    /// The end: the name leads to another image than before.
    Downloaded(Reference),
    /// The end: nothing changed.
    UpToDate(Reference),
    /// A layer of an archive is being unpacked.
    LoadingLayer,
    /// A push begins; the repository with its registry.
    PushRefersTo(String),
    /// It is looked whether the registry has the layer.
    Preparing,
    /// Bytes leave.
    Pushing,
    /// The registry has the layer now.
    Pushed,
    /// The registry had the layer before.
    LayerAlreadyExists,
    /// A push's end.
    PushedAs {
        /// The tag.
        tag: String,
        /// The manifest.
        digest: Digest,
        /// Its bytes.
        size: u64,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullingFrom(repository) => write!(f, "Pulling from {repository}"),
            Self::PullingFsLayer => f.write_str("Pulling fs layer"),
            Self::Waiting => f.write_str("Waiting"),
            Self::Downloading => f.write_str("Downloading"),
            Self::Retrying(1) => f.write_str("Retrying in 1 second"),
            Self::Retrying(seconds) => write!(f, "Retrying in {seconds} seconds"),
            Self::VerifyingChecksum => f.write_str("Verifying Checksum"),
            Self::DownloadComplete => f.write_str("Download complete"),
            Self::Extracting => f.write_str("Extracting"),
            Self::PullComplete => f.write_str("Pull complete"),
            Self::AlreadyExists => f.write_str("Already exists"),
            Self::Digest(digest) => write!(f, "Digest: {digest}"),
            Self::Downloaded(name) => write!(f, "Status: Downloaded newer image for {name}"),
            Self::PushRefersTo(name) => write!(f, "The push refers to repository [{name}]"),
            Self::LoadingLayer => f.write_str("Loading layer"),
            Self::Preparing => f.write_str("Preparing"),
            Self::Pushing => f.write_str("Pushing"),
            Self::Pushed => f.write_str("Pushed"),
            Self::LayerAlreadyExists => f.write_str("Layer already exists"),
            Self::PushedAs { tag, digest, size } => {
                write!(f, "{tag}: digest: {digest} size: {size}")
            }
            Self::UpToDate(name) => write!(f, "Status: Image is up to date for {name}"),
        }
    }
}

impl Progress {
    /// A line of the whole pull.
    pub(crate) fn of(status: Status) -> Self {
        Self { id: None, status, bytes: None }
    }

    /// A line of one layer.
    pub(crate) fn layer(layer: &Digest, status: Status) -> Self {
        Self { id: Some(short(layer)), status, bytes: None }
    }

    /// A line of one layer with a bar.
    pub(crate) fn bar(layer: &Digest, status: Status, current: u64, total: u64) -> Self {
        Self { id: Some(short(layer)), status, bytes: Some(Bytes { current, total }) }
    }
}

/// The 12 digits by which docker shows a digest.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}
