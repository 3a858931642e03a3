//! `GET /images/search`.

use hyper::StatusCode;
use image::Reference;
use serde_json::json;

use crate::call::Call;
use crate::error::Error;
use crate::reply;
use crate::route::Answer;

/// Rows that are given, unless the client says how many.
const ROWS: usize = 25;

/// Repositories by a part of their names. Registries know no stars and no descriptions.
pub(crate) async fn search(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["is-automated", "is-official", "stars"])?;
    let (automated, official) = (filters.switch("is-automated")?, filters.switch("is-official")?);
    let starred = filters.values("stars").any(|stars| stars != "0");
    let most = match call.query.text("limit") {
        None | Some("" | "0") => ROWS,
        Some(text) => {
            text.parse().map_err(|_| Error::invalid(format!("invalid limit {text:?}")))?
        }
    };
    let term = call.query.text("term").unwrap_or_default();
    let found = call.engine.images().search(term).await;
    let found = found.map_err(|error| Error::from(engine::Error::from(error)).of_another())?;
    let Some(found) = found else {
        let message = format!(
            "search for {term:?}: Docker Hub's index is not asked by Hull, and no registry mirror is \
             configured; HOST/{term} searches the registry at HOST"
        );
        return Err(Error::new(StatusCode::NOT_IMPLEMENTED, message));
    };
    let passes = |name: &&Reference| {
        !starred && automated != Some(true) && official.is_none_or(|is| is == is_official(name))
    };
    let row = |name: &Reference| {
        json!({
            "name": name.familiar_name(), "description": "", "star_count": 0,
            "is_official": is_official(name), "is_automated": false,
        })
    };
    Ok(reply::ok(&found.iter().filter(passes).take(most).map(row).collect()))
}

/// Docker's own images are those of its library.
fn is_official(name: &Reference) -> bool {
    name.registry() == image::DOCKER_HUB && name.repository().starts_with("library/")
}
