//! What a build asks of the engine: containers for `RUN`, images that are not here, users' numbers.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use image::{Draft, Image, Platform, Reference};
use spec::{Digest, Kind};

use crate::room::Hidden;

/// A command that is run in a container.
#[derive(Debug, Clone)]
pub struct Command {
    /// What it begins with; `None` for an empty root, in which no command can be.
    pub image: Option<Digest>,
    /// Its words; the first is looked for in the image's `PATH`.
    pub words: Vec<String>,
    /// Its whole environment.
    pub env: Vec<String>,
    /// Absolute.
    pub working_dir: String,
    /// `user[:group]`; empty for root.
    pub user: String,
    /// `none` or `host` for something else than the build's network.
    pub network: Option<String>,
    /// Whether it may do everything that root may.
    pub insecure: bool,
    /// What it sees besides.
    pub mounts: Vec<Mount>,
    /// What of it must be on no disk; to live as long as the command's container.
    pub hidden: Option<Arc<Hidden>>,
}

/// Something that a build is made of besides its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingredient<'a> {
    /// An image, by its whole name.
    Image(&'a str),
    /// A file at an address.
    File(&'a str),
    /// A repository of git's, as `ADD` names it.
    Repository(&'a str),
}

/// Something that a command sees but that is not in its layer.
#[derive(Debug, Clone)]
pub struct Mount {
    /// A directory or file of the host's; `None` for an empty file system in memory.
    pub source: Option<PathBuf>,
    /// Where in the container.
    pub target: String,
    /// Whether it can only be read.
    pub readonly: bool,
    /// Bytes of a file system in memory.
    pub size: Option<u64>,
}

/// What happens while a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Its container was made.
    Made(String),
    /// It has written something.
    Output(Vec<u8>),
    /// Its container is gone.
    Removed(String),
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It ended with a status that is not 0.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Failed {
        /// Its words.
        command: String,
        /// The status.
        code: u8,
    },
    /// The engine could not do it.
    #[error("{text}")]
    Engine {
        /// Its words.
        text: String,
        /// What can be done.
        kind: Kind,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Failed { .. } => Kind::Invalid,
            Self::Engine { kind, .. } => *kind,
        }
    }
}

/// What is done later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The engine, as a build sees it.
pub trait Runner: Send + Sync {
    /// Runs a command to its end; gives what it has written, as a layer on its image. When this is dropped before, the
    /// command is ended and nothing of it stays.
    fn run<'a>(
        &'a self,
        command: Command,
        told: &'a (dyn Fn(Told) + Send + Sync),
    ) -> Later<'a, Draft>;

    /// Whether a build may be made of this; everything is allowed where nobody says otherwise.
    fn permit<'a>(&'a self, _ingredient: Ingredient<'a>) -> Later<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Fetches an image.
    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
        told: &'a (dyn Fn(image::Progress) + Send + Sync),
    ) -> Later<'a, Image>;

    /// The numbers of `user[:group]` in an image; of no image only numbers can be known.
    fn identity<'a>(&'a self, image: Option<&'a Digest>, user: &'a str) -> Later<'a, (u32, u32)>;
}
