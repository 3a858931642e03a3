//! The rules that hold a container to its [`Policy`], on the host's end of its device.
//!
//! ```text
//!   table netdev hull-egress-hull0-veth-ac1e0002      what comes out of the container's device
//!     chain ingress   another MAC or address than its own, VLANs           -> counted, dropped
//!                     IPv6 where it has none; what routers say             -> counted, dropped
//!   table inet hull-egress-hull0-veth-ac1e0002        what has its address
//!     chain forward   answers; to its own network; allowed                 -> on to other rules
//!                     else                                                 -> counted, dropped
//!     chain input     answers; who has which address (IPv6)                -> on
//!                     allowed by its address                               -> on
//!                     else: the host's own services                        -> counted, dropped
//!     set   nameN     addresses that rule N's name had in answers, each until it is outdated
//! ```
//!
//! Both are of the host's namespace, where nothing in the container or its VM can reach them, and hold
//! whether the engine runs or not. They are made before the device is up, and go after it has gone.
//! As in [`crate::filter`], they only drop: what is let through meets the host's own rules next.
//!
//! Spec: nft(8) "Netdev address family", "Sets", "Stateful objects".

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Policy, Ports, Rule, Transport};
use crate::endpoint::{Endpoint, Six};
use crate::filter::{self, Error};
use crate::name::InterfaceName;
use sys::netlink::Mac;

/// What the tables' names begin with.
const PREFIX: &str = "hull-egress-";
/// The shortest time for which a name's address is let through, in seconds: the container has yet to
/// connect to it.
const SHORTEST: u32 = 2;
/// How hosts on one network find each other and say which groups they hear.
const NEIGHBOURLY: &str = "nd-neighbor-solicit, nd-neighbor-advert, mld-listener-report, \
                           mld-listener-done, mld2-listener-report";
/// The longest time for which a name's address is let through, in seconds.
pub const LONGEST: u32 = 86_400;

/// What a container sent in vain, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// To elsewhere.
    pub refused: u64,
    /// To the host's own services.
    pub host: u64,
    /// By an address that is not its own, or by a protocol that it has no address of.
    pub forged: u64,
}

/// Puts the rules in place; those of an earlier run are replaced, with what names had let through.
pub(crate) fn apply(
    bridge: &InterfaceName,
    endpoint: &Endpoint,
    policy: &Policy,
) -> Result<(), Error> {
    let table = table(bridge, &endpoint.veth);
    filter::nft(&table, &[], &ruleset(&table, bridge, endpoint, policy))
}

/// Puts the rules in place unless they are.
pub(crate) fn ensure(
    bridge: &InterfaceName,
    endpoint: &Endpoint,
    policy: &Policy,
) -> Result<(), Error> {
    let table = table(bridge, &endpoint.veth);
    let all = filter::ask(&["list", "tables"])?;
    let there = |family: &str| filter::tables(&all).any(|found| found == (family, table.as_str()));
    if there("netdev") && there("inet") { Ok(()) } else { apply(bridge, endpoint, policy) }
}

/// Takes the rules away. Those that are not there are no error.
pub(crate) fn remove(bridge: &InterfaceName, veth: &str) -> Result<(), Error> {
    let table = table(bridge, veth);
    // To delete what may not be there, add it first.
    let batch = ["inet", "netdev"]
        .map(|family| format!("add table {family} {table}\ndelete table {family} {table}\n"));
    filter::nft(&table, &[], &batch.concat())
}

/// The devices of `bridge` that have rules.
pub(crate) fn held(bridge: &InterfaceName) -> Result<Vec<String>, Error> {
    filter::devices_with(&table(bridge, ""))
}

/// Lets addresses through that the names of rules have: each the number of its rule, the address and for
/// how many seconds.
pub(crate) fn admit(
    bridge: &InterfaceName,
    veth: &str,
    admitted: &[(usize, IpAddr, u32)],
) -> Result<(), Error> {
    let table = table(bridge, veth);
    let mut batch = String::new();
    for (number, address, seconds) in admitted {
        let set = set(*number, *address);
        let seconds = seconds.clamp(&SHORTEST, &LONGEST);
        // What is there keeps its time if it is only added again.
        for (verb, time) in [
            ("add", String::new()),
            ("delete", String::new()),
            ("add", format!(" timeout {seconds}s")),
        ] {
            let _ = writeln!(batch, "{verb} element inet {table} {set} {{ {address}{time} }}");
        }
    }
    filter::nft(&table, &[], &batch)
}

