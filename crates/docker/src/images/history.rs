//! `GET /images/NAME/history`.

use image::Image;
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;
use crate::images::{check_platform, get, names};
use crate::reply;
use crate::route::Answer;

/// `GET /images/NAME/history`, newest step first.
pub(crate) fn history(call: &mut Call, name: &str) -> Answer {
    if let Some(platform) = call.query.text("platform") {
        check_platform(name, platform)?;
    }
    let image = get(call, name)?;
    let sizes = call.engine.images().layer_sizes(&image);
    let mut rows = steps(&image, &sizes);
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        newest["Id"] = json!(image.id);
        if !image.tags.is_empty() {
            newest["Tags"] = json!(names(&image.tags));
        }
    }
    Ok(reply::ok(&rows.into()))
}

/// The steps that made the image, oldest first. Layers that no step speaks of come last.
fn steps(image: &Image, sizes: &[u64]) -> Vec<Value> {
    let mut sizes = sizes.iter();
    let history = image.config.history().clone().unwrap_or_default();
    let mut rows: Vec<Value> = history
        .iter()
        .map(|step| {
            let empty = step.empty_layer().unwrap_or(false);
            let size = if empty { 0 } else { sizes.next().copied().unwrap_or(0) };
            let created = step.created().as_deref().unwrap_or_default();
            let created = clock::parse("created", created).ok().flatten();
            json!({
                "Id": "<missing>",
                "Created": created.map_or(0, clock::unix),
                "CreatedBy": step.created_by().clone().unwrap_or_default(),
                "Tags": null,
                "Size": size,
                "Comment": step.comment().clone().unwrap_or_default(),
            })
        })
        .collect();
    rows.extend(sizes.map(|size| {
        json!({
            "Id": "<missing>", "Created": 0, "CreatedBy": "", "Tags": null, "Size": size,
            "Comment": "",
        })
    }));
    rows
}
