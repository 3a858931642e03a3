//! The host's directories and files for a guest: between the channel and the server that answers.

use std::io;
use std::sync::Arc;
use std::thread;

use spec::Kind;
use wire::message;

use super::Error;
use super::running::Running;
use super::translate::Bind;

impl Running {
    /// Starts the server of `binds` and connects it; gives what the agent is to know. A server that ends
    /// before the guest has been asked what is no request, and takes the VM with it.
    pub(super) fn share(
        self: &Arc<Self>,
        binds: &[Bind],
    ) -> Result<Option<message::Shares>, Error> {
        if binds.is_empty() {
            return Ok(None);
        }
        let list: Vec<_> = binds.iter().map(|bind| bind.share.clone()).collect();
        let server = share::start(&list)?;
        let (requests, answers) = (self.client.stream(), self.client.stream());
        let (mut from, mut to) = (self.client.receiver(requests), self.client.sender(answers));
        let (mut into, mut out) =
            (server.channel().map_err(Error::Channel)?, server.channel().map_err(Error::Channel)?);
        let spawn = |work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name("share".into()).spawn(work).map_err(Error::Thread)
        };
        spawn(Box::new(move || {
            // Either end may go first; who is left sees it.
            let _ = io::copy(&mut from, &mut into);
        }))?;
        let running = Arc::downgrade(self);
        spawn(Box::new(move || {
            let _ = io::copy(&mut out, &mut to);
            running.upgrade().inspect(|running| running.machine.kill());
        }))?;
        self.keep(server);
        let mounts = binds.iter().map(|bind| (bind.destination.clone(), bind.share.readonly));
        Ok(Some(message::Shares { requests, answers, mounts: mounts.collect() }))
    }
}

/// What a caller can do about it.
pub(super) fn kind(error: &share::Error) -> Kind {
    match error {
        share::Error::Source { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Kind::NotFound
        }
        share::Error::Source { .. } | share::Error::Ended(_) => Kind::Internal,
        share::Error::Start(_) => Kind::Exhausted,
    }
}
