//! The table of all ports that are published.

use std::fmt::Write;
use std::net::IpAddr;

use super::{Held, Published};

/// The elements of the table's maps.
#[derive(Debug, Default)]
struct Maps {
    at: Vec<String>,
    any: Vec<String>,
    at6: Vec<String>,
    any6: Vec<String>,
}

impl Maps {
    fn of(held: &[Held]) -> Self {
        let mut maps = Self::default();
        for Held { published, .. } in held {
            let Published { protocol, host, port, to, inside } = published;
            let (key, value) = (format!("{protocol} . {port}"), format!("{to} . {inside}"));
            let (at, any) = match host {
                IpAddr::V4(_) => (&mut maps.at, &mut maps.any),
                IpAddr::V6(_) => (&mut maps.at6, &mut maps.any6),
            };
            if host.is_unspecified() {
                any.push(format!("{key} : {value}"));
            } else {
                at.push(format!("{host} . {key} : {value}"));
            }
        }
        maps
    }
}

/// The table, or its end where there is nothing in it; `loops`: whether the host's `::1` is answered.
pub(super) fn ruleset(table: &str, held: &[Held], loops: bool) -> String {
    // To delete what may not be there, add it first: all of it happens in one transaction.
    let mut text = format!("add table inet {table}\ndelete table inet {table}\n");
    if held.is_empty() {
        return text;
    }
    let elements = |map: &[String]| match map {
        [] => String::new(),
        map => format!("elements = {{ {} }}", map.join(", ")),
    };
    let maps = Maps::of(held);
    let (at, any) = (elements(&maps.at), elements(&maps.any));
    let (at6, any6) = (elements(&maps.at6), elements(&maps.any6));
    let loopback = if loops { "" } else { "ip6 daddr ::1 return" };
    // Nobody else can listen there: a client tries 127.0.0.1 next.
    let refused = match (loops, maps.any6.as_slice()) {
        (true, _) | (_, []) => "",
        _ => "ip6 daddr ::1 tcp dport != 0 meta l4proto . th dport @any6 reject with tcp reset",
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "table inet {table} {{
            map at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {at} }}
            map any {{ type inet_proto . inet_service : ipv4_addr . inet_service; {any} }}
            map at6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; {at6} }}
            map any6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {any6} }}
            chain ports {{
                dnat ip to ip daddr . meta l4proto . th dport map @at
                dnat ip to meta l4proto . th dport map @any
                {loopback}
                dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6
                dnat ip6 to meta l4proto . th dport map @any6
            }}
            chain prerouting {{
                type nat hook prerouting priority dstnat; policy accept;
                fib daddr type local jump ports
            }}
            chain output {{
                type nat hook output priority -100; policy accept;
                fib daddr type local jump ports
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr 127.0.0.0/8 ct status dnat masquerade
                ip6 saddr ::1 ct status dnat masquerade
            }}
            chain refused {{
                type filter hook output priority filter; policy accept;
                {refused}
            }}
        }}\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Protocol;

    #[test]
    fn a_table_is_there_as_long_as_there_are_ports() {
        let held = |host: [u8; 4]| Held {
            id: "web".parse().expect("legal"),
            published: Published {
                protocol: Protocol::Udp,
                host: host.into(),
                port: 53,
                to: std::net::Ipv4Addr::new(172, 30, 0, 2).into(),
                inside: 5353,
            },
            _socket: None,
        };
        assert_eq!(ruleset("t", &[], true), "add table inet t\ndelete table inet t\n");
        let text = ruleset("t", &[held([0; 4]), held([127, 0, 0, 1])], true);
        assert!(text.contains("{ udp . 53 : 172.30.0.2 . 5353 }"), "{text}");
        assert!(text.contains("{ 127.0.0.1 . udp . 53 : 172.30.0.2 . 5353 }"), "{text}");
    }
}
