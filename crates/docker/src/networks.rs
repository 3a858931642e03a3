//! Networks: the bridge, none, the host's, and those that users make.

mod create;

use engine::{Container, Family, Layout, List, Network, NetworkError, Plan, builtin_id};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::clock;
use crate::containers::create::attachment;
use crate::error::Error;
use crate::filters::Filters;
use crate::reply;
use crate::route::Answer;

pub(crate) use create::create;

/// A network as clients see it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    id: String,
    name: String,
    driver: &'static str,
    builtin: bool,
    created: String,
    plan: Option<Plan>,
    labels: Value,
    options: Value,
}

impl Seen {
    fn bridge(call: &Call) -> Self {
        let (plan, bridge) = (call.engine.plan(), &call.engine.settings().bridge);
        Self {
            id: call.engine.network_id(),
            name: "bridge".to_owned(),
            driver: "bridge",
            builtin: true,
            created: clock::zero().to_owned(),
            plan: Some(plan.clone()),
            labels: json!({}),
            options: json!({
                "com.docker.network.bridge.default_bridge": "true",
                "com.docker.network.bridge.name": bridge,
            }),
        }
    }

    /// One that has no bridge: `none` or `host`.
    fn without(name: &str, driver: &'static str) -> Self {
        Self {
            id: builtin_id(name),
            name: name.to_owned(),
            driver,
            builtin: true,
            created: clock::zero().to_owned(),
            plan: None,
            labels: json!({}),
            options: json!({}),
        }
    }

    fn made(network: Network) -> Self {
        Self {
            driver: network.plan.driver(),
            builtin: false,
            created: clock::rfc3339(network.created),
            plan: Some(network.plan),
            labels: json!(network.labels),
            options: json!(network.options),
            id: network.id,
            name: network.name,
        }
    }
}

/// Every network.
fn all(call: &Call) -> Vec<Seen> {
    let made = call.engine.networks().into_iter().map(Seen::made);
    let builtin =
        [Seen::bridge(call), Seen::without("host", "host"), Seen::without("none", "null")];
    builtin.into_iter().chain(made).collect()
}

/// `GET /networks`.
pub(crate) async fn list(call: &mut Call) -> Answer {
    let filters =
        call.query.filters(&["name", "id", "driver", "scope", "type", "label", "dangling"])?;
    if let Some(other) = filters.values("type").find(|text| !matches!(*text, "builtin" | "custom"))
    {
        return Err(Error::invalid(format!("invalid filter: 'type'='{other}'")));
    }
    let dangling = filters.switch("dangling")?;
    let containers = call.engine.list(List::default()).await?;
    let used = |seen: &Seen| {
        containers.iter().any(|one| call.engine.networks_of(one).contains_key(&seen.name))
    };
    let chosen = all(call).into_iter().filter(|seen| {
        matches(seen, &filters)
            && dangling.is_none_or(|wanted| wanted == (!seen.builtin && !used(seen)))
    });
    let documents = chosen.map(|seen| document(call, &seen, &[])).collect();
    Ok(reply::ok(&Value::Array(documents)))
}

fn matches(seen: &Seen, filters: &Filters) -> bool {
    let labels = serde_json::from_value(seen.labels.clone()).unwrap_or_default();
    filters.any("name", |text| seen.name.contains(text))
        && filters.any("id", |text| seen.id.contains(text))
        && filters.any("driver", |text| text == seen.driver)
        && filters.any("scope", |text| text == "local")
        && filters.any("type", |text| (text == "builtin") == seen.builtin)
        && filters.labels(&labels)
}

/// `GET /networks/NAME`.
pub(crate) async fn inspect(call: &mut Call, name: &str) -> Answer {
    if call.query.text("scope").is_some_and(|scope| scope != "local") {
        return Err(absent(name));
    }
    let seen = find(all(call), name)?;
    let which = List { network: vec![seen.name.clone()], ..List::default() };
    let members = call.engine.list(which).await?;
    Ok(reply::ok(&document(call, &seen, &members)))
}

/// `DELETE /networks/NAME`.
pub(crate) async fn remove(call: &mut Call, name: &str) -> Answer {
    let seen = find(all(call), name)?;
    if seen.builtin {
        let message = format!("{} is a pre-defined network and cannot be removed", seen.name);
        return Err(Error::new(StatusCode::FORBIDDEN, message));
    }
    call.engine.remove_network(&seen.id).await?;
    Ok(reply::done())
}

/// `POST /networks/prune`: removes those that no container names.
pub(crate) async fn prune(call: &mut Call) -> Answer {
    let filters = call.query.filters(&["label", "label!", "until"])?;
    let until = match filters.values("until").next() {
        Some(text) => clock::moment("until", text)?,
        None => None,
    };
    let all = List { all: true, ..List::default() };
    let containers = call.engine.list(all).await?;
    let mut deleted = Vec::new();
    for network in call.engine.networks() {
        let mut on = containers.iter().map(|one| call.engine.networks_of(one));
        let used = on.any(|networks| networks.values().any(|id| *id == network.id));
        let kept = filters.values("label!").any(|wanted| match wanted.split_once('=') {
            Some((key, value)) => network.labels.get(key).is_some_and(|found| found == value),
            None => network.labels.contains_key(wanted),
        });
        let young = until.is_some_and(|until| network.created > until);
        if used || kept || young || !filters.labels(&network.labels) {
            continue;
        }
        // One that came into use just now stays.
        if call.engine.remove_network(&network.id).await.is_ok() {
            deleted.push(network.name);
        }
    }
    Ok(reply::ok(&json!({ "NetworksDeleted": deleted })))
}

