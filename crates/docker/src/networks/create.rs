//! `POST /networks/create`.

use std::collections::BTreeMap;

use engine::{Asked, InvalidMode, MacvlanMode as Mode, NetworkCreate};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::containers::create::read as read_field;
use crate::error::Error;
use crate::fields::is_blank;
use crate::reply;
use crate::route::Answer;

/// The option that names the bridge's device.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The option that says whether containers are seen elsewhere by the host's address.
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// The options that say how packets of others come to containers.
const GATEWAY4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
/// The option that clients of old say `--ipv6` by.
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
/// The option that says how large packets are.
const MTU: &str = "com.docker.network.driver.mtu";
/// The option that says where containers may send to; its value is the engine's to read.
const EGRESS: &str = "egress";
const RATE_IN: &str = "rate-in";
const RATE_OUT: &str = "rate-out";
/// Options that say where ports are and what devices are called; their values are the engine's to read.
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const DEVICE_PREFIX: &str = "com.docker.network.container_iface_prefix";
/// The option that says whether the host has no address on the bridge.
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";
/// The option that says whether containers reach each other.
const TALKS: &str = "com.docker.network.bridge.enable_icc";

/// The options of macvlans: the device that they are of, and how they reach each other.
const PARENT: &str = "parent";
const MODE: &str = "macvlan_mode";

/// The body. `CheckDuplicate` asks for what is always done.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    name: Option<String>,
    driver: Option<String>,
    scope: Option<String>,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    internal: Option<bool>,
    // Whether services of a swarm may be attached by hand: there is no swarm.
    ingress: Option<bool>,
    config_only: Option<bool>,
    config_from: Option<Value>,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    driver: Option<String>,
    config: Option<Vec<BTreeMap<String, Value>>>,
    options: Option<BTreeMap<String, String>>,
}

/// `POST /networks/create`.
pub(crate) async fn create(call: &mut Call) -> Answer {
    let request = read(call.json().await?)?;
    let id = call.engine.create_network(request).await?;
    Ok(reply::json(StatusCode::CREATED, &json!({ "Id": id, "Warning": "" })))
}

fn read(body: Body) -> Result<NetworkCreate, Error> {
    let refused =
        |field: &str| Err(Error::invalid(format!("{field} is not supported by Hull yet")));
    let macvlan = match body.driver.as_deref().unwrap_or_default() {
        "" | "bridge" | "default" => None,
        "macvlan" => Some(Mode::default()),
        "ipvlan" => {
            let why = "driver ipvlan is not supported by Hull: use macvlan, or a bridge where the parent \
                       takes no further Ethernet addresses";
            return Err(Error::new(StatusCode::NOT_IMPLEMENTED, why));
        }
        other => {
            let message =
                format!("could not find plugin {other} in v1 plugin registry: plugin not found");
            return Err(Error::new(StatusCode::NOT_FOUND, message));
        }
    };
    if body.scope.as_deref().is_some_and(|scope| !matches!(scope, "" | "local")) {
        return refused("Scope");
    }
    for (field, on) in [("Ingress", body.ingress), ("ConfigOnly", body.config_only)] {
        if on == Some(true) {
            return refused(field);
        }
    }
    if body.enable_ipv4 == Some(false) {
        let why = "EnableIPv4: false is not supported by Hull: names, ports and a VM's routes want IPv4; \
                   leave it on, IPv6 works beside it";
        return Err(Error::invalid(why));
    }
    if body.config_from.as_ref().is_some_and(|from| !is_blank(from)) {
        return refused("ConfigFrom");
    }
    let ipam = body.ipam.unwrap_or_default();
    if ipam.driver.as_deref().is_some_and(|driver| !matches!(driver, "" | "default")) {
        return refused("IPAM.Driver");
    }
    if ipam.options.is_some_and(|options| !options.is_empty()) {
        return refused("IPAM.Options");
    }
    let mut network = NetworkCreate {
        name: body.name.unwrap_or_default(),
        internal: body.internal.unwrap_or_default(),
        ipv6: body.enable_ipv6.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
        options: body.options.unwrap_or_default(),
        macvlan,
        ..NetworkCreate::default()
    };
    if macvlan.is_some() {
        macvlan_options(&mut network)?;
    } else {
        options(&mut network)?;
    }
    addresses(&mut network, ipam.config.unwrap_or_default())?;
    Ok(network)
}

