//! Networks: the bridge, and none. There are no others yet.

use engine::{List, NetworkMode};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::clock;
use crate::error::Error;
use crate::reply;
use crate::route::Answer;

/// Every network.
const ALL: [NetworkMode; 2] = [NetworkMode::Bridge, NetworkMode::None];

/// The id by which clients know a network; `bridge` is that of the bridge's.
pub(crate) fn id(network: NetworkMode, bridge: &str) -> String {
    match network {
        NetworkMode::Bridge => bridge.to_owned(),
        NetworkMode::None => format!("{:0<64}", "6e6f6e65"),
    }
}

/// `GET /networks`.
pub(crate) async fn list(call: &mut Call) -> Answer {
    let filters =
        call.query.filters(&["name", "id", "driver", "scope", "type", "label", "dangling"])?;
    let dangling = filters.switch("dangling")?;
    let bridge = call.engine.network_id();
    let chosen = ALL.into_iter().filter(|network| {
        let name = network.to_string();
        filters.any("name", |text| name.contains(text))
            && filters.any("id", |text| id(*network, &bridge).starts_with(text))
            && filters.any("driver", |text| text == driver(*network))
            && filters.any("scope", |text| text == "local")
            && filters.any("type", |text| text == "builtin")
            && !filters.has("label")
            && dangling != Some(true)
    });
    let mut documents = Vec::new();
    for network in chosen {
        documents.push(document(call, network, false).await?);
    }
    Ok(reply::ok(&Value::Array(documents)))
}

/// `GET /networks/NAME`.
pub(crate) async fn inspect(call: &mut Call, name: &str) -> Answer {
    let network = find(name, &call.engine.network_id()).ok_or_else(|| absent(name))?;
    Ok(reply::ok(&document(call, network, true).await?))
}

/// `DELETE /networks/NAME`: those that there are belong to the engine.
pub(crate) fn remove(call: &mut Call, name: &str) -> Answer {
    let network = find(name, &call.engine.network_id()).ok_or_else(|| absent(name))?;
    let message = format!("{network} is a pre-defined network and cannot be removed");
    Err(Error::new(StatusCode::FORBIDDEN, message))
}

fn find(name: &str, bridge: &str) -> Option<NetworkMode> {
    ALL.into_iter().find(|network| {
        name == network.to_string() || (name.len() >= 12 && id(*network, bridge).starts_with(name))
    })
}

fn absent(name: &str) -> Error {
    Error::new(StatusCode::NOT_FOUND, format!("network {name} not found"))
}

fn driver(network: NetworkMode) -> &'static str {
    match network {
        NetworkMode::Bridge => "bridge",
        NetworkMode::None => "null",
    }
}

/// A network; with `members` also the containers on it.
async fn document(call: &Call, network: NetworkMode, members: bool) -> Result<Value, Error> {
    let settings = call.engine.settings();
    let mut document = json!({
        "Name": network.to_string(),
        "Id": id(network, &call.engine.network_id()),
        "Created": clock::zero(),
        "Scope": "local",
        "Driver": driver(network),
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    });
    if network == NetworkMode::Bridge {
        let subnet = call.engine.subnet();
        let (subnet, gateway) = (subnet.to_string(), subnet.gateway());
        document["IPAM"]["Config"] = json!([{ "Subnet": subnet, "Gateway": gateway }]);
        document["Options"] = json!({ "com.docker.network.bridge.name": settings.bridge });
    }
    if members {
        let which = List { network: vec![network.to_string()], ..List::default() };
        let mut containers = Map::new();
        for container in call.engine.list(which).await? {
            let Some(endpoint) = &container.endpoint else { continue };
            let member = json!({
                "Name": container.name,
                "EndpointID": container.id,
                "MacAddress": endpoint.mac.to_string(),
                "IPv4Address": format!("{}/{}", endpoint.address, endpoint.prefix),
                "IPv6Address": "",
            });
            containers.insert(container.id.to_string(), member);
        }
        document["Containers"] = Value::Object(containers);
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_name_and_by_the_beginning_of_its_id() {
        let bridge = "ab".repeat(32);
        for network in ALL {
            let id = id(network, &bridge);
            assert_eq!(id.len(), 64);
            assert_eq!(find(&id[..12], &bridge), Some(network));
            assert_eq!(find(&network.to_string(), &bridge), Some(network));
        }
        assert_eq!(find("mine", &bridge), None);
        assert_eq!(find("a", &bridge), None);
    }
}