/// By id, by name, or by the beginning of just one id.
fn find(all: Vec<Seen>, name: &str) -> Result<Seen, Error> {
    // A network may have the name that is another's id.
    let by_id = all.iter().position(|seen| seen.id == name);
    let exact = by_id.or_else(|| all.iter().position(|seen| seen.name == name));
    let found = exact.or_else(|| {
        let mut matching = all.iter().enumerate().filter(|(_, seen)| seen.id.starts_with(name));
        match (matching.next(), matching.next()) {
            (Some((at, _)), None) if !name.is_empty() => Some(at),
            _ => None,
        }
    });
    let mut all = all;
    found.map(|at| all.swap_remove(at)).ok_or_else(|| absent(name))
}

fn absent(name: &str) -> Error {
    Error::new(StatusCode::NOT_FOUND, format!("network {name} not found"))
}

/// A network with its members.
fn document(call: &Call, seen: &Seen, members: &[Container]) -> Value {
    let mut containers = Map::new();
    for container in members.iter().filter(|container| container.status.is_live()) {
        let endpoint = container.endpoints.get(&seen.name);
        let address = endpoint.map(|endpoint| format!("{}/{}", endpoint.address, endpoint.prefix));
        let six = endpoint.and_then(|endpoint| endpoint.six.as_ref());
        let six = six.map(|six| format!("{}/{}", six.address, six.prefix));
        let member = json!({
            "Name": container.name,
            "EndpointID": container.id,
            "MacAddress": endpoint.map(|endpoint| endpoint.mac.to_string()).unwrap_or_default(),
            "IPv4Address": address.unwrap_or_default(),
            "IPv6Address": six.unwrap_or_default(),
        });
        containers.insert(container.id.to_string(), member);
    }
    let six = seen.plan.as_ref().and_then(|plan| plan.layout6.as_ref());
    let config: Vec<_> = seen.plan.iter().map(|plan| addresses(&plan.layout)).collect();
    let config: Vec<_> = config.into_iter().chain(six.map(addresses)).collect();
    let mut document = json!({
        "Name": seen.name,
        "Id": seen.id,
        "Created": seen.created,
        "Scope": "local",
        "Driver": seen.driver,
        "EnableIPv6": six.is_some(),
        "IPAM": { "Driver": "default", "Options": null, "Config": config },
        "Internal": seen.plan.as_ref().is_some_and(|plan| plan.internal),
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": seen.options,
        "Labels": seen.labels,
    });
    if call.version.since_minor(48) {
        document["EnableIPv4"] = json!(true);
    }
    document
}

/// One of `IPAM.Config`.
fn addresses<A: Family>(layout: &Layout<A>) -> Value {
    let mut config = json!({ "Subnet": layout.subnet.to_string(), "Gateway": layout.gateway });
    if let Some(range) = layout.range {
        config["IPRange"] = json!(range.to_string());
    }
    if !layout.reserved.is_empty() {
        config["AuxiliaryAddresses"] = json!(layout.reserved);
    }
    config
}

/// The body of a connect and of a disconnect, whose `Force` asks for what is always done.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MoveBody {
    container: String,
    endpoint_config: Option<Value>,
}

/// `POST /networks/NAME/connect`.
pub(crate) async fn connect(call: &mut Call, name: &str) -> Answer {
    let (network, body) = moved(call, name).await?;
    let settings = body.endpoint_config.unwrap_or_default();
    let attachment = attachment("EndpointConfig", settings)?;
    call.engine.connect_network(&network, &body.container, attachment).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /networks/NAME/disconnect`.
pub(crate) async fn disconnect(call: &mut Call, name: &str) -> Answer {
    let (network, body) = moved(call, name).await?;
    call.engine.disconnect_network(&network, &body.container).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// The network that a container is to come to or to leave, and which container.
async fn moved(call: &mut Call, name: &str) -> Result<(String, MoveBody), Error> {
    let seen = find(all(call), name)?;
    let body: MoveBody = call.json().await?;
    match seen.name.as_str() {
        "host" => Err(engine::Error::from(NetworkError::OfHost).into()),
        "none" => Err(engine::Error::from(NetworkError::Private).into()),
        _ => Ok((seen.name, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_name_and_by_the_beginning_of_its_id() {
        let all = || {
            vec![
                Seen::without("none", "null"),
                Seen { name: "mine".into(), id: "ab".repeat(32), ..Seen::without("none", "null") },
            ]
        };
        let name = |text: &str| find(all(), text).map(|seen| seen.name).ok();
        assert_eq!(name("mine").as_deref(), Some("mine"));
        assert_eq!(name("abab").as_deref(), Some("mine"));
        assert_eq!(name("6e6f").as_deref(), Some("none"));
        assert_eq!((name("yours"), name("")), (None, None));
    }

    #[test]
    fn networks_are_narrowed_down() {
        let mine =
            Seen { builtin: false, labels: json!({ "a": "b" }), ..Seen::without("none", "null") };
        for (filters, want) in [
            (json!({ "type": ["custom"] }), true),
            (json!({ "type": ["builtin"] }), false),
            (json!({ "label": ["a=b"] }), true),
            (json!({ "label": ["a=c"] }), false),
            (json!({ "driver": ["null"], "name": ["non"] }), true),
            (json!({ "scope": ["global"] }), false),
        ] {
            let known = ["type", "label", "driver", "name", "scope"];
            let parsed = Filters::parse(&filters.to_string(), &known).expect("legal");
            assert_eq!(matches(&mine, &parsed), want, "{filters}");
        }
    }
}
