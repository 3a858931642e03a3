//! Published ports: what arrives at a port of the host goes to a container.
//!
//! ```text
//!   a client ──▶ host:8080 ──dnat──▶ 172.30.0.2:80        the client's address is kept
//!   the host ──▶ 127.0.0.1:8080 ──dnat, masquerade──▶     the container sees the bridge's
//!   a container ──▶ host:8080 ──dnat──▶ on its own bridge: masqueraded, so that the answer comes back
//!
//!   table inet hull-ports-hull0     made with the first port, gone with the last
//!     map at   address . protocol . port : container's address . port       and at6 of IPv6
//!     map any            protocol . port : container's address . port       and any6
//! ```
//!
//! Every change replaces the table in one transaction, so that it is never half there; connections that
//! are established go on, but for those of UDP that lead elsewhere now, of which the kernel sees no end. No rule of anybody else is read or changed, and none is overridden, as
//! [`crate::filter`] says.
//!
//! While the engine runs it holds a socket on each port, to which nothing ever comes: it keeps the port
//! from other programs, and finds out that one of them has it.
//!
//! What the host sends to its own `::1` is answered where the kernel takes the answer, which comes by the
//! bridge, for its own: there is a route for that, but where bridged packets go through the packet filter
//! (`bridge-nf-call-ip6tables`) it is of no use, and such connections are refused.
//!
//! Invariant: what the table says is what [`Ports`] has noted, and no two containers have one port.
//!
//! Spec: nft(8) "NAT statements", "Map"; kernel ip-sysctl.rst, `route_localnet`.

mod owner;
mod protocol;
mod stale;
mod table;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use spec::{ContainerId, Kind};
use sys::netlink::Netlink;

use crate::endpoint::Endpoint;
use crate::name::InterfaceName;
use crate::{filter, sysctl};
pub use protocol::{InvalidProtocol, Protocol};
use table::ruleset;

/// Where ports come from that nobody asked for, if the host does not say.
const EPHEMERAL: (u16, u16) = (32_768, 60_999);
/// The host's own choice.
const LOCAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A port of a container that the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// What both ports are of.
    pub protocol: Protocol,
    /// The host's address; unspecified for all of them.
    pub host: IpAddr,
    /// The host's port.
    pub port: u16,
    /// The container's address, of the same family.
    pub to: IpAddr,
    /// The container's port.
    pub inside: u16,
}

/// A port of a container that the host is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// What both ports are of.
    pub protocol: Protocol,
    /// The host's address; unspecified for all of its family, `None` for all of them.
    pub host: Option<IpAddr>,
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
    _socket: Option<OwnedFd>,
}

