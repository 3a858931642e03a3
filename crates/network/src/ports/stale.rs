//! Datagrams that go where a port no longer leads.
//!
//! The kernel decides by a connection's first packet, and a client of UDP that goes on sending by one socket
//! keeps its connection alive: to a container that is gone, or to the host where nobody listened then.

use std::net::IpAddr;

use sys::conntrack::{self, Flow};
use sys::netlink::Netlink;

use super::{Protocol, Published};

const UDP: u8 = 17;

/// Has clients of these ports be led anew by their next packet. Where the kernel keeps its connections to
/// itself they are so when it forgets them, after half a minute of silence.
pub(super) fn forget(gone: &[Published], new: &[Published]) {
    let udp = |all: &[Published]| -> Vec<_> {
        all.iter().copied().filter(|one| one.protocol == Protocol::Udp).collect()
    };
    let (gone, new) = (udp(gone), udp(new));
    if gone.is_empty() && new.is_empty() {
        return;
    }
    let own = Netlink::open().and_then(|mut netlink| netlink.all_addresses()).unwrap_or_default();
    let own: Vec<IpAddr> = own.into_iter().map(|(_, address)| address.ip).collect();
    let is_own = |ip: IpAddr| ip.is_loopback() || own.contains(&ip);
    let _ = conntrack::forget(|flow| {
        flow.protocol == UDP
            && (gone.iter().any(|port| leads(flow, port))
                || new.iter().any(|port| misses(flow, port, is_own)))
    });
}

fn leads(flow: &Flow, port: &Published) -> bool {
    flow.to.port() == port.port
        && (flow.answers.ip(), flow.answers.port()) == (port.to, port.inside)
}

/// Whether it is for the port and does not come to it.
fn misses(flow: &Flow, port: &Published, is_own: impl Fn(IpAddr) -> bool) -> bool {
    let (to, host) = (flow.to.ip(), port.host);
    let everywhere = host.is_unspecified() && host.is_ipv4() == to.is_ipv4() && is_own(to);
    flow.to.port() == port.port && (to == host || everywhere) && !leads(flow, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_stale_if_it_ends_elsewhere() {
        let flow = |to: &str, answers: &str| Flow {
            protocol: UDP,
            to: to.parse().expect("an address"),
            answers: answers.parse().expect("an address"),
        };
        let port = |host: [u8; 4]| Published {
            protocol: Protocol::Udp,
            host: host.into(),
            port: 53,
            to: [172, 30, 0, 3].into(),
            inside: 5353,
        };
        let own = |ip: IpAddr| ip.is_loopback();
        let all = port([0; 4]);
        for (to, answers, leads_there, misses_it) in [
            ("127.0.0.1:53", "172.30.0.3:5353", true, false),
            ("127.0.0.1:53", "172.30.0.2:5353", false, true),
            ("127.0.0.1:53", "127.0.0.1:53", false, true),
            ("127.0.0.1:54", "127.0.0.1:54", false, false),
            ("9.9.9.9:53", "9.9.9.9:53", false, false),
            ("[::1]:53", "[::1]:53", false, false),
        ] {
            let flow = flow(to, answers);
            assert_eq!((leads(&flow, &all), misses(&flow, &all, own)), (leads_there, misses_it));
        }
        assert!(!misses(&flow("127.0.0.1:53", "127.0.0.1:53"), &port([127, 0, 0, 2]), own));
    }
}