/// What was dropped since the rules were made.
pub(crate) fn dropped(bridge: &InterfaceName, veth: &str) -> Result<Dropped, Error> {
    let table = table(bridge, veth);
    let mut dropped = Dropped::default();
    for family in ["inet", "netdev"] {
        let all = filter::ask(&["list", "counters", "table", family, &table])?;
        for counter in all["nftables"].as_array().into_iter().flatten() {
            let counter = &counter["counter"];
            let packets = counter["packets"].as_u64().unwrap_or(0);
            match counter["name"].as_str() {
                Some("refused") => dropped.refused = packets,
                Some("host") => dropped.host = packets,
                Some("forged") => dropped.forged = packets,
                _ => {}
            }
        }
    }
    Ok(dropped)
}

fn table(bridge: &InterfaceName, veth: &str) -> String {
    format!("{PREFIX}{bridge}-{veth}")
}

fn set(number: usize, address: IpAddr) -> String {
    format!("name{number}v{}", if address.is_ipv4() { 4 } else { 6 })
}

fn ruleset(table: &str, bridge: &InterfaceName, endpoint: &Endpoint, policy: &Policy) -> String {
    let Endpoint { address, mac, veth, six, .. } = endpoint;
    let own = six.as_ref().map(|Six { address, .. }| [*address, link_local(*mac)]);
    let (kinds, of_six, others) = match own {
        Some(own) => ("ip, arp, ip6", own_six(own), format!("ip6 saddr != {} accept", either(own))),
        // None of it is its own: the device lets none in.
        None => ("ip, arp", String::new(), "meta nfproto ipv6 accept".to_owned()),
    };
    let mut sets = String::new();
    let (mut allowed, mut by_name) = (String::new(), String::new());
    for (number, rule) in policy.rules().iter().enumerate() {
        let (own, lines) = lines(number, rule);
        *(if own.is_empty() { &mut allowed } else { &mut by_name }) += &lines;
        sets += &own;
    }
    let fresh = |family| format!("add table {family} {table}\ndelete table {family} {table}\n");
    // `accept` ends this table's say alone.
    format!(
        "{inet}{netdev}table netdev {table} {{
            counter forged {{ }}
            chain ingress {{
                type filter hook ingress device \"{veth}\" priority -500; policy accept;
                ether saddr != {mac} counter name forged drop
                ether type != {{ {kinds} }} counter name forged drop
                arp saddr ether != {mac} counter name forged drop
                arp saddr ip != {{ {address}, 0.0.0.0 }} counter name forged drop
                ip saddr != {address} counter name forged drop
                {of_six}
            }}
        }}
        table inet {table} {{
            counter refused {{ }}
            counter host {{ }}
            {sets}
            chain allowed {{
                {allowed}
            }}
            chain named {{
                {by_name}
            }}
            chain forward {{
                type filter hook forward priority -10; policy accept;
                iifname != \"{bridge}\" accept
                ip saddr != {address} accept
                {others}
                ct state established,related accept
                oifname \"{bridge}\" accept
                jump allowed
                jump named
                counter name refused drop
            }}
            chain input {{
                type filter hook input priority -10; policy accept;
                iifname != \"{bridge}\" accept
                ip saddr != {address} accept
                {others}
                ct state established,related accept
                icmpv6 type {{ {NEIGHBOURLY} }} accept
                jump allowed
                counter name host drop
            }}
        }}\n",
        inet = fresh("inet"),
        netdev = fresh("netdev"),
    )
}

/// What lets in no other address of IPv6 than its own, nor the claim to have another's or to be a router.
/// Whoever has no address yet asks for one without.
fn own_six(own: [Ipv6Addr; 2]) -> String {
    let [address, local] = own.map(|address| format!("{:#034x}", address.to_bits()));
    format!(
        "ip6 saddr != {{ {}, {}, :: }} counter name forged drop
                ip6 saddr :: meta l4proto != icmpv6 counter name forged drop
                icmpv6 type {{ nd-router-advert, nd-redirect }} counter name forged drop
                icmpv6 type nd-neighbor-advert @th,64,128 != {address} @th,64,128 != {local} \
                 counter name forged drop",
        own[0], own[1]
    )
}

