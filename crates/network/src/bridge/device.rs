//! The bridge's own device, and what of the host is around it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use sys::netlink::{Address, Netlink};

use super::{Error, Plan, link};
use crate::address::{Family, Layout, Subnet, mac_of};
use crate::name::InterfaceName;
use crate::{filter, sysctl};

/// What is noted of a device that we made: nobody else's is ever deleted.
pub(crate) const OURS: &str = "hull";
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The bridge with its addresses, forwarding and filter.
pub(super) fn ensure_bridge(
    netlink: &mut Netlink,
    name: &InterfaceName,
    plan: &Plan,
) -> Result<u32, Error> {
    let there = netlink.all_addresses().map_err(link("list the host's addresses for", name))?;
    refuse_overlap(netlink, name, plan.layout.subnet, &there)?;
    if let Some(layout) = &plan.layout6 {
        refuse_overlap(netlink, name, layout.subnet, &there)?;
    }
    let index = ensure_link(netlink, name, plan)?;
    ensure_forwarding()?;
    if plan.layout6.is_some() && !plan.internal {
        sysctl::forward_ipv6()?;
    }
    filter::apply(name, plan)?;
    Ok(index)
}

fn ensure_link(netlink: &mut Netlink, name: &InterfaceName, plan: &Plan) -> Result<u32, Error> {
    let gateway = plan.layout.gateway;
    // A MAC of its own: else the bridge takes that of its newest port, and neighbours lose it.
    let made = match netlink.add_bridge(name.as_str(), Some(mac_of(gateway))) {
        Err(source) if source.raw_os_error() != Some(libc::EEXIST) => {
            return Err(link("make bridge", name)(source));
        }
        made => made.is_ok(),
    };
    let index = match netlink.link(name.as_str()).map_err(link("find bridge", name))? {
        Some(found) if found.is_bridge => found.index,
        _ => return Err(Error::NotABridge(name.clone())),
    };
    if made {
        netlink.set_alias(index, OURS).map_err(link("note who made", name))?;
    }
    if let Some(mtu) = plan.mtu {
        netlink.set_mtu(index, mtu).map_err(link("set the MTU of", name))?;
    }
    let ours = |source| link("set up IPv6 of", name)(source);
    sysctl::trust_no_router(name.as_str()).map_err(ours)?;
    let six = plan.layout6.as_ref().map(address_of);
    if six.is_some() {
        // Where the host is to have no address it has not the one either that it gives itself.
        sysctl::set_ipv6(name.as_str(), !plan.without_host6).map_err(ours)?;
    }
    let four = Some(address_of(&plan.layout)).filter(|_| !plan.without_host);
    for address in four.into_iter().chain(six.filter(|_| !plan.without_host6)) {
        match netlink.add_address(index, address) {
            Err(source) if source.raw_os_error() != Some(libc::EEXIST) => {
                return Err(link("set the address of", name)(source));
            }
            _ => {}
        }
    }
    netlink.set_up(index, true).map_err(link("bring up", name))?;
    Ok(index)
}

/// Deletes the bridge or parent if it is one that we made.
pub(super) fn delete_ours(netlink: &mut Netlink, name: &InterfaceName) -> io::Result<()> {
    match netlink.link(name.as_str())? {
        Some(link) if link.alias.as_deref() == Some(OURS) => delete_if_there(netlink, &link.name),
        _ => Ok(()),
    }
}

/// The bridge's own address.
fn address_of<A: Family>(layout: &Layout<A>) -> Address {
    Address { ip: layout.gateway.into(), prefix: layout.subnet.prefix() }
}

fn refuse_overlap<A: Family>(
    netlink: &mut Netlink,
    name: &InterfaceName,
    subnet: Subnet<A>,
    there: &[(u32, Address)],
) -> Result<(), Error> {
    let own =
        netlink.link(name.as_str()).map_err(link("find bridge", name))?.map(|link| link.index);
    let overlaps = |(index, Address { ip, prefix }): &&(u32, Address)| {
        Some(*index) != own && subnet.overlaps(*ip, *prefix)
    };
    let Some((index, Address { ip, prefix })) = there.iter().find(overlaps) else { return Ok(()) };
    let links = netlink.links().map_err(link("list the host's devices for", name))?;
    let device = links.into_iter().find(|link| link.index == *index);
    Err(Error::Overlap {
        subnet: subnet.to_string(),
        device: device.map_or_else(|| format!("device {index}"), |device| device.name),
        address: format!("{ip}/{prefix}"),
    })
}

/// Where the host's addresses and routes lead, default routes left out: what no network should cover
/// that may be anywhere.
///
/// # Errors
///
/// Those of rtnetlink(7).
pub fn in_use() -> io::Result<Vec<(IpAddr, u8)>> {
    let mut netlink = Netlink::open()?;
    let addresses = netlink.all_addresses()?.into_iter().map(|(_, address)| address);
    let all = addresses.chain(netlink.destinations()?);
    Ok(all.map(|Address { ip, prefix }| (ip, prefix)).collect())
}

fn ensure_forwarding() -> Result<(), Error> {
    let on = fs::read_to_string(IP_FORWARD).is_ok_and(|text| text.trim() != "0");
    if on { Ok(()) } else { fs::write(IP_FORWARD, "1").map_err(Error::Forwarding) }
}

pub(super) fn delete_if_there(netlink: &mut Netlink, name: &str) -> io::Result<()> {
    let Some(link) = netlink.link(name)? else { return Ok(()) };
    match netlink.delete_link(link.index) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(error),
        _ => Ok(()),
    }
}

/// The host's end of the pair for `address`: its eight hex digits make the name unique on the host.
pub(super) fn host_end(address: Ipv4Addr) -> String {
    format!("veth-{:08x}", address.to_bits())
}