/// Takes in what the driver's options say.
fn options(network: &mut NetworkCreate) -> Result<(), Error> {
    for (option, value) in &network.options {
        match (option.as_str(), value.as_str()) {
            (BRIDGE_NAME, name) => network.bridge = Some(name.to_owned()),
            (EGRESS | RATE_IN | RATE_OUT | HOST_BINDING | DEVICE_PREFIX, _)
            | (MASQUERADE | TALKS, "true" | "1")
            | (INHIBIT, "false" | "0")
            | (GATEWAY4 | GATEWAY6, "nat") => {}
            (INHIBIT, "true" | "1") => network.without_host = true,
            (GATEWAY4, "isolated") if network.internal => network.without_host = true,
            (GATEWAY6, "isolated") if network.internal => network.without_host6 = true,
            (GATEWAY4 | GATEWAY6, mode) => return Err(gateway_mode(option, mode)),
            (TALKS, "false" | "0") => network.isolated = true,
            (ENABLE_IPV6, "true" | "1") => network.ipv6 = true,
            (ENABLE_IPV6, "false" | "0") => network.ipv6 = false,
            (MASQUERADE, "false" | "0") => network.unmasked = true,
            (MTU, size) => network.mtu = Some(mtu(size)?),
            _ => {
                let what = format!("Options.{option} (given {value:?})");
                return Err(Error::invalid(format!("{what} is not supported by Hull yet")));
            }
        }
    }
    Ok(())
}

/// Why ports are not opened so.
fn gateway_mode(option: &str, mode: &str) -> Error {
    let why = match mode {
        "isolated" => "is for internal networks: add --internal",
        "routed" => {
            "is not supported by Hull: published ports are translated; with \
             com.docker.network.bridge.enable_ip_masquerade=false containers are seen elsewhere by their own \
             addresses"
        }
        "nat-unprotected" => {
            "is not supported by Hull: it would open every port of every container; publish those that are \
             meant"
        }
        _ => "is no gateway mode: want nat or isolated",
    };
    Error::invalid(format!("Options.{option}: {mode:?} {why}"))
}

/// Takes in what the options of macvlans say.
fn macvlan_options(network: &mut NetworkCreate) -> Result<(), Error> {
    for (option, value) in &network.options {
        match option.as_str() {
            PARENT => network.bridge = Some(value.clone()).filter(|parent| !parent.is_empty()),
            MODE => {
                let wrong = |error: InvalidMode| Error::invalid(error.to_string());
                network.macvlan = Some(value.parse().map_err(wrong)?);
            }
            MTU => network.mtu = Some(mtu(value)?),
            // The engine reads these, and says which are not for macvlans.
            EGRESS | RATE_IN | RATE_OUT | DEVICE_PREFIX => {}
            ENABLE_IPV6 => network.ipv6 = matches!(value.as_str(), "true" | "1"),
            _ => {
                let known = format!("want {PARENT}, {MODE} or {MTU}");
                return Err(Error::invalid(format!(
                    "Options.{option} (given {value:?}) is none of driver macvlan: {known}"
                )));
            }
        }
    }
    Ok(())
}

fn mtu(text: &str) -> Result<u32, Error> {
    let size = text.parse().ok().filter(|size| (68..=65_535).contains(size));
    size.ok_or_else(|| Error::invalid(format!("invalid Options.{MTU}: {text:?}")))
}

