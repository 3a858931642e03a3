//! Hull's own pages that open and close the dashboard, see [`dash`].

use hyper::StatusCode;
use serde_json::json;

use crate::call::Call;
use crate::error::Error;
use crate::reply;
use crate::route::Answer;

/// `POST /dash`: opens it at `port`, or any; gives its URL.
pub(crate) async fn open(call: &Call) -> Answer {
    let port = call.query.value::<u16>("port")?.filter(|port| *port > 0);
    let url = call.dash.open(port).await.map_err(|error| Error::of(error.kind(), &error))?;
    Ok(reply::json(StatusCode::OK, &json!({ "URL": url })))
}

/// `DELETE /dash`.
pub(crate) async fn close(call: &Call) -> Answer {
    if call.dash.close().await {
        Ok(reply::done())
    } else {
        Err(Error::new(StatusCode::NOT_FOUND, "the dashboard is not open"))
    }
}