/// Why a port is not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another container has it.
    #[error("Bind for {at} failed: port is already allocated: container {owner} has it")]
    Allocated {
        /// The host's address and port.
        at: SocketAddr,
        /// Whose it is.
        owner: ContainerId,
    },
    /// A program of the host has it.
    #[error("Bind for {at} failed: port is already allocated: {owner} has it")]
    InUse {
        /// The host's address and port.
        at: SocketAddr,
        /// What is known of the program.
        owner: String,
    },
    /// The host does not give it.
    #[error("Bind for {at} failed")]
    Bind {
        /// The host's address and port.
        at: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is none left to choose.
    #[error("Bind for {host} failed: all ports from {first} to {last} are allocated")]
    None {
        /// The host's address.
        host: IpAddr,
        /// The first that could be had.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The container has no address of the family.
    #[error(
        "{host}: the container has no IPv6 address: its network, {bridge}, was made without --ipv6"
    )]
    NoFamily {
        /// The host's address.
        host: IpAddr,
        /// The bridge.
        bridge: InterfaceName,
    },
    /// The host's own IPv6 loopback address is beyond the kernel's reach.
    #[error(
        "::1: the kernel does not take answers for it where bridged packets are filtered: publish at \
         127.0.0.1 or [::], or write 0 to /proc/sys/net/bridge/bridge-nf-call-ip6tables"
    )]
    Loopback,
    /// The host's loopback addresses cannot be let through to the bridge.
    #[error("write 1 to {0}")]
    Localnet(String, #[source] io::Error),
    /// Answers to `::1` cannot be let in.
    #[error("add a local route for ::1 by {0}")]
    Route(InterfaceName, #[source] io::Error),
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
            Self::Bind { .. } | Self::NoFamily { .. } => Kind::Invalid,
            Self::Loopback => Kind::Unsupported,
            Self::Localnet(..) | Self::Route(..) => Kind::Internal,
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
        self.held().extend(kept(id, published));
    }

    /// Puts the table in place as it is noted.
    pub fn restore(&self) -> Result<(), Error> {
        Ok(self.apply(&self.held())?)
    }

    /// Publishes ports of the container `id`, whose place on `bridge` is `endpoint`; all of them or none.
    /// They are given back by [`withdraw`](Self::withdraw).
    pub fn publish(
        &self,
        id: &ContainerId,
        bridge: &InterfaceName,
        endpoint: &Endpoint,
        wanted: &[Wanted],
    ) -> Result<Vec<Published>, Error> {
        self.change(id, bridge, endpoint, wanted, &[])
    }

    /// The same, and takes back those of its ports that are `gone`, in one step: `wanted` may be where
    /// they were. If it fails they are its own as before.
    pub fn change(
        &self,
        id: &ContainerId,
        bridge: &InterfaceName,
        endpoint: &Endpoint,
        wanted: &[Wanted],
        gone: &[Published],
    ) -> Result<Vec<Published>, Error> {
        if wanted.is_empty() && gone.is_empty() {
            return Ok(Vec::new());
        }
        if !wanted.is_empty() {
            admit_loopback(bridge, endpoint)?;
        }
        let mut held = self.held();
        // Their sockets are closed at once, and would be in the way of others.
        held.retain(|held| held.id != *id || !gone.contains(&held.published));
        let before = held.len();
        let added = wanted.iter().try_for_each(|wanted| {
            let chosen = choose(&held, bridge, endpoint, wanted)?;
            let keep = |(published, socket)| Held { id: id.clone(), published, _socket: socket };
            held.extend(chosen.into_iter().map(keep));
            Ok(())
        });
        if let Err(error) = added.and_then(|()| Ok(self.apply(&held)?)) {
            held.truncate(before);
            held.extend(kept(id, gone));
            return Err(error);
        }
        let new: Vec<_> = held[before..].iter().map(|held| held.published).collect();
        stale::forget(gone, &new);
        Ok(new)
    }

    /// Takes back all that the container has published. A second call changes nothing.
    pub fn withdraw(&self, id: &ContainerId) -> Result<(), Error> {
        let mut held = self.held();
        let gone: Vec<_> =
            held.iter().filter(|one| one.id == *id).map(|one| one.published).collect();
        if gone.is_empty() {
            return Ok(());
        }
        held.retain(|held| held.id != *id);
        self.apply(&held)?;
        stale::forget(&gone, &[]);
        Ok(())
    }

    fn apply(&self, held: &[Held]) -> Result<(), filter::Error> {
        filter::nft(&self.table, &[], &ruleset(&self.table, held, sysctl::answers_loopback()))
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        // Whoever adds takes back what failed, so a poisoned list is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ports that are published already, with the sockets that can be had for them.
fn kept(id: &ContainerId, published: &[Published]) -> impl Iterator<Item = Held> {
    published.iter().map(|published| {
        let socket = hold(published.protocol, published.at());
        Held { id: id.clone(), published: *published, _socket: socket.ok().flatten() }
    })
}

/// The host's port for what is wanted, at each of its addresses, and what keeps it.
fn choose(
    held: &[Held],
    bridge: &InterfaceName,
    endpoint: &Endpoint,
    wanted: &Wanted,
) -> Result<Vec<(Published, Option<OwnedFd>)>, Error> {
    let ways = ways(bridge, endpoint, wanted.host)?;
    let (first, last) = wanted.ports.unwrap_or_else(ephemeral);
    for port in first..=last {
        let Wanted { protocol, inside, .. } = *wanted;
        let all = ways.iter().map(|&(host, to)| {
            let published = Published { protocol, host, port, to, inside };
            take(held, published).map(|socket| (published, socket))
        });
        match all.collect() {
            Err(Error::Allocated { .. } | Error::InUse { .. }) if first < last => {}
            chosen => return chosen,
        }
    }
    Err(Error::None { host: ways[0].0, first, last })
}

/// From which address of the host to which of the container: with all of the host's IPv4 addresses go
/// those of IPv6, if the container has one.
fn ways(
    bridge: &InterfaceName,
    endpoint: &Endpoint,
    host: Option<IpAddr>,
) -> Result<Vec<(IpAddr, IpAddr)>, Error> {
    let four = IpAddr::from(endpoint.address);
    let six = endpoint.six.as_ref().map(|six| IpAddr::from(six.address));
    match (host, six) {
        (None, six) => {
            let six = six.map(|six| (Ipv6Addr::UNSPECIFIED.into(), six));
            let four = (std::net::Ipv4Addr::UNSPECIFIED.into(), four);
            Ok(std::iter::once(four).chain(six).collect())
        }
        (Some(host @ IpAddr::V4(_)), _) => Ok(vec![(host, four)]),
        (Some(host @ IpAddr::V6(_)), Some(_))
            if host.is_loopback() && !sysctl::answers_loopback() =>
        {
            Err(Error::Loopback)
        }
        (Some(host @ IpAddr::V6(_)), Some(six)) => Ok(vec![(host, six)]),
        (Some(host), None) => Err(Error::NoFamily { host, bridge: bridge.clone() }),
    }
}

fn take(held: &[Held], wanted: Published) -> Result<Option<OwnedFd>, Error> {
    let (protocol, at) = (wanted.protocol, wanted.at());
    if let Some(other) = held.iter().find(|held| held.published.collides(&wanted)) {
        return Err(Error::Allocated { at, owner: other.id.clone() });
    }
    hold(protocol, at).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            let owner = owner::of(protocol, at.port());
            let owner = owner.unwrap_or_else(|| "another program of the host".to_owned());
            Error::InUse { at, owner }
        }
        _ => Error::Bind { at, source },
    })
}

