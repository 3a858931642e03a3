//! How a container is to be connected: `NetworkingConfig`, and the body of a connect.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use engine::{Attachment, HostPort, InvalidMark, Marks, Rates};
use serde::Deserialize;
use serde_json::Value;

use super::read;
use crate::error::Error;
use crate::fields::is_blank;

/// The option that names the container's device.
pub(crate) const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// Docker's `EndpointSettings`, of which the server itself says the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EndpointBody {
    aliases: Option<Vec<String>>,
    #[serde(rename = "IPAMConfig")]
    ipam: Option<BTreeMap<String, Value>>,
    links: Option<Vec<String>>,
    mac_address: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    gw_priority: Option<i64>,
}

/// A port of `HostConfig.PortBindings`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PortBody {
    host_ip: Option<String>,
    host_port: Option<String>,
}

impl From<PortBody> for HostPort {
    fn from(body: PortBody) -> Self {
        Self { address: body.host_ip.unwrap_or_default(), port: body.host_port.unwrap_or_default() }
    }
}

/// The networks that `NetworkingConfig` names, and what is wanted of each. `default` and an empty name
/// mean the one of `mode`.
pub(super) fn endpoints(
    networking: Option<&Value>,
    mode: &str,
) -> Result<BTreeMap<String, Attachment>, Error> {
    let mut all = BTreeMap::new();
    let named = networking.and_then(|networking| networking.get("EndpointsConfig"));
    for (network, settings) in named.and_then(Value::as_object).into_iter().flatten() {
        let place = format!("NetworkingConfig.EndpointsConfig.{network}");
        let attachment = attachment(&place, settings.clone())?;
        let name = if matches!(network.as_str(), "" | "default") { mode } else { network };
        all.insert(name.to_owned(), attachment);
    }
    // One that is named by its id only elsewhere is the engine's to recognise.
    if !all.is_empty() && !matches!(mode, "bridge" | "none" | "host") && !mode.contains(':') {
        all.entry(mode.to_owned()).or_default();
    }
    Ok(all)
}

/// What is wanted of a place on a network; `place` is where it stands in the request.
pub(crate) fn attachment(place: &str, settings: Value) -> Result<Attachment, Error> {
    let body: Option<EndpointBody> = read(&format!("{place}: "), settings)?;
    let body = body.unwrap_or_default();
    let refused =
        |what: &str| Err(Error::invalid(format!("{place}.{what} is not supported by Hull yet")));
    let (mut address, mut address6) = (None, None);
    for (key, value) in body.ipam.into_iter().flatten().filter(|(_, value)| !is_blank(value)) {
        match (key.to_ascii_lowercase().as_str(), value.as_str()) {
            ("ipv4address", Some(text)) => {
                let parsed: Result<Ipv4Addr, _> = text.parse();
                let wrong = |_| Error::invalid(format!("invalid IPv4 address: {text}"));
                address = Some(parsed.map_err(wrong)?);
            }
            ("ipv6address", Some(text)) => {
                let parsed: Result<Ipv6Addr, _> = text.parse();
                let wrong = |_| Error::invalid(format!("invalid IPv6 address: {text}"));
                address6 = Some(parsed.map_err(wrong)?);
            }
            _ => return refused(&format!("IPAMConfig.{key} (given {value})")),
        }
    }
    let mut interface = None;
    let (mut egress, mut rates, mut marks) = (None, Rates::default(), Marks::default());
    let wrong_mark = |error: InvalidMark| Error::invalid(error.to_string());
    let rate = |text: &str| {
        let wrong = |error: engine::InvalidRate| Error::invalid(error.to_string());
        text.parse().map(Some).map_err(wrong)
    };
    for (option, value) in body.driver_opts.into_iter().flatten() {
        match option.as_str() {
            "egress" => {
                let wrong = |error: engine::InvalidEgress| Error::invalid(error.to_string());
                egress = Some(value.parse().map_err(wrong)?);
            }
            "rate-in" => rates.into = rate(&value)?,
            "rate-out" => rates.out = rate(&value)?,
            IFNAME => {
                let wrong = |error: engine::InvalidInterface| Error::invalid(error.to_string());
                interface = Some(value.parse().map_err(wrong)?);
            }
            "classid" => marks.class = Some(value.parse().map_err(wrong_mark)?),
            "priority" => marks.priorities = Marks::read_priorities(&value).map_err(wrong_mark)?,
            _ => return refused(&format!("DriverOpts.{option} (given {value:?})")),
        }
    }
    Ok(Attachment {
        aliases: body.aliases.unwrap_or_default(),
        links: body.links.unwrap_or_default(),
        address,
        address6,
        mac: body.mac_address.unwrap_or_default(),
        interface,
        priority: body.gw_priority.unwrap_or_default(),
        egress,
        rates,
        marks,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_network_is_named_by_the_mode_or_by_itself() {
        let names = |config: Value, mode: &str| {
            let config = json!({ "EndpointsConfig": config });
            let all = endpoints(Some(&config), mode).expect("legal");
            all.into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(json!({}), "bridge"), "");
        assert_eq!(names(json!({ "default": {} }), "bridge"), "bridge");
        assert_eq!(names(json!({ "back": null }), "bridge"), "back");
        assert_eq!(names(json!({ "back": {}, "front": {} }), "back"), "back front");
        assert_eq!(names(json!({ "front": {} }), "back"), "back front");
    }

    #[test]
    fn what_is_wanted_of_a_place_is_read_or_refused() {
        let read = |settings: Value| attachment("E", settings);
        let wish = read(json!({
            "IPAMConfig": { "IPv4Address": "10.1.0.9", "IPv6Address": "fd00::9" },
            "Aliases": ["db"], "MacAddress": "02:42:0a:01:00:09", "NetworkID": "x",
        }));
        let want = Attachment {
            aliases: vec!["db".into()],
            address: Some([10, 1, 0, 9].into()),
            address6: Some("fd00::9".parse().expect("an address")),
            mac: "02:42:0a:01:00:09".into(),
            ..Attachment::default()
        };
        assert_eq!(wish, Ok(want));
        for (settings, word) in [
            (json!({ "IPAMConfig": { "IPv4Address": "10.1.0" } }), "10.1.0"),
            (json!({ "IPAMConfig": { "IPv6Address": "10.1.0.9" } }), "invalid IPv6 address"),
            (json!({ "IPAMConfig": { "LinkLocalIPs": ["169.254.0.1"] } }), "LinkLocalIPs"),
            (json!({ "DriverOpts": { "a": "b" } }), "E.DriverOpts.a"),
            (json!({ "DriverOpts": { "egress": "all" } }), "invalid egress \"all\""),
            (json!({ "DriverOpts": { "rate-in": "10" } }), "invalid rate \"10\""),
            (json!({ "DriverOpts": { IFNAME: "a/b" } }), "invalid interface name \"a/b\""),
            (json!({ "DriverOpts": { "classid": "0" } }), "invalid classid \"0\""),
            (json!({ "DriverOpts": { "priority": "eth0" } }), "invalid priority \"eth0\""),
        ] {
            let error = read(settings).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
