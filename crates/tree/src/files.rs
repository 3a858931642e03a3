//! Work on a container's files: one procedure for the host's containers and for a guest's.
//!
//! ```text
//!   stat, get, put            the root that its program sees      -> path
//!   export                    its layers as one tree              -> pack
//!   changes, layer            the writable layer above the image  -> changes
//! ```

use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use spec::Kind;
use spec::files::{Answer, Request};

use crate::changes::{self, Layers};
use crate::pack::{self, Marks, Packer};
use crate::{path, unpack};

/// Bytes written at a time.
const PIECE: usize = 64 << 10;

/// The container whose files are worked on. Each is asked for only when it is needed.
pub trait Container {
    /// Its root, as its program sees it.
    fn root(&self) -> io::Result<OwnedFd>;
    /// The root of its layers as one tree; what is mounted on it is not seen.
    fn whole(&self) -> io::Result<OwnedFd>;
    /// Its layers apart.
    fn layers(&self) -> io::Result<Layers>;
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is at the path.
    #[error("nothing is at {path:?} in the container")]
    Absent {
        /// As it was asked for.
        path: String,
    },
    /// What is at the path cannot be seen.
    #[error("look for {path:?} in the container")]
    Look {
        /// As it was asked for.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// An archive is to be unpacked into a file. The text is Docker's.
    #[error("extraction point is not a directory")]
    NoDirectory,
    /// Its root or layers are out of reach.
    #[error("reach the container's files")]
    Reach(#[source] io::Error),
    /// Its layers cannot be compared.
    #[error("compare the container's layers")]
    Compare(#[source] io::Error),
    /// The list of changes cannot be given.
    #[error("write the list of changes")]
    List(#[source] io::Error),
    /// The tree could not be packed.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// The archive could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] unpack::extract::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Absent { .. } => Kind::NotFound,
            Self::NoDirectory => Kind::Invalid,
            Self::Unpack(error) => error.kind(),
            Self::Look { .. }
            | Self::Reach(_)
            | Self::Compare(_)
            | Self::List(_)
            | Self::Pack(_) => Kind::Internal,
        }
    }
}

/// Does what is asked. Data is read from `input` and written to `output`. Blocks.
pub fn serve(
    container: &impl Container,
    request: &Request,
    input: impl Read,
    output: impl Write,
) -> Result<Answer, Error> {
    let mut output = BufWriter::with_capacity(PIECE, output);
    match request {
        Request::Stat { path } => {
            let root = container.root().map_err(Error::Reach)?;
            return Ok(Answer::Stat(path::stat(&root, path)?));
        }
        Request::Get { path } => {
            path::read(&container.root().map_err(Error::Reach)?, path, &mut output)?;
        }
        Request::Put(how) => {
            path::write(container.root().map_err(Error::Reach)?, how, input)?;
        }
        Request::Export => {
            let whole = container.whole().map_err(Error::Reach)?;
            let mut packer = Packer::new(&mut output, whole.as_fd(), Marks::Files, &|_| false);
            packer.add(b".", b"")?;
            packer.finish()?;
        }
        Request::Changes => list(&container.layers().map_err(Error::Reach)?, &mut output)?,
        Request::Layer => {
            changes::pack(&container.layers().map_err(Error::Reach)?, &mut output)?;
        }
    }
    output.flush().map_err(|error| Error::Pack(pack::Error::Write(error)))?;
    Ok(Answer::Done)
}

/// Whether writing an archive failed because whoever unpacks it takes no more: what became of it, the
/// answer says.
pub fn is_enough(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn list(layers: &Layers, mut output: impl Write) -> Result<(), Error> {
    for change in changes::changes(layers).map_err(Error::Compare)? {
        let line = serde_json::to_string(&change).expect("a path and a kind become JSON");
        writeln!(output, "{line}").map_err(Error::List)?;
    }
    Ok(())
}