/// A socket that keeps a port, and to which nothing comes; `None` where such are not needed.
fn hold(protocol: Protocol, at: SocketAddr) -> io::Result<Option<OwnedFd>> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
        // Few kernels have it, and it is translated without.
        Protocol::Sctp => return Ok(None),
    };
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // A server that has just gone does not count.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &at)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, 0)?;
    }
    Ok(Some(socket))
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

/// Lets the kernel send to `bridge` what comes from the host's loopback addresses, and take in the
/// answers. Nothing else comes to them from there: the bridge's filter sees to that in IPv4, the kernel in
/// IPv6.
fn admit_loopback(bridge: &InterfaceName, endpoint: &Endpoint) -> Result<(), Error> {
    let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    fs::write(&path, "1").map_err(|source| Error::Localnet(path, source))?;
    if endpoint.six.is_none() {
        return Ok(());
    }
    let admit = || {
        let mut netlink = Netlink::open()?;
        let index = netlink.index(bridge.as_str())?;
        netlink.admit_loopback(index)
    };
    match admit() {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
            Err(Error::Route(bridge.clone(), error))
        }
        _ => Ok(()),
    }
}

impl Published {
    /// Where it is on the host.
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether the two cannot both be.
    fn collides(&self, other: &Self) -> bool {
        let everywhere = self.host.is_unspecified() || other.host.is_unspecified();
        self.protocol == other.protocol
            && self.port == other.port
            && self.host.is_ipv4() == other.host.is_ipv4()
            && (everywhere || self.host == other.host)
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
            to: std::net::Ipv4Addr::LOCALHOST.into(),
            inside: 80,
        };
        let all = at([0; 4], 8080, Protocol::Tcp);
        assert!(all.collides(&at([127, 0, 0, 1], 8080, Protocol::Tcp)));
        assert!(!all.collides(&at([127, 0, 0, 1], 8080, Protocol::Udp)));
        assert!(!all.collides(&at([0; 4], 8081, Protocol::Tcp)));
        let one = at([10, 0, 0, 1], 8080, Protocol::Tcp);
        assert!(!one.collides(&at([10, 0, 0, 2], 8080, Protocol::Tcp)));
    }
}