/// Takes in `IPAM.Config`.
fn addresses(
    network: &mut NetworkCreate,
    config: Vec<BTreeMap<String, Value>>,
) -> Result<(), Error> {
    for (index, entry) in config.into_iter().enumerate() {
        let mut asked = Asked::default();
        for (key, value) in entry.into_iter().filter(|(_, value)| !is_blank(value)) {
            let text = value.as_str().map(str::to_owned);
            match (key.to_ascii_lowercase().as_str(), text) {
                ("subnet", Some(text)) => asked.subnet = text,
                ("gateway", Some(text)) => asked.gateway = Some(text),
                ("iprange", Some(text)) => asked.range = Some(text),
                ("auxiliaryaddresses", None) => {
                    asked.reserved = read_field("IPAM.Config.AuxiliaryAddresses: ", value)?;
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "IPAM.Config[{index}].{key} is not supported by Hull yet (given {value})"
                    )));
                }
            }
        }
        let orphan = asked.gateway.is_some() || asked.range.is_some() || !asked.reserved.is_empty();
        match (asked.subnet.is_empty(), orphan) {
            (false, _) => network.addresses.push(asked),
            (true, false) => {}
            (true, true) => {
                let message = "invalid network config: no subnet for its addresses";
                return Err(Error::invalid(message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: Value) -> Result<NetworkCreate, Error> {
        read(serde_json::from_value(body).expect("legal JSON"))
    }

    #[test]
    fn what_compose_sends_is_read() {
        let body = json!({
            "Name": "p_default", "Driver": null, "Options": null, "IPAM": null, "CheckDuplicate": true,
            "Internal": false, "EnableIPv6": false, "Attachable": false, "Scope": null,
            "Labels": { "com.docker.compose.project": "p" },
        });
        let read = parse(body).expect("legal");
        assert_eq!((read.name.as_str(), read.labels.len()), ("p_default", 1));
        assert_eq!(read.addresses, []);
        let body = json!({
            "Name": "n", "IPAM": { "Config": [{ "Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1" }] },
        });
        assert_eq!(parse(body).expect("legal").addresses[0].subnet, "10.1.0.0/24");
        let six =
            json!([{ "Subnet": "10.1.0.0/24" }, { "Subnet": "fd00::/64", "Gateway": "fd00::9" }]);
        let body = json!({ "Name": "n", "EnableIPv6": true, "IPAM": { "Config": six } });
        let read = parse(body).expect("legal");
        assert_eq!(read.addresses[1].gateway.as_deref(), Some("fd00::9"));
        assert!(read.ipv6);
    }

    #[test]
    fn the_host_stays_away_where_it_is_told_to() {
        let of = |internal: bool, option: &str, value: &str| {
            let body = json!({ "Name": "n", "Internal": internal, "Options": { option: value } });
            let read = parse(body).expect("legal");
            (read.without_host, read.without_host6)
        };
        assert_eq!(of(false, INHIBIT, "true"), (true, false));
        assert_eq!(of(false, INHIBIT, "false"), (false, false));
        assert_eq!(of(true, GATEWAY4, "isolated"), (true, false));
        assert_eq!(of(true, GATEWAY6, "isolated"), (false, true));
        assert_eq!(of(false, GATEWAY4, "nat"), (false, false));
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        for (body, want) in [
            (json!({ "EnableIPv4": false }), "EnableIPv4"),
            (json!({ "Options": { "x": "y" } }), "Options.x"),
            (json!({ "IPAM": { "Config": [{}, { "Colour": "red" }] } }), "IPAM.Config[1].Colour"),
            (
                json!({ "Options": { GATEWAY6: "routed" } }),
                &format!("Options.{GATEWAY6}: \"routed\" is not"),
            ),
            (
                json!({ "Options": { GATEWAY4: "isolated" } }),
                &format!("Options.{GATEWAY4}: \"isolated\" is for internal"),
            ),
            (json!({ "Options": { GATEWAY4: "nat-unprotected" } }), &format!("Options.{GATEWAY4}")),
            (json!({ "Options": { INHIBIT: "maybe" } }), &format!("Options.{INHIBIT} (given")),
            (
                json!({ "IPAM": { "Config": [{ "IPRange": "10.0.0.0/8" }] } }),
                "invalid network config",
            ),
            (json!({ "Options": { "com.docker.network.driver.mtu": "1" } }), "invalid Options"),
            (json!({ "Driver": "overlay" }), "could not find plugin overlay"),
            (json!({ "Driver": "ipvlan" }), "driver ipvlan is not supported"),
            (
                json!({ "Driver": "macvlan", "Options": { "macvlan_mode": "vlan" } }),
                "requested macvlan mode 'vlan' is not valid",
            ),
            (json!({ "Driver": "macvlan", "Options": { "x": "y" } }), "Options.x (given \"y\")"),
        ] {
            assert!(parse(body).expect_err(want).to_string().starts_with(want), "{want}");
        }
    }
}
