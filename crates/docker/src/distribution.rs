//! `GET /distribution/NAME/json`: what a registry says of an image.

use serde_json::json;

use crate::auth;
use crate::call::Call;
use crate::error::Error;
use crate::images::reference;
use crate::reply;
use crate::route::Answer;

/// `GET /distribution/NAME/json`.
pub(crate) async fn inspect(call: &mut Call, name: &str) -> Answer {
    let reference = reference(name, None)?;
    let auth = auth::header(call)?;
    let asked = call.engine.images().look_up(&reference, auth).await;
    let remote = asked.map_err(|error| Error::from(engine::Error::from(error)).of_another())?;
    let platforms = remote.platforms.iter().map(|platform| {
        let mut document = json!({ "architecture": platform.architecture, "os": platform.os });
        if let Some(variant) = &platform.variant {
            document["variant"] = json!(variant);
        }
        document
    });
    Ok(reply::ok(&json!({
        "Descriptor": {
            "mediaType": remote.media_type, "digest": remote.digest, "size": remote.size,
        },
        "Platforms": platforms.collect::<Vec<_>>(),
    })))
}
