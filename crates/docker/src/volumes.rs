//! Volumes.

use std::collections::BTreeMap;

use engine::{ANONYMOUS, DRIVER, NewVolume, Volume, VolumeCopy};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use spec::Kind;

use crate::call::Call;
use crate::filters::Filters;
use crate::route::Answer;
use crate::{clock, reply};

/// The body of `POST /volumes/create`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    cluster_volume_spec: Option<Value>,
}

/// `POST /volumes/create`.
pub(crate) async fn create(call: &mut Call) -> Answer {
    let body: Body = call.json().await?;
    if body.cluster_volume_spec.is_some_and(|spec| !spec.is_null()) {
        return Err(crate::system::no_swarm());
    }
    let new = NewVolume {
        name: body.name,
        driver: body.driver.unwrap_or_default(),
        options: body.driver_opts.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
    };
    let volume = call.engine.create_volume(new).await?;
    Ok(reply::json(StatusCode::CREATED, &document(&volume)))
}

/// `GET /volumes`.
pub(crate) fn list(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.switch("dangling")?;
    let volumes = call.engine.volumes();
    let matching = volumes.iter().filter(|volume| {
        dangling.is_none_or(|dangling| dangling == (volume.users == 0))
            && filters.any("driver", |driver| driver == DRIVER)
            && filters.any("name", |part| volume.name.contains(part))
            && filters.labels(&volume.labels)
    });
    let documents: Vec<Value> = matching.map(document).collect();
    Ok(reply::ok(&json!({ "Volumes": documents, "Warnings": null })))
}

/// `GET /volumes/NAME`.
pub(crate) fn inspect(call: &mut Call, name: &str) -> Answer {
    Ok(reply::ok(&document(&call.engine.volume(name)?)))
}

/// `DELETE /volumes/NAME`.
pub(crate) async fn remove(call: &mut Call, name: &str) -> Answer {
    match call.engine.remove_volume(name).await {
        Err(error) if call.query.flag("force") && error.kind() == Kind::NotFound => {}
        removed => removed?,
    }
    Ok(reply::done())
}

/// The body of `POST /volumes/NAME/resize`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ResizeBody {
    size: String,
}

/// `POST /volumes/NAME/resize`, of Hull's own: makes the limit of a volume that has one larger, while it is
/// used or not. The body is `{"Size": "2G"}`, the answer the volume.
pub(crate) async fn resize(call: &mut Call, name: &str) -> Answer {
    let body: ResizeBody = call.json().await?;
    Ok(reply::ok(&document(&call.engine.grow_volume(name, &body.size).await?)))
}

/// The body of `POST /volumes/NAME/clone` and `/volumes/NAME/snapshot`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CopyBody {
    name: Option<String>,
}

/// `POST /volumes/NAME/clone`, of Hull's own: a volume with the same files, `{"Name": "NEW"}`. The answer is the
/// new volume; 409 while a container that runs has the one that is copied.
pub(crate) async fn clone(call: &mut Call, name: &str) -> Answer {
    let body: CopyBody = call.json().await?;
    let copy = VolumeCopy::Clone { name: body.name.unwrap_or_default() };
    let volume = call.engine.copy_volume(name, copy).await?;
    Ok(reply::json(StatusCode::CREATED, &document(&volume)))
}

/// `POST /volumes/NAME/snapshot`, of Hull's own: the same, but nobody writes it, and its name may be left out.
pub(crate) async fn snapshot(call: &mut Call, name: &str) -> Answer {
    let body: CopyBody = call.json().await?;
    let copy = VolumeCopy::Snapshot { name: body.name.filter(|name| !name.is_empty()) };
    let volume = call.engine.copy_volume(name, copy).await?;
    Ok(reply::json(StatusCode::CREATED, &document(&volume)))
}

/// `POST /volumes/prune`: removes what no container refers to; what has a name only if asked.
pub(crate) async fn prune(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["all", "label", "label!"])?;
    // Before API 1.42 there was no difference.
    let all = filters.switch("all")?.unwrap_or(false) || !call.version.since_minor(42);
    let (mut deleted, mut reclaimed) = (Vec::new(), 0);
    for volume in call.engine.volumes() {
        let nameless = volume.labels.contains_key(ANONYMOUS);
        if volume.users > 0 || !(all || nameless) || !selected(&filters, &volume) {
            continue;
        }
        let size = call.engine.volume_size(&volume.name).await?;
        match call.engine.remove_volume(&volume.name).await {
            Ok(()) => {
                deleted.push(volume.name);
                reclaimed += size;
            }
            // Taken or removed in between.
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    call.engine.volumes_pruned(reclaimed);
    Ok(reply::ok(&json!({ "VolumesDeleted": deleted, "SpaceReclaimed": reclaimed })))
}

/// Whether the label filters leave it in.
fn selected(filters: &Filters, volume: &Volume) -> bool {
    let has = |wanted: &str| match wanted.split_once('=') {
        Some((key, value)) => volume.labels.get(key).is_some_and(|found| found == value),
        None => volume.labels.contains_key(wanted),
    };
    filters.labels(&volume.labels) && !filters.values("label!").any(has)
}

/// Everything about a volume.
pub(crate) fn document(volume: &Volume) -> Value {
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| map.clone());
    json!({
        "CreatedAt": clock::rfc3339(volume.created),
        "Driver": DRIVER,
        "Labels": some(&volume.labels),
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Options": some(&volume.options),
        "Scope": "local",
    })
}
