//! `GET /system/df`.

use engine::List;
use image::Image;
use serde_json::{Value, json};
use spec::Digest;

use crate::call::Call;
use crate::clock;
use crate::containers::list;
use crate::error::Error;
use crate::images;
use crate::reply;
use crate::route::Answer;
use crate::volumes;

/// `GET /system/df`; `type` asks for a part.
pub(crate) async fn usage(call: &mut Call) -> Answer {
    let types: Vec<String> = call.query.all("type").map(str::to_owned).collect();
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(unknown) = types.iter().find(|one| !known.contains(&one.as_str())) {
        return Err(Error::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |what: &str| types.is_empty() || types.iter().any(|one| one == what);
    let mut document = json!({});
    if !call.version.since_minor(42) {
        document["BuilderSize"] =
            json!(cached(call).map(|image| layer_size(call, &image)).sum::<u64>());
    }
    if wanted("image") {
        let usage = call.engine.images().usage();
        document["LayersSize"] = json!(usage.layers);
        document["Images"] = images::rows(call, &usage);
    }
    if wanted("container") {
        document["Containers"] = containers(call).await?;
    }
    if wanted("volume") {
        document["Volumes"] = volumes(call).await?;
    }
    if wanted("build-cache") {
        document["BuildCache"] = cached(call).map(|image| cache_row(call, &image)).collect();
    }
    Ok(reply::ok(&document))
}

/// `POST /build/prune`: images of steps that have no name go, and with `all` the directories that commands
/// keep in `RUN --mount=type=cache`.
pub(crate) async fn prune_builds(call: &mut Call) -> Answer {
    for name in ["keep-storage", "reserved-space", "max-used-space", "min-free-space"] {
        if call.query.value::<u64>(name)?.is_some_and(|bytes| bytes > 0) {
            return Err(Error::invalid(format!(
                "{name} is not supported by Hull: filter by until= to keep what is young"
            )));
        }
    }
    let filters = call.query.filters(&["until", "unused-for"])?;
    let until = match filters.values("until").chain(filters.values("unused-for")).next() {
        Some(text) => clock::moment("until", text)?,
        None => None,
    };
    let old = |image: &Image| {
        until.is_none_or(|until| images::created(image).is_some_and(|created| created <= until))
    };
    let old: Vec<Digest> = cached(call).filter(old).map(|image| image.id).collect();
    let all = call.query.flag("all");
    let pruned = call.engine.prune_builds(old, all).await?;
    let gone: Vec<&Digest> = pruned.steps.iter().collect();
    let gone = if gone.is_empty() { Value::Null } else { json!(gone) };
    Ok(reply::ok(&json!({ "CachesDeleted": gone, "SpaceReclaimed": pruned.reclaimed })))
}

/// Images of steps that only the next build needs.
fn cached(call: &Call) -> impl Iterator<Item = Image> {
    let uses = call.engine.image_uses();
    call.engine.images().list().into_iter().filter(move |image| {
        image.parent.is_some()
            && image.tags.is_empty()
            && image.digests.is_empty()
            && !uses.iter().any(|user| user.image == image.id)
    })
}

/// Bytes of the files in the layer that a step has made, if it has made one.
fn layer_size(call: &Call, image: &Image) -> u64 {
    let history = image.config.history().as_deref().unwrap_or_default();
    let is_empty = history.last().is_some_and(|step| step.empty_layer() == Some(true));
    let sizes = call.engine.images().layer_sizes(image);
    sizes.last().copied().filter(|_| !is_empty).unwrap_or(0)
}

fn cache_row(call: &Call, image: &Image) -> Value {
    let history = image.config.history().as_deref().unwrap_or_default();
    let words = history.last().and_then(|step| step.created_by().clone()).unwrap_or_default();
    let created = clock::rfc3339_or_zero(images::created(image));
    json!({
        "ID": image.id.hex(),
        "Parents": image.parent.iter().map(Digest::hex).collect::<Vec<_>>(),
        "Type": "regular",
        "Description": words,
        "InUse": false,
        "Shared": false,
        "Size": layer_size(call, image),
        "CreatedAt": created,
        "LastUsedAt": created,
        "UsageCount": 1,
    })
}

async fn volumes(call: &Call) -> Result<Value, Error> {
    let mut rows = Vec::new();
    for volume in call.engine.volumes() {
        let size = call.engine.volume_size(&volume.name).await?;
        let usage = json!({ "UsageData": { "RefCount": volume.users, "Size": size } });
        rows.push(reply::both(volumes::document(&volume), usage));
    }
    Ok(Value::Array(rows))
}

async fn containers(call: &Call) -> Result<Value, Error> {
    let which = List { all: true, ..List::default() };
    let all = call.engine.list(which).await?;
    list::rows(call, &all, true).await
}
