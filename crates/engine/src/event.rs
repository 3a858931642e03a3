//! What happened, told to whoever listens.
//!
//! The last [`KEPT`] events are kept, so that a client can ask for those of the recent past. A
//! listener that is further behind than that loses the oldest. As dockerd's they are kept in memory: an
//! engine that starts again does not tell what another told, but of containers that ended meanwhile it
//! tells when it has found out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::SystemTime;

use tokio::sync::broadcast;

/// How many events are kept, and how far a listener may be behind.
const KEPT: usize = 256;

/// Something that happened to a container, image or network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it happened to.
    pub kind: EventKind,
    /// Docker's word for it: `create`, `start`, `die`, `exec_create: sh`…
    pub action: String,
    /// Id of the container or network, reference of the image.
    pub actor: String,
    /// For a container its `name`, `image`, labels, and facts such as `exitCode`.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: SystemTime,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// The engine itself.
    Daemon,
    /// What builds leave.
    Builder,
}

impl EventKind {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// A listener's end: what was kept, then what happens.
#[derive(Debug)]
pub struct Events {
    kept: VecDeque<Event>,
    live: broadcast::Receiver<Event>,
}

impl Events {
    /// The next kept event; `None` when the past is told.
    pub fn past(&mut self) -> Option<Event> {
        self.kept.pop_front()
    }

    /// The next event, of the past or as it happens; `None` when the engine ends.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past() {
            return Some(event);
        }
        loop {
            match self.live.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct Broker {
    kept: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), live: broadcast::channel(KEPT).0 }
    }

    /// Tells everyone.
    pub(crate) fn publish(
        &self,
        kind: EventKind,
        action: impl Into<String>,
        actor: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event {
            kind,
            action: action.into(),
            actor: actor.into(),
            attributes,
            time: SystemTime::now(),
        };
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Nobody listening is no failure.
        let _ = self.live.send(event);
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    /// A listener that hears kept events not older than `since`, then every later one; without
    /// `since` only later ones.
    pub(crate) fn subscribe(&self, since: Option<SystemTime>) -> Events {
        let kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let past = since.map(|since| kept.iter().filter(|e| e.time >= since).cloned().collect());
        Events { kept: past.unwrap_or_default(), live: self.live.subscribe() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_listener_hears_the_past_it_asks_for_and_then_the_present() {
        let broker = Broker::new();
        let before = SystemTime::now();
        broker.publish(EventKind::Container, "create", "a", BTreeMap::new());
        let mut late = broker.subscribe(Some(before));
        let mut now = broker.subscribe(None);
        broker.publish(EventKind::Container, "start", "a", BTreeMap::new());
        assert_eq!(late.next().await.map(|e| e.action).as_deref(), Some("create"));
        assert_eq!(late.past(), None);
        assert_eq!(late.next().await.map(|e| e.action).as_deref(), Some("start"));
        assert_eq!(now.next().await.map(|e| e.action).as_deref(), Some("start"));
    }
}
