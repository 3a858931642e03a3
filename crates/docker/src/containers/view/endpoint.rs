//! A container's place on a network.

use engine::Container;
use serde_json::{Value, json};

use crate::containers::create::IFNAME;

/// What holds it there, as options of the driver: while it runs what does, else what will.
pub(super) fn options(container: &Container, network: &str) -> Value {
    let mut document = json!(null);
    let held = container.endpoints.get(network).and_then(|endpoint| endpoint.egress.as_ref());
    let wished = container.host.attachments.get(network).and_then(|wish| wish.egress.as_ref());
    if let Some(egress) = held.or(wished) {
        document["egress"] = json!(egress);
    }
    let held = container.endpoints.get(network).map(|endpoint| endpoint.rates);
    let wished = container.host.attachments.get(network).map(|wish| wish.rates);
    let rates = held.or(wished).unwrap_or_default();
    for (option, rate) in [("rate-in", rates.into), ("rate-out", rates.out)] {
        if let Some(rate) = rate {
            document[option] = json!(rate);
        }
    }
    let named = container.host.attachments.get(network).and_then(|wish| wish.interface.as_ref());
    if let Some(name) = named {
        document[IFNAME] = json!(name);
    }
    let marks = &container.host.marks;
    if let Some(class) = marks.class {
        document["classid"] = json!(class);
    }
    if let Some(priorities) = marks.say_priorities() {
        document["priority"] = json!(priorities);
    }
    document
}
