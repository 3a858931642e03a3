//! A container's place on a network: what it wants, and what it got.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sys::netlink::Mac;

use crate::egress::Policy;
use crate::rate::Rates;

/// What a container wants of its place on a bridge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// The name of its device.
    pub interface: &'a str,
    /// `None` for any that is free.
    pub address: Option<Ipv4Addr>,
    /// The same of IPv6, where the network has that.
    pub address6: Option<Ipv6Addr>,
    /// `None` for the one that belongs to the address.
    pub mac: Option<Mac>,
    /// Where it may send to; `None` for everywhere.
    pub egress: Option<&'a Policy>,
    /// How fast it may receive and send.
    pub rates: Rates,
}

/// A container's place on a bridge: goes into its record, and back to [`Bridge::detach`] or, after
/// a restart of the engine, to [`Bridge::adopt`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, in bits.
    pub prefix: u8,
    /// The bridge's address, the next hop to elsewhere; `None` where there is no way out.
    pub gateway: Option<Ipv4Addr>,
    /// The name of its device in its namespace.
    pub interface: String,
    /// Its Ethernet address.
    #[serde(serialize_with = "mac_text", deserialize_with = "mac_from_text")]
    pub mac: Mac,
    /// The host's end of the device pair.
    pub veth: String,
    /// Its place in the network's IPv6, if it has one.
    #[serde(default)]
    pub six: Option<Six>,
    /// Where it may send to; `None` for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Policy>,
    /// How fast it may receive and send.
    #[serde(default, skip_serializing_if = "Rates::is_none")]
    pub rates: Rates,
}

/// A container's place in the IPv6 of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Six {
    /// Its address.
    pub address: Ipv6Addr,
    /// Length of the subnet's prefix, in bits.
    pub prefix: u8,
    /// The next hop to elsewhere; `None` where there is no way out.
    pub gateway: Option<Ipv6Addr>,
}

impl Endpoint {
    /// Whether the host has rules for what comes of its device.
    pub(crate) fn is_held(&self) -> bool {
        self.egress.is_some() || self.rates.out.is_some()
    }

    /// Its addresses with the lengths of their prefixes.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let six = self.six.as_ref().map(|six| (six.address.into(), six.prefix));
        std::iter::once((self.address.into(), self.prefix)).chain(six)
    }

    /// The next hops to elsewhere.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let six = self.six.as_ref().and_then(|six| six.gateway).map(IpAddr::from);
        self.gateway.map(IpAddr::from).into_iter().chain(six)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn mac_text<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(mac)
}

fn mac_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Mac, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}
