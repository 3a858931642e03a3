//! Published ports: what arrives at a port of the host goes to a container.
//!
//! ```text
//!   a client ──▶ host:8080 ──dnat──▶ 172.30.0.2:80        the client's address is kept
//!   the host ──▶ 127.0.0.1:8080 ──dnat, masquerade──▶     the container sees the bridge's
//!   a container ──▶ host:8080 ──dnat──▶ on its own bridge: masqueraded, so that the answer comes back
//!
//!   table inet hull-ports-hull0     made with the first port, gone with the last
//!     map at   address . protocol . port : container's address . port
//!     map any            protocol . port : container's address . port
//! ```
//!
//! Every change replaces the table in one transaction, so that it is never half there; connections that
//! are established go on. No rule of anybody else is read or changed, and none is overridden, as
//! [`crate::filter`] says.
//!
//! While the engine runs it holds a socket on each port, to which nothing ever comes: it keeps the port
//! from other programs, and finds out that one of them has it.
//!
//! Invariant: what the table says is what [`Ports`] has noted, and no two containers have one port.
//!
//! Spec: nft(8) "NAT statements", "Map"; kernel ip-sysctl.rst, `route_localnet`.

mod owner;

use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use spec::{ContainerId, Kind};

use crate::bridge::InterfaceName;
use crate::filter;

/// Where ports come from that nobody asked for, if the host does not say.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);
/// The host's own choice.
const LOCAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What a port is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// Associations.
    Sctp,
}

/// A port of a container that the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// What both ports are of.
    pub protocol: Protocol,
    /// The host's address; unspecified for all of them.
    pub host: Ipv4Addr,
    /// The host's port.
    pub port: u16,
    /// The container's address.
    pub to: Ipv4Addr,
    /// The container's port.
    pub inside: u16,
}

/// A port of a container that the host is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What both ports are of.
    pub protocol: Protocol,
    /// The host's address; unspecified for all of them.
    pub host: Ipv4Addr,
    /// The first and last of the host's ports to choose from; `None` for any.
    pub ports: Option<(u16, u16)>,
    /// The container's port.
    pub inside: u16,
}

/// All that one engine has published.
#[derive(Debug)]
pub struct Ports {
    table: String,
    held: Mutex<Vec<Held>>,
}

/// Who has a port.
#[derive(Debug)]
struct Held {
    id: ContainerId,
    published: Published,
    /// Keeps the port; `None` where that could not be had again after a restart.
    _socket: Option<Socket>,
}

/// A socket that nothing comes to.
#[derive(Debug)]
enum Socket {
    Stream { _listener: TcpListener },
    Datagram { _socket: UdpSocket },
}

