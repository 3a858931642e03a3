//! `GET /system/df`.

use engine::List;
use engine::build::{CachedStep, Keep, Prune};
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
            json!(call.engine.cached_steps().iter().map(|step| step.size).sum::<u64>());
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
        document["BuildCache"] = call.engine.cached_steps().iter().map(cache_row).collect();
    }
    Ok(reply::ok(&document))
}

/// `POST /build/prune`: images of steps that have no name go, and with `all` the directories that commands
/// keep in `RUN --mount=type=cache`; where a size is given, only as many as that takes.
pub(crate) async fn prune_builds(call: &mut Call) -> Answer {
    let bytes = |name| call.query.value::<u64>(name).map(Option::unwrap_or_default);
    let keep = Keep {
        // The newer name goes first.
        reserved: match bytes("reserved-space")? {
            0 => bytes("keep-storage")?,
            reserved => reserved,
        },
        at_most: bytes("max-used-space")?,
        free: bytes("min-free-space")?,
    };
    let filters = call.query.filters(&["until", "unused-for"])?;
    let until = match filters.values("until").chain(filters.values("unused-for")).next() {
        Some(text) => clock::moment("until", text)?,
        None => None,
    };
    let prune = Prune { until, caches: call.query.flag("all"), keep };
    let pruned = call.engine.prune_builds(prune).await?;
    let gone: Vec<&Digest> = pruned.steps.iter().collect();
    let gone = if gone.is_empty() { Value::Null } else { json!(gone) };
    Ok(reply::ok(&json!({ "CachesDeleted": gone, "SpaceReclaimed": pruned.reclaimed })))
}

fn cache_row(step: &CachedStep) -> Value {
    let history = step.image.config.history().as_deref().unwrap_or_default();
    let words = history.last().and_then(|step| step.created_by().clone()).unwrap_or_default();
    json!({
        "ID": step.image.id.hex(),
        "Parents": step.image.parent.iter().map(Digest::hex).collect::<Vec<_>>(),
        "Type": "regular",
        "Description": words,
        "InUse": false,
        "Shared": step.needed,
        "Size": step.size,
        "CreatedAt": clock::rfc3339_or_zero(images::created(&step.image)),
        "LastUsedAt": clock::rfc3339_or_zero(Some(step.used)),
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
