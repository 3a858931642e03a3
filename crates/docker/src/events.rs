//! `GET /events`: what happened, as it happens.

use std::time::SystemTime;

use engine::{Event, EventKind, Events};
use futures_util::stream;
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;
use crate::filters::Filters;
use crate::reply;
use crate::route::Answer;

/// `GET /events`.
pub(crate) fn events(call: &mut Call) -> Answer {
    let filters = call.query.filters(&[
        "container",
        "event",
        "image",
        "label",
        "network",
        "type",
        "daemon",
        "plugin",
        "scope",
        "volume",
        "node",
        "service",
        "secret",
        "config",
    ])?;
    let time = |name: &str| match call.query.text(name) {
        Some(text) => clock::parse(name, text),
        None => Ok(None),
    };
    let (since, until) = (time("since")?, time("until")?);
    let events = call.engine.events(since);
    let told = stream::unfold((events, filters), move |(mut events, filters)| async move {
        loop {
            let event = next(&mut events, until).await?;
            if passes(&event, &filters) {
                return Some((document(&event), (events, filters)));
            }
        }
    });
    Ok(reply::lines(told))
}

/// The next event that is not later than `until`.
async fn next(events: &mut Events, until: Option<SystemTime>) -> Option<Event> {
    let Some(until) = until else {
        return events.next().await;
    };
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    let event = match events.past() {
        Some(event) => event,
        None => tokio::time::timeout(left, events.next()).await.ok()??,
    };
    (event.time <= until).then_some(event)
}

fn passes(event: &Event, filters: &Filters) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
    let begins = |filter: &str| {
        filters.any(filter, |text| {
            event.actor.starts_with(text) || attribute("name").is_some_and(|n| n.starts_with(text))
        })
    };
    let of = |kind: EventKind, filter: &str| {
        !filters.has(filter) || event.kind == kind && begins(filter)
    };
    let image = match event.kind {
        EventKind::Image => attribute("name"),
        _ => attribute("image"),
    };
    let images = [Some(event.actor.as_str()), image].into_iter().flatten();
    let images: Vec<_> = images.flat_map(|name| [name, without_tag(name)]).collect();
    let action = event.action.split(':').next().unwrap_or_default();
    filters.any("type", |text| text == event.kind.name())
        && filters.any("event", |text| text == event.action || text == action)
        && of(EventKind::Container, "container")
        && of(EventKind::Network, "network")
        && filters.any("image", |text| images.contains(&text))
        && filters.any("scope", |text| text == "local")
        // Nothing is told of these.
        && !["daemon", "plugin", "node", "service", "secret", "config"]
            .iter()
            .any(|name| filters.has(name))
        && of(EventKind::Volume, "volume")
        && filters.labels(&event.attributes)
}

/// An image's name without its tag.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => rest,
        _ => name,
    }
}

fn document(event: &Event) -> Value {
    let mut document = json!({
        "Type": event.kind.name(),
        "Action": event.action,
        "Actor": { "ID": event.actor, "Attributes": event.attributes },
        "scope": "local",
        "time": clock::unix(event.time),
        "timeNano": clock::unix_nanos(event.time),
    });
    // For clients before API 1.22, and the many that still read these.
    if matches!(event.kind, EventKind::Container | EventKind::Image) {
        document["status"] = json!(event.action);
        document["id"] = json!(event.actor);
    }
    if let (EventKind::Container, Some(image)) = (event.kind, event.attributes.get("image")) {
        document["from"] = json!(image);
    }
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn event() -> Event {
        let attribute = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Event {
            kind: EventKind::Container,
            action: "exec_create: sh".into(),
            actor: "ab".repeat(32),
            attributes: BTreeMap::from([
                attribute("name", "web"),
                attribute("image", "alpine:3.10"),
                attribute("tier", "front"),
            ]),
            time: UNIX_EPOCH,
        }
    }

    #[test]
    fn an_event_has_its_old_fields_too() {
        let document = document(&event());
        assert_eq!(document["status"], "exec_create: sh");
        assert_eq!(document["from"], "alpine:3.10");
        assert_eq!(document["Actor"]["Attributes"]["name"], "web");
        let parsed: Result<bollard_stubs::models::EventMessage, _> =
            serde_json::from_value(document);
        assert!(parsed.is_ok(), "{parsed:?}");
    }

    #[test]
    fn events_are_narrowed_down() {
        for (filters, want) in [
            (json!({}), true),
            (json!({"type": ["container"]}), true),
            (json!({"type": ["image"]}), false),
            (json!({"event": ["exec_create"]}), true),
            (json!({"event": ["start"]}), false),
            (json!({"container": ["web"]}), true),
            (json!({"container": ["abab"]}), true),
            (json!({"container": ["db"]}), false),
            (json!({"image": ["alpine"]}), true),
            (json!({"image": ["alp"]}), false),
            (json!({"container": ["we"]}), true),
            (json!({"network": ["web"]}), false),
            (json!({"label": ["tier=front"]}), true),
            (json!({"label": ["tier=back"]}), false),
            (json!({"volume": ["v"]}), false),
        ] {
            let known = ["type", "event", "container", "image", "label", "volume", "network"];
            let parsed = Filters::parse(&filters.to_string(), &known).expect("legal");
            assert_eq!(passes(&event(), &parsed), want, "{filters}");
        }
    }
}
