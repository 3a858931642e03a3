//! The shim's end: calls, and the streams it opens.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use spec::{Kind, ProcessId, ProcessInfo, Usage, files};

use crate::frame::{Frame, Side, StreamId, Type, Violation};
use crate::link::{Ended, Link};
use crate::message::{Failure, Reply, Request, Visitor};
use crate::{Receiver, Sender};

/// The connection to an agent. Cheap to share; it ends with the channel.
pub struct Client {
    link: Arc<Link>,
    calls: Arc<Calls>,
}

/// Who waits for which answer. An answer that nobody waits for any more is dropped.
#[derive(Default)]
struct Calls {
    waiting: Mutex<HashMap<u32, mpsc::SyncSender<Answer>>>,
    /// How many calls were made; they are numbered from 1 on.
    made: AtomicU32,
}

type Answer = Result<Reply, Failure>;

/// What a client's thread does.
pub(crate) struct Reading {
    link: Arc<Link>,
    calls: Arc<Calls>,
}

/// A call whose answer has still to be waited for.
#[derive(Debug)]
pub struct Pending {
    number: u32,
    answer: mpsc::Receiver<Answer>,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent did what it could and refused or failed.
    #[error(transparent)]
    Remote(#[from] Failure),
    /// The channel to it ended.
    #[error("call the agent in the VM")]
    Ended(#[source] Arc<Ended>),
    /// It took longer than it may.
    #[error("the agent in the VM gave no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The request holds something that JSON cannot say.
    #[error("write the request")]
    Encode(#[source] serde_json::Error),
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Remote(failure) => failure.kind,
            Self::Ended(ended) if matches!(**ended, Ended::TooLong(_)) => Kind::Invalid,
            Self::Ended(_) | Self::TimedOut(_) => Kind::Unavailable,
            Self::Encode(_) => Kind::Invalid,
            Self::Thread(_) => Kind::Exhausted,
        }
    }
}

impl Client {
    /// Starts a connection over the two halves of a channel on whose other end an agent serves.
    ///
    /// A thread reads `reader` until it ends; give `writer` a timeout where the guest might stop
    /// reading.
    pub fn start(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> Result<Self, Error> {
        let (client, reading) = Self::over(writer);
        let read = move || drop(reading.read(reader));
        thread::Builder::new().name("wire".into()).spawn(read).map_err(Error::Thread)?;
        Ok(client)
    }

    /// The same, but nobody reads yet.
    pub(crate) fn over(writer: impl Write + Send + 'static) -> (Self, Reading) {
        let (link, calls) = (Link::new(writer), Arc::<Calls>::default());
        let reading = Reading { link: Arc::clone(&link), calls: Arc::clone(&calls) };
        (Self { link, calls }, reading)
    }

    /// A number for a new stream.
    pub fn stream(&self) -> StreamId {
        self.link.number()
    }

    /// The sending end of stream `id`. To be used once the agent knows of it.
    pub fn sender(&self, id: StreamId) -> Sender {
        self.link.sender(id)
    }

    /// The receiving end of stream `id`. To be made before the agent knows of it.
    pub fn receiver(&self, id: StreamId) -> Receiver {
        self.link.receiver(id)
    }

    /// Calls the agent and waits for its answer, `within` a time or for ever.
    pub fn call(&self, request: &Request, within: Option<Duration>) -> Result<Reply, Error> {
        self.finish(&self.begin(request)?, within)
    }

    /// Calls the agent, and goes on; what it answers is to be asked for by [`Client::finish`].
    pub fn begin(&self, request: &Request) -> Result<Pending, Error> {
        let number = self.calls.made.fetch_add(1, Ordering::AcqRel) + 1;
        let body = serde_json::to_vec(request).map_err(Error::Encode)?;
        let (sender, answer) = mpsc::sync_channel(1);
        self.calls.lock().insert(number, sender);
        // Whoever ends the link forgets the calls afterwards; a call made later sees it here.
        if let Err(ended) = self.link.send(&Frame::new(number, Type::Call, body)) {
            self.calls.lock().remove(&number);
            return Err(Error::Ended(ended));
        }
        Ok(Pending { number, answer })
    }

    /// Waits for the answer to a call, `within` a time or for ever.
    pub fn finish(&self, call: &Pending, within: Option<Duration>) -> Result<Reply, Error> {
        let received = match within {
            Some(limit) => call.answer.recv_timeout(limit),
            None => call.answer.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        self.calls.lock().remove(&call.number);
        match (received, within) {
            (Ok(answer), _) => answer.map_err(Error::Remote),
            (Err(RecvTimeoutError::Timeout), Some(limit)) => Err(Error::TimedOut(limit)),
            (Err(_), _) => Err(Error::Ended(self.ended())),
        }
    }

    /// Calls for something that has no result.
    pub fn order(&self, request: &Request, within: Option<Duration>) -> Result<(), Error> {
        self.done(&self.begin(request)?, within)
    }

    /// Waits until something is done that has no result, `within` a time or for ever.
    pub fn done(&self, call: &Pending, within: Option<Duration>) -> Result<(), Error> {
        match self.finish(call, within)? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits for a process to end; gives its exit code.
    pub fn wait(&self, process: ProcessId) -> Result<u8, Error> {
        match self.call(&Request::Wait { process }, None)? {
            Reply::Exit { code } => Ok(code),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The container's processes.
    pub fn processes(
        &self,
        request: &Request,
        within: Duration,
    ) -> Result<Vec<ProcessInfo>, Error> {
        match self.call(request, Some(within))? {
            Reply::Processes { list } => Ok(list),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What the container uses.
    pub fn usage(&self, request: &Request, within: Duration) -> Result<Usage, Error> {
        match self.call(request, Some(within))? {
            Reply::Usage { usage } => Ok(*usage),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits for a visitor in the guest, who is to pass by these two streams.
    pub fn receive(&self, from: StreamId, to: StreamId) -> Result<Visitor, Error> {
        match self.call(&Request::Receive { from, to }, None)? {
            Reply::Came { visitor } => Ok(visitor),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Has work on a container's files done.
    pub fn files(
        &self,
        request: &Request,
        within: Option<Duration>,
    ) -> Result<files::Answer, Error> {
        match self.call(request, within)? {
            Reply::Files { answer } => Ok(answer),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The agent answered, but not what was asked: it is not ours any more.
    fn unexpected(&self, reply: &Reply) -> Error {
        let reason = format!("{} instead", reply.name());
        Error::Ended(self.link.end(Ended::Violation(Violation::Answer { call: 0, reason })))
    }

    fn ended(&self) -> Arc<Ended> {
        self.link.check().err().unwrap_or_else(|| Arc::new(Ended::Closed))
    }
}

impl Reading {
    /// Reads until the channel ends, and says how it did; then whoever waits for an answer knows, too.
    pub(crate) fn read(self, reader: impl Read) -> Arc<Ended> {
        let ended = self.link.read(reader, Side::Shim, |frame| self.calls.answer(&frame));
        self.calls.lock().clear();
        ended
    }
}

impl Calls {
    fn answer(&self, frame: &Frame) -> Result<(), Violation> {
        let call = frame.number;
        let refuse = |reason| Violation::Answer { call, reason };
        if !(1..=self.made.load(Ordering::Acquire)).contains(&call) {
            return Err(refuse("nobody made that call".into()));
        }
        let answer = serde_json::from_slice::<Answer>(&frame.body)
            .map_err(|error| refuse(error.to_string()))?;
        if let Some(waiting) = self.lock().remove(&call) {
            // It has room for one and gets one; whoever waited may have given up.
            let _ = waiting.try_send(answer.map_err(Failure::sanitized));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, mpsc::SyncSender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
