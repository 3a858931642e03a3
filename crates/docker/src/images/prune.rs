//! `POST /images/prune`.

use std::time::SystemTime;

use image::Removed;
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;
use crate::images::{created, labels, listed};
use crate::reply;
use crate::route::Answer;

/// `POST /images/prune`: what has no tag and no user; with `dangling=false`, what has no user.
pub(crate) async fn prune(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["dangling", "label", "label!", "until"])?;
    let dangling = filters.switch("dangling")?.unwrap_or(true);
    let until = match filters.values("until").next() {
        Some(text) => clock::moment("until", text)?,
        None => None,
    };
    let before = |created: Option<SystemTime>| match (until, created) {
        (None, _) => true,
        (Some(until), Some(created)) => created <= until,
        (Some(_), None) => false,
    };
    let images = listed(call).into_iter().filter(|image| {
        let labels = labels(image);
        (!dangling || image.tags.is_empty())
            && before(created(image))
            && filters.labels(&labels)
            && !filters.unwanted(&labels)
    });
    let pruned = call.engine.prune_images(images.map(|image| image.id).collect()).await?;
    let rows: Vec<Value> = pruned.removed.iter().map(row).collect();
    let rows = if rows.is_empty() { Value::Null } else { rows.into() };
    Ok(reply::ok(&json!({ "ImagesDeleted": rows, "SpaceReclaimed": pruned.reclaimed })))
}

/// One record of a removal.
pub(crate) fn row(removed: &Removed) -> Value {
    match removed {
        Removed::Untagged(name) => json!({ "Untagged": name }),
        Removed::Deleted(digest) => json!({ "Deleted": digest }),
    }
}
