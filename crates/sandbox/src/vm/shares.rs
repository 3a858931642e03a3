//! The host's directories and files for a guest: between the channel and the server that answers.

use std::io;
use std::sync::Arc;
use std::thread;

use spec::Kind;
use wire::message;

use super::Error;
use super::member::Member;
use super::running::{Running, lock};
use super::translate::Bind;

impl Running {
    /// Starts the server of a container's `binds` and connects it; gives what the agent is to know. A server
    /// that ends before its container has been asked what is no request, and takes the VM with it.
    pub(super) fn share(
        self: &Arc<Self>,
        member: &Arc<Member>,
        binds: &[Bind],
    ) -> Result<Option<message::Shares>, Error> {
        if binds.is_empty() {
            return Ok(None);
        }
        let list: Vec<_> = binds.iter().map(|bind| bind.share.clone()).collect();
        let server = share::start(&list)?;
        if let Some(group) = &*lock(&self.group) {
            group.admit(server.pid().cast_signed()).map_err(Error::Bounds)?;
        }
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
        let (running, of) = (Arc::downgrade(self), Arc::downgrade(member));
        spawn(Box::new(move || {
            let _ = io::copy(&mut out, &mut to);
            if of.upgrade().is_some_and(|member| member.stays()) {
                running.upgrade().inspect(|running| running.machine.kill());
            }
        }))?;
        self.house.invite(requests, server.sockets());
        member.keep(server);
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
