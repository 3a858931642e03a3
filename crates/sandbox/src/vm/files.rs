//! The files of a container in a VM: its agent is asked, with the code that the host uses for its own.
//!
//! Of a container that does not run only the disk is there, written by a guest that nobody trusts: no
//! kernel of the host mounts it. A VM without network is started with the same disks, a clone of the
//! template as any other, and its agent does the work.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spec::files::{Answer, Request as Work};
use spec::oci::runtime as oci;
use spec::{ContainerId, annotation};
use tree::graft::is_bind;
use wire::{Receiver, Request, Sender, client};

use super::member::Member;
use super::refresh::Outside;
use super::running::{PATIENCE, Parts, Running, lock};
use super::translate::{self, Bind};
use super::{Error, Vm, cgroup, image, memory, on_disks, processors};
use crate::Bundle;

/// How often to look whether data still passes.
const GLANCE: Duration = Duration::from_millis(100);

impl Vm {
    /// The VM with the container's disks, without its program: the one there is, or a new one.
    pub(super) fn still(&self, id: &ContainerId, bundle: &Bundle) -> Result<Arc<Running>, Error> {
        // Looked at before the other is locked: whoever makes a container locks them in this order.
        if self.slot().as_ref().is_some_and(|running| running.first == *id) {
            return Err(Error::Lingers(id.clone()));
        }
        let mut slot = self.still_slot();
        if let Some(running) = slot.as_ref().filter(|running| running.member(id).is_ok()) {
            return Ok(Arc::clone(running));
        }
        let annotations = bundle.spec.annotations().as_ref();
        let scratch = annotations.and_then(|all| all.get(annotation::SCRATCH_MIB)?.parse().ok());
        let disks = image::disks(&self.options, &bundle.rootfs, scratch)?;
        let parts = Parts {
            kernel: String::new(),
            hostname: id.to_string(),
            memory_mib: memory(&bundle.spec, &self.options),
            cpus: processors(&bundle.spec, &self.options),
            netns: None,
            member: Member::new(id.clone(), bundle, Outside::default(), &[])?,
        };
        let running = Arc::new(Running::start(&self.options, parts, &disks)?);
        running.hold(&mut lock(&running.group), cgroup(&bundle.spec).as_deref())?;
        let member = running.member(id)?;
        running.order(&Request::Open {
            container: id.clone(),
            rootfs: on_disks(),
            shares: running.share(&member, &binds(&bundle.spec))?,
        })?;
        Ok(Arc::clone(slot.insert(running)))
    }
}

impl Running {
    /// See [`crate::Sandbox::files`].
    pub(super) fn files(
        &self,
        container: ContainerId,
        work: &Work,
        data: Option<UnixStream>,
    ) -> Result<Answer, Error> {
        let _awake = self.awake()?;
        let (request, stream) = (work.clone(), data.is_some().then(|| self.client.stream()));
        let call = Request::Files { container, request, data: stream };
        let Some((id, data)) = stream.zip(data) else {
            return self.client.files(&call, Some(PATIENCE)).map_err(|error| self.explain(error));
        };
        let hang_up = data.try_clone().map_err(Error::Data)?;
        let passing = if work.takes_data() {
            self.order(&Request::Expect { stream: id })?;
            let to = self.client.sender(id);
            thread::Builder::new().name("files".into()).spawn(move || give(data, to))
        } else {
            let from = self.client.receiver(id);
            thread::Builder::new().name("files".into()).spawn(move || take(from, data))
        };
        let passing = passing.map_err(Error::Thread)?;
        let answer = self.await_answer(call, &passing)?.map_err(|error| self.explain(error));
        if answer.is_err() {
            // An agent that failed need not have ended its stream; where it has, this changes nothing.
            let _ = hang_up.shutdown(std::net::Shutdown::Both);
        }
        let answer = answer?;
        match passing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(()) => Ok(answer),
            Err(error) => Err(Error::Data(error)),
        }
    }

    /// Waits for an answer as long as data passes, and a while longer: not for ever.
    fn await_answer(
        &self,
        call: Request,
        passing: &JoinHandle<io::Result<()>>,
    ) -> Result<Result<Answer, client::Error>, Error> {
        let (client, (sender, answer)) = (Arc::clone(&self.client), mpsc::channel());
        let ask = move || sender.send(client.files(&call, None)).unwrap_or_default();
        thread::Builder::new().name("files".into()).spawn(ask).map_err(Error::Thread)?;
        loop {
            let passed = passing.is_finished();
            match answer.recv_timeout(if passed { PATIENCE } else { GLANCE }) {
                Ok(answer) => return Ok(answer),
                Err(_) if passed => return Ok(Err(client::Error::TimedOut(PATIENCE))),
                Err(_) => {}
            }
        }
    }
}

/// The bind mounts of a container that does not run, those on top last. One whose source has gone is
/// not seen.
fn binds(spec: &oci::Spec) -> Vec<Bind> {
    let mounts = spec.mounts().iter().flatten().filter(|mount| is_bind(mount));
    let told = |error: &translate::Error| {
        tracing::warn!(error = %spec::chain(error), "mount is not seen among the files");
    };
    let mut binds: Vec<_> =
        mounts.filter_map(|mount| translate::bind(mount).inspect_err(told).ok()).collect();
    binds.sort_by_key(|bind| bind.destination.components().count());
    binds
}

/// Passes an archive to the agent, which may have enough before its end.
fn give(mut from: UnixStream, mut to: Sender) -> io::Result<()> {
    match io::copy(&mut from, &mut to) {
        Err(error) if !tree::files::is_enough(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Passes an archive on from the agent.
fn take(mut from: Receiver, mut to: UnixStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.flush()
}
