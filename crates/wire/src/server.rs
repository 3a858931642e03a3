//! The agent's end: calls to be answered, and the streams that they name.

use std::io::{self, Read, Write};
use std::sync::{Arc, mpsc};
use std::thread;

use spec::Kind;

use crate::frame::{Frame, MAX_ANSWER, Side, StreamId, Type};
use crate::link::{Ended, Link};
use crate::message::{Failure, Reply, Request};
use crate::{Receiver, Sender};

/// The connection to the shim.
pub struct Server {
    link: Arc<Link>,
    calls: mpsc::Receiver<Call>,
}

/// One call. It must be answered; the shim waits.
pub struct Call {
    /// What is asked.
    pub request: Request,
    number: u32,
    link: Arc<Link>,
}

/// Opens the streams that a call names; for threads that outlive the call.
#[derive(Clone)]
pub struct Streams(Arc<Link>);

impl Server {
    /// Starts serving the channel; a thread reads it until it ends.
    pub fn start(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let link = Link::new(writer);
        let reading = Arc::clone(&link);
        let (sender, calls) = mpsc::channel();
        let read = move || {
            reading.read(reader, Side::Agent, |frame| {
                if let Some(call) = parse(&reading, &frame) {
                    // Nobody takes calls any more: the agent is on its way down.
                    let _ = sender.send(call);
                }
                Ok(())
            });
        };
        thread::Builder::new().name("wire".into()).spawn(read)?;
        Ok(Self { link, calls })
    }

    /// The next call; `None` when the channel has ended.
    pub fn next_call(&self) -> Option<Call> {
        self.calls.recv().ok()
    }

    /// How the channel ended, once it has.
    pub fn ended(&self) -> Option<Arc<Ended>> {
        self.link.check().err()
    }

    /// The streams.
    pub fn streams(&self) -> Streams {
        Streams(Arc::clone(&self.link))
    }
}

/// The call in a frame. One that cannot be read is answered here.
fn parse(link: &Arc<Link>, frame: &Frame) -> Option<Call> {
    match serde_json::from_slice(&frame.body) {
        Ok(request) => Some(Call { request, number: frame.number, link: Arc::clone(link) }),
        Err(error) => {
            let failure = Failure::new(Kind::Invalid, format!("read the request: {error}"));
            send(link, frame.number, &Err(failure));
            None
        }
    }
}

impl Call {
    /// Answers it. When the shim is gone meanwhile, nobody misses the answer.
    pub fn answer(self, outcome: &Result<Reply, Failure>) {
        send(&self.link, self.number, outcome);
    }
}

fn send(link: &Link, number: u32, outcome: &Result<Reply, Failure>) {
    let mut body = serde_json::to_vec(outcome).expect("an answer always becomes JSON");
    if body.len() > MAX_ANSWER as usize {
        let message = format!("the answer is too long: {} bytes", body.len());
        let failure: Result<Reply, _> = Err(Failure::new(Kind::Exhausted, message));
        body = serde_json::to_vec(&failure).expect("as above");
    }
    // Errors end the link, which the serving loop sees.
    let _ = link.send(&Frame::new(number, Type::Answer, body));
}

impl Streams {
    /// The sending end of stream `id`.
    pub fn sender(&self, id: StreamId) -> Sender {
        self.0.sender(id)
    }

    /// The receiving end of stream `id`; to be made before the call that names it is answered.
    pub fn receiver(&self, id: StreamId) -> Receiver {
        self.0.receiver(id)
    }
}