/// Why a port is not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another container has it.
    #[error("Bind for {host}:{port} failed: port is already allocated: container {owner} has it")]
    Allocated {
        /// The host's address.
        host: Ipv4Addr,
        /// The host's port.
        port: u16,
        /// Whose it is.
        owner: ContainerId,
    },
    /// A program of the host has it.
    #[error("Bind for {host}:{port} failed: port is already allocated: {owner} has it")]
    InUse {
        /// The host's address.
        host: Ipv4Addr,
        /// The host's port.
        port: u16,
        /// What is known of the program.
        owner: String,
    },
    /// The host does not give it.
    #[error("Bind for {host}:{port} failed")]
    Bind {
        /// The host's address.
        host: Ipv4Addr,
        /// The host's port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// There is none left to choose.
    #[error("Bind for {host} failed: all ports from {first} to {last} are allocated")]
    None {
        /// The host's address.
        host: Ipv4Addr,
        /// The first that could be had.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The host's loopback addresses cannot be let through to the bridge.
    #[error("write 1 to {0}")]
    Localnet(String, #[source] io::Error),
    /// The packet filter refused.
    #[error(transparent)]
    Filter(#[from] filter::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Allocated { .. } | Self::InUse { .. } => Kind::Conflict,
            Self::None { .. } => Kind::Exhausted,
            Self::Filter(error) => error.kind(),
            Self::Bind { .. } => Kind::Invalid,
            Self::Localnet(..) => Kind::Internal,
        }
    }
}

impl Ports {
    /// Those of the engine whose own bridge is `bridge`. Nothing is changed yet.
    pub fn of(bridge: &InterfaceName) -> Self {
        Self { table: format!("hull-ports-{bridge}"), held: Mutex::default() }
    }

    /// Notes what a container from an engine's earlier life has. To be called for every one of them
    /// before [`restore`](Self::restore). A port that a program of the host took meanwhile stays
    /// published: what comes to it does not reach that program.
    pub fn adopt(&self, id: &ContainerId, published: &[Published]) {
        let held = published.iter().map(|published| {
            let socket = Socket::hold(published.protocol, published.host, published.port);
            Held { id: id.clone(), published: *published, _socket: socket.ok().flatten() }
        });
        self.held().extend(held);
    }

    /// Puts the table in place as it is noted.
    pub fn restore(&self) -> Result<(), Error> {
        Ok(self.apply(&self.held())?)
    }

    /// Publishes ports of the container `id`, which is at address `to` on `bridge`; all of them or none.
    /// They are given back by [`withdraw`](Self::withdraw).
    pub fn publish(
        &self,
        id: &ContainerId,
        bridge: &InterfaceName,
        to: Ipv4Addr,
        wanted: &[Wanted],
    ) -> Result<Vec<Published>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        admit_loopback(bridge)?;
        let mut held = self.held();
        let before = held.len();
        let added = wanted.iter().try_for_each(|wanted| {
            let (published, socket) = choose(&held, to, wanted)?;
            held.push(Held { id: id.clone(), published, _socket: socket });
            Ok(())
        });
        if let Err(error) = added.and_then(|()| Ok(self.apply(&held)?)) {
            held.truncate(before);
            return Err(error);
        }
        Ok(held[before..].iter().map(|held| held.published).collect())
    }

    /// Takes back all that the container has published. A second call changes nothing.
    pub fn withdraw(&self, id: &ContainerId) -> Result<(), Error> {
        let mut held = self.held();
        let before = held.len();
        held.retain(|held| held.id != *id);
        if held.len() == before {
            return Ok(());
        }
        Ok(self.apply(&held)?)
    }

    fn apply(&self, held: &[Held]) -> Result<(), filter::Error> {
        filter::nft(&self.table, &[], &ruleset(&self.table, held))
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        // Whoever adds takes back what failed, so a poisoned list is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's port for what is wanted, and what keeps it.
fn choose(
    held: &[Held],
    to: Ipv4Addr,
    wanted: &Wanted,
) -> Result<(Published, Option<Socket>), Error> {
    let Wanted { protocol, host, inside, .. } = *wanted;
    let (first, last) = wanted.ports.unwrap_or_else(ephemeral);
    for port in first..=last {
        let published = Published { protocol, host, port, to, inside };
        match take(held, published) {
            Ok(socket) => return Ok((published, socket)),
            Err(Error::Allocated { .. } | Error::InUse { .. }) if first < last => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::None { host, first, last })
}

fn take(held: &[Held], wanted: Published) -> Result<Option<Socket>, Error> {
    let Published { protocol, host, port, .. } = wanted;
    if let Some(other) = held.iter().find(|held| held.published.collides(&wanted)) {
        return Err(Error::Allocated { host, port, owner: other.id.clone() });
    }
    Socket::hold(protocol, host, port).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            let owner = owner::of(protocol, port);
            let owner = owner.unwrap_or_else(|| "another program of the host".to_owned());
            Error::InUse { host, port, owner }
        }
        _ => Error::Bind { host, port, source },
    })
}

/// The ports that the host gives to whoever does not care.
fn ephemeral() -> (u16, u16) {
    let text = fs::read_to_string(LOCAL_RANGE).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => (first, last),
        _ => EPHEMERAL,
    }
}

/// Lets the kernel send to `bridge` what comes from the host's loopback addresses. Nothing comes back to
/// them from there: the bridge's filter sees to that.
fn admit_loopback(bridge: &InterfaceName) -> Result<(), Error> {
    let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    fs::write(&path, "1").map_err(|source| Error::Localnet(path, source))
}

