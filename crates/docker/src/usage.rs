//! `GET /system/df`.

use engine::List;
use serde_json::{Value, json};

use crate::call::Call;
use crate::containers::list;
use crate::error::Error;
use crate::images;
use crate::reply::{self, Reply};
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
        document["BuilderSize"] = json!(0);
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
        document["BuildCache"] = json!([]);
    }
    Ok(reply::ok(&document))
}

/// `POST /build/prune`: no build leaves anything behind. `docker system prune` asks for it.
pub(crate) fn prune_builds() -> Reply {
    reply::ok(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 }))
}

async fn volumes(call: &Call) -> Result<Value, Error> {
    let mut rows = Vec::new();
    for volume in call.engine.volumes() {
        let size = call.engine.volume_size(volume.mountpoint.clone()).await?;
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
