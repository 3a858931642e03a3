//! Work on the files of the guest's containers, as the host does it for its own.

use std::io;
use std::os::fd::OwnedFd;

use container::Store;
use spec::files::{Answer, Request};
use spec::{ContainerId, Kind};
use tree::changes::Layers;
use tree::view;
use wire::frame::StreamId;
use wire::server::Streams;

use crate::rootfs::Place;

/// A container whose files are worked on.
pub(crate) struct Reached<'a> {
    pub(crate) store: &'a Store,
    pub(crate) id: &'a ContainerId,
    pub(crate) place: &'a Place,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Files(#[from] tree::files::Error),
    #[error("stream {0} was not announced")]
    Unannounced(StreamId),
    #[error("container {0} does not exist")]
    NoContainer(ContainerId),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Files(error) => error.kind(),
            Self::Unannounced(_) => Kind::Invalid,
            Self::NoContainer(_) => Kind::NotFound,
        }
    }
}

impl Reached<'_> {
    /// Does the work. What it writes is on the disk afterwards.
    pub(crate) fn serve(
        &self,
        request: &Request,
        input: Option<wire::Receiver>,
        output: Option<StreamId>,
        streams: &Streams,
    ) -> Result<Answer, Error> {
        let answer = match (input, output) {
            (Some(input), _) => tree::files::serve(self, request, input, io::sink())?,
            (None, Some(id)) => tree::files::serve(self, request, io::empty(), streams.sender(id))?,
            (None, None) => tree::files::serve(self, request, io::empty(), io::sink())?,
        };
        if request.takes_data() {
            rustix::fs::sync();
        }
        Ok(answer)
    }
}

impl tree::files::Container for Reached<'_> {
    fn root(&self) -> io::Result<OwnedFd> {
        let init = self.store.load(self.id).ok().and_then(|container| container.pid());
        match init {
            Some(pid) => view::open(format!("/proc/{pid}/root").as_ref()),
            None => self.whole(),
        }
    }

    fn whole(&self) -> io::Result<OwnedFd> {
        view::open(&self.place.rootfs())
    }

    fn layers(&self) -> io::Result<Layers> {
        let (upper, lower) = (self.place.upper(), self.place.image());
        Ok(Layers { upper: view::open(&upper)?, lower: view::open(&lower)? })
    }
}