impl Published {
    /// Whether the two cannot both be.
    fn collides(&self, other: &Self) -> bool {
        let everywhere = self.host.is_unspecified() || other.host.is_unspecified();
        self.protocol == other.protocol
            && self.port == other.port
            && (everywhere || self.host == other.host)
    }
}

impl Socket {
    /// `None` where sockets of such a kind are not needed.
    fn hold(protocol: Protocol, host: Ipv4Addr, port: u16) -> io::Result<Option<Self>> {
        let at = SocketAddr::from((host, port));
        Ok(match protocol {
            Protocol::Tcp => Some(Self::Stream { _listener: TcpListener::bind(at)? }),
            Protocol::Udp => Some(Self::Datagram { _socket: UdpSocket::bind(at)? }),
            // Few kernels have it, and it is translated without.
            Protocol::Sctp => None,
        })
    }
}

/// The table, or its end where there is nothing in it.
fn ruleset(table: &str, held: &[Held]) -> String {
    // To delete what may not be there, add it first: all of it happens in one transaction.
    let mut text = format!("add table inet {table}\ndelete table inet {table}\n");
    if held.is_empty() {
        return text;
    }
    let (mut at, mut any) = (Vec::new(), Vec::new());
    for Held { published, .. } in held {
        let Published { protocol, host, port, to, inside } = published;
        if host.is_unspecified() {
            any.push(format!("{protocol} . {port} : {to} . {inside}"));
        } else {
            at.push(format!("{host} . {protocol} . {port} : {to} . {inside}"));
        }
    }
    let elements = |map: &[String]| match map {
        [] => String::new(),
        map => format!("elements = {{ {} }}", map.join(", ")),
    };
    let (at, any) = (elements(&at), elements(&any));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "table inet {table} {{
            map at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {at} }}
            map any {{ type inet_proto . inet_service : ipv4_addr . inet_service; {any} }}
            chain ports {{
                dnat ip to ip daddr . meta l4proto . th dport map @at
                dnat ip to meta l4proto . th dport map @any
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
            }}
        }}\n"
    );
    text
}

/// The text names no protocol that has ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid protocol: {0}")]
pub struct InvalidProtocol(pub String);

impl FromStr for Protocol {
    type Err = InvalidProtocol;

    fn from_str(text: &str) -> Result<Self, InvalidProtocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(InvalidProtocol(text.to_owned())),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_all_addresses_is_a_port_of_each() {
        let at = |host: [u8; 4], port, protocol| Published {
            protocol,
            host: host.into(),
            port,
            to: Ipv4Addr::LOCALHOST,
            inside: 80,
        };
        let all = at([0; 4], 8080, Protocol::Tcp);
        assert!(all.collides(&at([127, 0, 0, 1], 8080, Protocol::Tcp)));
        assert!(!all.collides(&at([127, 0, 0, 1], 8080, Protocol::Udp)));
        assert!(!all.collides(&at([0; 4], 8081, Protocol::Tcp)));
        let one = at([10, 0, 0, 1], 8080, Protocol::Tcp);
        assert!(!one.collides(&at([10, 0, 0, 2], 8080, Protocol::Tcp)));
    }

    #[test]
    fn a_table_is_there_as_long_as_there_are_ports() {
        let held = |host: [u8; 4]| Held {
            id: "web".parse().expect("legal"),
            published: Published {
                protocol: Protocol::Udp,
                host: host.into(),
                port: 53,
                to: [172, 30, 0, 2].into(),
                inside: 5353,
            },
            _socket: None,
        };
        assert_eq!(ruleset("t", &[]), "add table inet t\ndelete table inet t\n");
        let text = ruleset("t", &[held([0; 4]), held([127, 0, 0, 1])]);
        assert!(text.contains("{ udp . 53 : 172.30.0.2 . 5353 }"), "{text}");
        assert!(text.contains("{ 127.0.0.1 . udp . 53 : 172.30.0.2 . 5353 }"), "{text}");
    }
}
