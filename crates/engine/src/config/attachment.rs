//! How a container is connected to a network, and which of its ports the host has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network::egress::Policy;
use network::marks::Marks;
use network::ports::Wanted;
use network::{InterfaceName, Mac, Protocol, Rates};
use serde::{Deserialize, Serialize};

use super::{HostConfig, NetworkMode};
use crate::error::Error;
use crate::networks::options::check_device;

/// What a container wants of its place on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// Names besides its own by which its neighbours find it.
    pub aliases: Vec<String>,
    /// `CONTAINER[:NAME]`: names by which it alone finds others.
    pub links: Vec<String>,
    /// Its address; `None` for any that is free.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address; `None` for any that is free.
    pub address6: Option<Ipv6Addr>,
    /// Its Ethernet address; empty for the one that belongs to its address.
    pub mac: String,
    /// What its device there is called; `None` for the first number that is free.
    pub interface: Option<InterfaceName>,
    /// Of several networks, the one with the highest leads elsewhere.
    pub priority: i64,
    /// Where it may send to; `None` for what the network says.
    pub egress: Option<Policy>,
    /// How fast it may receive and send; what is `None` is as the network says.
    pub rates: Rates,
    /// What the container's sockets are to be known by; a record has it in [`HostConfig::marks`].
    #[serde(skip)]
    pub marks: Marks,
}

/// A port of the host, as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPort {
    /// The host's address; empty for all of them.
    pub address: String,
    /// A number, or two with `-` between to choose from; empty for any.
    pub port: String,
}

impl Attachment {
    /// Its Ethernet address as that, if it has one.
    pub(crate) fn mac(&self) -> Option<Mac> {
        self.mac.parse().ok()
    }

    /// Refuses what is no address.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.mac.is_empty() {
            self.mac.parse::<Mac>().map(drop).map_err(|error| Error::Invalid {
                field: "EndpointSettings.MacAddress",
                problem: error.to_string(),
            })?;
        }
        self.interface.as_ref().map_or(Ok(()), check_device)?;
        self.links.iter().try_for_each(|link| split_link(link).map(drop))
    }
}

/// `CONTAINER[:NAME]`; without a name it is the container's.
pub(crate) fn split_link(link: &str) -> Result<(&str, &str), Error> {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    let name = name.trim_start_matches('/');
    // Old records name whom it is for too: `/web/db`.
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    if name.is_empty() || alias.is_empty() || alias.contains(char::is_whitespace) {
        let problem = format!("bad format for links: {link}");
        return Err(Error::Invalid { field: "Links", problem });
    }
    Ok((name, alias))
}

/// The ports that are asked for: those named, and with `publish_all` all that are `exposed`.
pub(crate) fn wanted(host: &HostConfig, exposed: &[String]) -> Result<Vec<Wanted>, Error> {
    let mut all = Vec::new();
    for (inside, hosts) in &host.ports {
        let (protocol, inside) = container_port(inside)?;
        for HostPort { address, port } in hosts {
            let (host, ports) = (host_address(address)?, host_ports(port)?);
            all.push(Wanted { protocol, host, ports, inside });
        }
    }
    if host.publish_all {
        for port in exposed.iter().filter(|port| !host.ports.contains_key(*port)) {
            let (protocol, inside) = container_port(port)?;
            all.push(Wanted { protocol, host: None, ports: None, inside });
        }
    }
    Ok(all)
}

/// `80/tcp`, of which the protocol may be left out.
pub(crate) fn container_port(text: &str) -> Result<(Protocol, u16), Error> {
    let wrong = |problem: String| Error::Invalid { field: "HostConfig.PortBindings", problem };
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.parse::<Protocol>().map_err(|error| wrong(error.to_string()))?;
    match number.parse::<u16>() {
        Ok(number) if number > 0 => Ok((protocol, number)),
        _ => Err(wrong(format!("invalid port specification: {text:?}"))),
    }
}

/// Where on the host; `None` for everywhere.
fn host_address(text: &str) -> Result<Option<IpAddr>, Error> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() {
        return Ok(None);
    }
    bare.parse().map(Some).map_err(|_| Error::Invalid {
        field: "HostConfig.PortBindings",
        problem: format!("invalid IP address: {text:?}"),
    })
}

fn host_ports(text: &str) -> Result<Option<(u16, u16)>, Error> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Some((first, last))),
        _ => Err(Error::Invalid {
            field: "HostConfig.PortBindings",
            problem: format!("invalid port specification: {text:?}"),
        }),
    }
}

/// The networks that a container is on, by name, where its request does not say it.
pub(crate) fn usual(mode: &NetworkMode) -> BTreeMap<String, Attachment> {
    match mode {
        NetworkMode::None => BTreeMap::new(),
        mode => [(mode.to_string(), Attachment::default())].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_or_left_to_the_host() {
        let wanted = |inside: &str, address: &str, port: &str| {
            let bound = vec![HostPort { address: address.into(), port: port.into() }];
            let host =
                HostConfig { ports: [(inside.to_owned(), bound)].into(), ..HostConfig::default() };
            let all = super::wanted(&host, &[]).ok()?;
            let Wanted { protocol, host, ports, inside } = *all.first()?;
            let host = host.map(|host| host.to_string()).unwrap_or_default();
            Some(format!("{host} {ports:?} {inside}/{protocol}"))
        };
        let cases = [
            ("80/tcp", "", "8080", Some(" Some((8080, 8080)) 80/tcp")),
            ("53/udp", "127.0.0.1", "", Some("127.0.0.1 None 53/udp")),
            ("80", "", "8000-8010", Some(" Some((8000, 8010)) 80/tcp")),
            ("0/tcp", "", "", None),
            ("80/icmp", "", "", None),
            ("80/tcp", "localhost", "", None),
            ("80/tcp", "::1", "", Some("::1 None 80/tcp")),
            ("80/tcp", "[fd00::1]", "", Some("fd00::1 None 80/tcp")),
            ("80/tcp", "", "9-8", None),
            ("80/tcp", "", "70000", None),
        ];
        for (inside, address, port, want) in cases {
            assert_eq!(wanted(inside, address, port).as_deref(), want, "{inside} {address} {port}");
        }
    }

    #[test]
    fn all_exposed_ports_are_published_when_that_is_asked() {
        let bound = vec![HostPort { port: "8080".into(), ..HostPort::default() }];
        let host = HostConfig {
            publish_all: true,
            ports: [("80/tcp".to_owned(), bound)].into(),
            ..HostConfig::default()
        };
        let all = wanted(&host, &["80/tcp".into(), "81/tcp".into()]).expect("valid");
        let inside: Vec<_> = all.iter().map(|one| (one.inside, one.ports.is_some())).collect();
        assert_eq!(inside, [(80, true), (81, false)]);
    }

    #[test]
    fn a_link_is_a_container_and_a_name() {
        let link = |text: &'static str| split_link(text).ok();
        assert_eq!(link("db"), Some(("db", "db")));
        assert_eq!(link("db:store"), Some(("db", "store")));
        assert_eq!(link("/db:/web/store"), Some(("db", "store")));
        assert_eq!((link(""), link("db:"), link(":x")), (None, None, None));
    }
}
