//! `POST /containers/ID/update`.

use engine::{NewRate, Resources, Update};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::containers::create::{ResourcesBody, RestartBody, read};
use crate::error::Error;
use crate::fields;
use crate::reply;
use crate::route::Answer;

/// What of the body means something else than in a create.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    restart_policy: Option<RestartBody>,
    pids_limit: Option<i64>,
    network_rates: Option<RatesBody>,
}

/// A field of our own: rates, `none` for what the network says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct RatesBody {
    r#in: Option<String>,
    out: Option<String>,
}

/// `POST /containers/ID/update`.
pub(crate) async fn update(call: &mut Call, id: &str) -> Answer {
    let mut update = parse(call.value().await?)?;
    if !call.version.since_minor(40) {
        update.resources.pids_limit = None;
    }
    call.engine.update(id, update).await.map_err(|error| Error::from(error).by_field())?;
    Ok(reply::ok(&json!({ "Warnings": [] })))
}

fn parse(mut body: Value) -> Result<Update, Error> {
    let object =
        body.as_object_mut().ok_or_else(|| Error::invalid("the body is not a JSON object"))?;
    fields::UPDATE.check(object)?;
    let limits: ResourcesBody = read("", body.clone())?;
    let mut body: Body = read("", body)?;
    // Here 0 and less say that there is to be no limit, as all that is nothing to a create.
    let pids = body.pids_limit.take().map(|limit| limit.max(0));
    let rates = body.network_rates.take().unwrap_or_default();
    // A policy without a name asks for no change.
    let restart = body.restart_policy.filter(|policy| !policy.is_unnamed());
    Ok(Update {
        resources: Resources { pids_limit: pids, ..limits.read()? },
        restart: restart.map(|policy| policy.read()).transpose()?,
        rate_in: new_rate(rates.r#in.as_deref())?,
        rate_out: new_rate(rates.out.as_deref())?,
    })
}

fn new_rate(text: Option<&str>) -> Result<NewRate, Error> {
    let wrong = |error: engine::InvalidRate| Error::invalid(error.to_string());
    match text {
        None => Ok(NewRate::Same),
        Some("none") => Ok(NewRate::OfNetwork),
        Some(text) => text.parse().map(NewRate::At).map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use engine::RestartPolicy;

    use super::*;

    #[test]
    fn what_is_not_said_is_not_changed() {
        let update = parse(json!({
            "Memory": 67_108_864, "PidsLimit": null, "MemorySwappiness": null,
            "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
        }));
        let update = update.expect("valid");
        assert_eq!(update.resources.memory, Some(67_108_864));
        assert_eq!((update.resources.pids_limit, update.restart), (None, None));
        let update = parse(json!({"RestartPolicy": {"Name": "always"}})).expect("valid");
        assert_eq!(update.restart, Some(RestartPolicy::Always));
        for unlimited in [0, -1, -2] {
            let update = parse(json!({ "PidsLimit": unlimited })).expect("valid");
            assert_eq!(update.resources.pids_limit, Some(0), "{unlimited}");
        }
        let update =
            parse(json!({"NetworkRates": {"In": "10mbit", "Out": "none"}})).expect("valid");
        let rate = NewRate::At("10mbit".parse().expect("a rate"));
        assert_eq!((update.rate_in, update.rate_out), (rate, NewRate::OfNetwork));
        assert!(parse(json!({"NetworkRates": {"In": "fast"}})).is_err());
        assert!(parse(json!({"Devices": [{"PathOnHost": "/dev/null"}]})).is_err());
    }
}
