//! Telling containerd what happened, over its ttrpc socket.
//!
//! containerd names the socket in `TTRPC_ADDRESS`; our own engine sets none and hears no events. One
//! thread sends them in order, so that no task call waits for containerd.
//!
//! Spec: containerd, runtime v2 "Events".

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::EventsClient;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use ttrpc::context::{self, Context};

/// The environment variable with the path of containerd's ttrpc socket.
const ADDRESS: &str = "TTRPC_ADDRESS";
/// The key under which containerd's ttrpc calls carry the namespace.
const NAMESPACE_KEY: &str = "containerd-namespace-ttrpc";
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often an event is tried while containerd is away, once a second.
const TRIES: u32 = 10;

/// The way to containerd, if there is one.
pub(crate) struct Events {
    namespace: String,
    queue: Mutex<Option<Queue>>,
}

struct Queue {
    sender: Sender<Envelope>,
    /// Closed when the last event has been dealt with.
    done: Receiver<()>,
}

impl Events {
    /// To the containerd that this program's environment names.
    pub(crate) fn from_environment(namespace: &str) -> Self {
        let address = std::env::var(ADDRESS).ok().filter(|address| !address.is_empty());
        let queue = address.and_then(|address| Queue::open(&address, namespace));
        Self { namespace: namespace.to_owned(), queue: Mutex::new(queue) }
    }

    /// Queues an event; those of one caller arrive in order.
    pub(crate) fn publish<M: Message>(&self, topic: &str, event: &M) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        let mut envelope = Envelope::new();
        envelope.timestamp = MessageField::some(SystemTime::now().into());
        envelope.namespace.clone_from(&self.namespace);
        topic.clone_into(&mut envelope.topic);
        let mut any = Any::new();
        any.type_url = format!("containerd.events.{}", M::NAME);
        any.value = event.write_to_bytes().expect("proto3 has no required fields");
        envelope.event = MessageField::some(any);
        // The thread ends only with the queue.
        let _ = queue.sender.send(envelope);
    }

    /// Waits until all events are sent, at most for `patience`. No event can follow.
    pub(crate) fn finish(&self, patience: Duration) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Queue { sender, done }) = queue {
            drop(sender);
            let _ = done.recv_timeout(patience);
        }
    }
}

impl Queue {
    fn open(address: &str, namespace: &str) -> Option<Self> {
        let (sender, envelopes) = mpsc::channel();
        let (alive, done) = mpsc::channel::<()>();
        let address = format!("unix://{}", address.strip_prefix("unix://").unwrap_or(address));
        let namespace = namespace.to_owned();
        let run = move || {
            forward(&address, &namespace, &envelopes);
            drop(alive);
        };
        match thread::Builder::new().name("events".into()).spawn(run) {
            Ok(_) => Some(Self { sender, done }),
            Err(error) => {
                tracing::error!(%error, "events cannot be sent");
                None
            }
        }
    }
}

fn forward(address: &str, namespace: &str, envelopes: &Receiver<Envelope>) {
    let mut client = None;
    for envelope in envelopes {
        let mut request = ForwardRequest::new();
        request.envelope = MessageField::some(envelope);
        for attempt in 1..=TRIES {
            match send(&mut client, address, namespace, &request) {
                Ok(()) => break,
                Err(error) if attempt == TRIES => {
                    tracing::warn!(%error, topic = request.envelope.topic, "event dropped");
                }
                Err(_) => thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}

/// Sends over the connection that there is, or a new one; after a failure there is none.
fn send(
    client: &mut Option<EventsClient>,
    address: &str,
    namespace: &str,
    request: &ForwardRequest,
) -> ttrpc::Result<()> {
    let connected = match client.take() {
        Some(client) => client,
        None => EventsClient::new(ttrpc::Client::connect(address)?),
    };
    connected.forward(calling(namespace), request)?;
    *client = Some(connected);
    Ok(())
}

fn calling(namespace: &str) -> Context {
    let mut context = context::with_duration(TIMEOUT);
    context.set(NAMESPACE_KEY.to_owned(), vec![namespace.to_owned()]);
    context
}
