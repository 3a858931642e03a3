//! The rules that hold a container to its [`Policy`], on the host's end of its device.
//!
//! ```text
//!   table netdev hull-egress-hull0-veth-ac1e0002      what comes out of the container's device
//!     chain ingress   another MAC or address than its own, IPv6, VLANs     -> counted, dropped
//!   table inet hull-egress-hull0-veth-ac1e0002        what has its address
//!     chain forward   answers; to its own network; allowed                 -> on to other rules
//!                     else                                                 -> counted, dropped
//!     chain input     answers; allowed by its address                      -> on
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
use std::net::{IpAddr, Ipv4Addr};

use super::{Host, Policy, Ports, Rule, Transport};
use crate::endpoint::Endpoint;
use crate::filter::{self, Error};
use crate::name::InterfaceName;

/// What the tables' names begin with.
const PREFIX: &str = "hull-egress-";
/// The shortest time for which a name's address is let through, in seconds: the container has yet to
/// connect to it.
const SHORTEST: u32 = 2;
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
    let Endpoint { address, mac, veth, .. } = endpoint;
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
                ether type != {{ ip, arp }} counter name forged drop
                arp saddr ether != {mac} counter name forged drop
                arp saddr ip != {{ {address}, 0.0.0.0 }} counter name forged drop
                ip saddr != {address} counter name forged drop
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
                ct state established,related accept
                jump allowed
                counter name host drop
            }}
        }}\n",
        inet = fresh("inet"),
        netdev = fresh("netdev"),
    )
}

/// The sets that a rule needs, and its own lines.
fn lines(number: usize, rule: &Rule) -> (String, String) {
    let ports = rule.ports.map(ports).unwrap_or_default();
    let line = |family: &str, to: &str| format!("{family} daddr {to} {ports} accept\n");
    match &rule.host {
        Host::Network(ip, length) => (String::new(), line("ip", &format!("{ip}/{length}"))),
        Host::Name(_) | Host::Below(_) => {
            let four = set(number, Ipv4Addr::UNSPECIFIED.into());
            let six = set(number, std::net::Ipv6Addr::UNSPECIFIED.into());
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

    fn sample(policy: &str) -> String {
        let bridge: InterfaceName = "br-x".parse().expect("legal");
        let endpoint = Endpoint {
            address: [10, 1, 0, 2].into(),
            prefix: 24,
            gateway: None,
            interface: "eth0".into(),
            mac: "02:42:0a:01:00:02".parse().expect("legal"),
            veth: "veth-0a010002".into(),
            six: None,
            egress: None,
            rates: crate::rate::Rates::default(),
        };
        let policy = policy.parse().expect("legal");
        ruleset(&table(&bridge, &endpoint.veth), &bridge, &endpoint, &policy)
    }

    #[test]
    fn what_is_allowed_becomes_a_line_and_nothing_else_does() {
        let none = sample("none");
        assert!(!none.contains("daddr") && !none.contains("set "), "{none}");
        let some = sample("allow:198.51.100.0/24:80-90/tcp,192.0.2.7,*.a.test:443");
        for line in [
            "ip daddr 198.51.100.0/24 meta l4proto tcp th dport 80-90 accept",
            "ip daddr 192.0.2.7/32  accept",
            "ip daddr @name2v4 meta l4proto { tcp, udp } th dport 443-443 accept",
            "set name2v6 { type ipv6_addr; flags timeout; size 65535; }",
        ] {
            assert!(some.contains(line), "{line}: {some}");
        }
        assert!(!some.contains("a.test"));
    }
}
