//! `POST /images/NAME/push`.

use image::{Progress, Status};
use serde_json::{Value, json};

use crate::auth;
use crate::call::Call;
use crate::images::pull::message;
use crate::images::{check_platform, reference, told};
use crate::route::Answer;

/// `POST /images/NAME/push`; without a tag, all that the repository has.
pub(crate) async fn push(call: &mut Call, name: &str) -> Answer {
    let tag = call.query.text("tag");
    let last = name.rsplit('/').next().unwrap_or(name);
    let all = tag.is_none() && !last.contains([':', '@']);
    let reference = reference(name, tag)?;
    if let Some(platform) = call.query.text("platform") {
        check_platform(name, platform)?;
    }
    let auth = auth::header(call)?;
    let engine = call.engine.clone();
    told::answer(move |tell| async move {
        let tell = |progress: Progress| {
            tell.send(message(&progress));
            if let Some(aux) = aux(&progress.status) {
                tell.send(aux);
            }
        };
        engine.push(&reference, all, auth, tell).await
    })
    .await
}

/// What programs read in place of the end's text.
fn aux(status: &Status) -> Option<Value> {
    let Status::PushedAs { tag, digest, size } = status else { return None };
    let aux = json!({ "Tag": tag, "Digest": digest, "Size": size });
    Some(json!({ "progressDetail": {}, "aux": aux }))
}
