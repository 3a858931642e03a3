//! Addresses and routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeader, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;

/// The priority of routes to `::1` that are not by `lo`.
const ADMITTED: u32 = 4096;

/// An address of an interface, with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// 0 to 32, or to 128.
    pub prefix: u8,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where it leads; prefix length 0 is the default route.
    pub to: Address,
    /// The router; `None` when the destinations are on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address to prefer.
    pub source: Option<IpAddr>,
    /// Its priority; the lowest number wins.
    pub metric: u32,
}

impl Route {
    /// The default route by `gateway`, of the gateway's family.
    pub fn default_by(gateway: IpAddr) -> Self {
        let ip = any(gateway);
        Self { to: Address { ip, prefix: 0 }, gateway: Some(gateway), source: None, metric: 0 }
    }
}

impl Netlink {
    /// Gives the interface an address. One of IPv6 can be used at once: nobody is asked whether another
    /// has it, as whoever gives it knows.
    ///
    /// # Errors
    ///
    /// `EEXIST` when it has it already.
    pub fn add_address(&mut self, index: u32, address: Address) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.ip);
        message.header.index = index;
        message.header.prefix_len = address.prefix;
        message.attributes.push(AddressAttribute::Address(address.ip));
        message.attributes.push(AddressAttribute::Local(address.ip));
        if let (IpAddr::V4(ip), 1..=30) = (address.ip, address.prefix) {
            let host_bits = u32::MAX >> address.prefix;
            let broadcast = Ipv4Addr::from(u32::from(ip) | host_bits);
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        if address.ip.is_ipv6() {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// The interface's addresses, without the link-local ones that the kernel makes itself.
    pub fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        self.addresses_that(index, |header| header.scope != AddressScope::Link)
    }

    /// The interface's addresses that are for everywhere and for good, not from a router or a lease.
    pub fn permanent_addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        self.addresses_that(index, |header| {
            header.scope == AddressScope::Universe
                && header.flags.contains(AddressHeaderFlags::Permanent)
        })
    }

    /// The addresses of all interfaces, with the interfaces' numbers, without the link-local ones.
    pub fn all_addresses(&mut self) -> io::Result<Vec<(u32, Address)>> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let found = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message)
                if message.header.scope != AddressScope::Link =>
            {
                address_of(&message).map(|address| (message.header.index, address))
            }
            _ => None,
        });
        Ok(found.collect())
    }

    /// Where the unicast routes of the main table lead, but for default routes and those to
    /// neighbours by link-local addresses.
    pub fn destinations(&mut self) -> io::Result<Vec<Address>> {
        self.routes_that(destination_of)
    }

    /// Has what is for IPv6's loopback address taken in when it comes by the interface, too. From
    /// outside it never does: only the answers to translated connections of this host become so.
    ///
    /// # Errors
    ///
    /// `EEXIST` when that is so already.
    pub fn admit_loopback(&mut self, index: u32) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet6,
            destination_prefix_length: 128,
            table: libc::RT_TABLE_LOCAL,
            protocol: RouteProtocol::Static,
            kind: RouteType::Local,
            ..RouteHeader::default()
        };
        message.attributes = vec![
            RouteAttribute::Destination(IpAddr::V6(Ipv6Addr::LOCALHOST).into()),
            RouteAttribute::Oif(index),
            // Behind that of `lo` itself.
            RouteAttribute::Priority(ADMITTED),
        ];
        self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn addresses_that(
        &mut self,
        index: u32,
        wanted: impl Fn(&AddressHeader) -> bool,
    ) -> io::Result<Vec<Address>> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message)
                    if message.header.index == index && wanted(&message.header) =>
                {
                    address_of(&message)
                }
                _ => None,
            })
            .collect())
    }

    /// Adds a route through the interface.
    ///
    /// # Errors
    ///
    /// `EEXIST` when there is one like it, `ENETUNREACH` when the gateway is not on the link.
    pub fn add_route(&mut self, index: u32, route: &Route) -> io::Result<()> {
        self.new_route(index, route, NLM_F_EXCL)
    }

    /// Adds a route through the interface in place of one to the same destinations, if there is one.
    ///
    /// # Errors
    ///
    /// `ENETUNREACH` when the gateway is not on the link.
    pub fn replace_route(&mut self, index: u32, route: &Route) -> io::Result<()> {
        self.new_route(index, route, NLM_F_REPLACE)
    }

    fn new_route(&mut self, index: u32, route: &Route, how: u16) -> io::Result<()> {
        let message = route_message(index, route);
        self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | how)
    }

    /// Removes a route through the interface.
    ///
    /// # Errors
    ///
    /// `ESRCH` when there is none like it.
    pub fn delete_route(&mut self, index: u32, route: &Route) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRoute(route_message(index, route)), 0)
    }

    /// The unicast routes of the main table through the interface, without those that the kernel
    /// made itself for the interface's addresses.
    pub fn routes(&mut self, index: u32) -> io::Result<Vec<Route>> {
        self.routes_that(|message| route_of(message, index))
    }

    /// What `wanted` makes of the routes of both families.
    fn routes_that<T>(
        &mut self,
        wanted: impl Fn(&RouteMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            for answer in self.dump(RouteNetlinkMessage::GetRoute(message))? {
                if let RouteNetlinkMessage::NewRoute(message) = answer {
                    found.extend(wanted(&message));
                }
            }
        }
        Ok(found)
    }
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(route.to.ip),
        destination_prefix_length: route.to.prefix,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: match route.gateway {
            Some(_) => RouteScope::Universe,
            None => RouteScope::Link,
        },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let attributes = &mut message.attributes;
    if route.to.prefix > 0 {
        attributes.push(RouteAttribute::Destination(route.to.ip.into()));
    }
    attributes.push(RouteAttribute::Oif(index));
    attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let mut ip = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => ip = Some(*local),
            AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
            _ => {}
        }
    }
    ip.map(|ip| Address { ip, prefix: message.header.prefix_len })
}

fn destination_of(message: &RouteMessage) -> Option<Address> {
    let header = &message.header;
    let wanted = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && header.destination_prefix_length > 0;
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(to) if wanted => ip_of(to),
        _ => None,
    })?;
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    (!link_local).then_some(Address { ip, prefix: header.destination_prefix_length })
}

fn route_of(message: &RouteMessage, index: u32) -> Option<Route> {
    let header = &message.header;
    let wanted = header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
        && header.protocol != RouteProtocol::Kernel;
    let through = |attribute: &RouteAttribute| *attribute == RouteAttribute::Oif(index);
    if !wanted || !message.attributes.iter().any(through) {
        return None;
    }
    let ip = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let to = Address { ip, prefix: header.destination_prefix_length };
    let mut route = Route { to, gateway: None, source: None, metric: 0 };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => route.to.ip = ip_of(to)?,
            RouteAttribute::Gateway(gateway) => route.gateway = ip_of(gateway),
            RouteAttribute::PrefSource(source) => route.source = ip_of(source),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            _ => {}
        }
    }
    Some(route)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