fn either([one, other]: [Ipv6Addr; 2]) -> String {
    format!("{{ {one}, {other} }}")
}

/// The address that a device gives itself. Spec: RFC 4291 appendix A.
fn link_local(Mac(mac): Mac) -> Ipv6Addr {
    let (maker, own) = ([mac[0] ^ 2, mac[1], mac[2]], [mac[3], mac[4], mac[5]]);
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..11].copy_from_slice(&maker);
    octets[11..13].copy_from_slice(&[0xff, 0xfe]);
    octets[13..].copy_from_slice(&own);
    octets.into()
}

/// The sets that a rule needs, and its own lines.
fn lines(number: usize, rule: &Rule) -> (String, String) {
    let ports = rule.ports.map(ports).unwrap_or_default();
    let line = |family: &str, to: &str| format!("{family} daddr {to} {ports} accept\n");
    match &rule.host {
        Host::Network(ip, length) => {
            let family = if ip.is_ipv4() { "ip" } else { "ip6" };
            (String::new(), line(family, &format!("{ip}/{length}")))
        }
        Host::Name(_) | Host::Below(_) => {
            let four = set(number, Ipv4Addr::UNSPECIFIED.into());
            let six = set(number, Ipv6Addr::UNSPECIFIED.into());
            let declare = |name: &str, kind: &str| {
                format!("set {name} {{ type {kind}; flags timeout; size 65535; }}\n")
            };
            let sets = declare(&four, "ipv4_addr") + &declare(&six, "ipv6_addr");
            (sets, line("ip", &format!("@{four}")) + &line("ip6", &format!("@{six}")))
        }
    }
}

fn ports(ports: Ports) -> String {
    let Ports { first, last, protocol } = ports;
    let protocol = match protocol {
        Some(Transport::Tcp) => "tcp",
        Some(Transport::Udp) => "udp",
        None => "{ tcp, udp }",
    };
    format!("meta l4proto {protocol} th dport {first}-{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(policy: &str, six: Option<&str>) -> String {
        let bridge: InterfaceName = "br-x".parse().expect("legal");
        let endpoint = Endpoint {
            address: [10, 1, 0, 2].into(),
            prefix: 24,
            gateway: None,
            interface: "eth0".into(),
            mac: "02:42:0a:01:00:02".parse().expect("legal"),
            veth: "veth-0a010002".into(),
            six: six.map(|address| Six {
                address: address.parse().expect("legal"),
                prefix: 64,
                gateway: None,
            }),
            egress: None,
            rates: crate::rate::Rates::default(),
        };
        let policy = policy.parse().expect("legal");
        ruleset(&table(&bridge, &endpoint.veth), &bridge, &endpoint, &policy)
    }

    #[test]
    fn what_is_allowed_becomes_a_line_and_nothing_else_does() {
        let none = sample("none", None);
        assert!(!none.contains("daddr") && !none.contains("set "), "{none}");
        let policy = "allow:198.51.100.0/24:80-90/tcp,192.0.2.7,*.a.test:443,2001:db8::/32";
        let some = sample(policy, None);
        for line in [
            "ip daddr 198.51.100.0/24 meta l4proto tcp th dport 80-90 accept",
            "ip daddr 192.0.2.7/32  accept",
            "ip daddr @name2v4 meta l4proto { tcp, udp } th dport 443-443 accept",
            "ip6 daddr 2001:db8::/32  accept",
            "set name2v6 { type ipv6_addr; flags timeout; size 65535; }",
        ] {
            assert!(some.contains(line), "{line}: {some}");
        }
        assert!(!some.contains("a.test"));
    }

    #[test]
    fn ipv6_is_let_in_only_from_addresses_of_its_own() {
        let without = sample("none", None);
        assert!(without.contains("ether type != { ip, arp } ") && !without.contains("ip6 saddr"));
        assert!(without.contains("meta nfproto ipv6 accept"), "its neighbours' is not its own");
        let with = sample("none", Some("fd00:76::2"));
        for line in [
            "ether type != { ip, arp, ip6 } counter name forged drop",
            "ip6 saddr != { fd00:76::2, fe80::42:aff:fe01:2, :: } counter name forged drop",
            "@th,64,128 != 0xfd000076000000000000000000000002 ",
            "ip6 saddr != { fd00:76::2, fe80::42:aff:fe01:2 } accept",
        ] {
            assert!(with.contains(line), "{line}: {with}");
        }
    }
}
