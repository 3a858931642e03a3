//! One bridge, its address, and the containers attached to it.
//!
//! ```text
//!   ensure:  link + address + up  ->  forwarding on  ->  packet filter
//!   attach:  address from the pool  ->  veth pair, one end in the namespace  ->  up, with its address
//!   detach:  address back to the pool; the kernel deletes the pair with its namespace
//!   unplug:  the pair is deleted from a namespace that stays
//! ```
//!
//! Invariant: a device that bears the name of a free address belongs to nobody. `attach` deletes it:
//! its namespace is about to go, or was left by an engine that died.
//!
//! Spec: rtnetlink(7), veth(4).

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spec::{ContainerId, Kind};
use sys::netlink::{Address, Mac, Netlink, Peer, Route};

use crate::address::{Layout, Pool, Subnet, mac_of};
use crate::netns::Namespace;
use crate::{address, filter};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The name of a network device: 1 to 15 letters, digits, `-`, `_` or `.`, starting with a letter.
///
/// Narrower than the kernel's rule, so that a name needs no quoting in a packet filter or path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

/// The text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid interface name {0:?}: want 1 to 15 letters, digits, '-', '_' or '.', first a letter"
)]
pub struct InvalidName(pub String);

/// A bridge on this host. Shared by reference; calls may come from many threads at once.
#[derive(Debug)]
pub struct Bridge {
    name: InterfaceName,
    index: u32,
    plan: Plan,
    pool: Mutex<Pool>,
}

/// What a bridge is to be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its addresses.
    pub layout: Layout,
    /// Whether nothing gets out of it or in from elsewhere, but for the host itself.
    #[serde(default)]
    pub internal: bool,
    /// Whether its containers are seen elsewhere by the host's address.
    pub masquerade: bool,
    /// The largest packet, in bytes; `None` for the kernel's choice.
    #[serde(default)]
    pub mtu: Option<u32>,
}

impl From<Layout> for Plan {
    fn from(layout: Layout) -> Self {
        Self { layout, internal: false, masquerade: true, mtu: None }
    }
}

/// What a container wants of its place on a bridge.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The name of its device.
    pub interface: &'a str,
    /// `None` for any that is free.
    pub address: Option<Ipv4Addr>,
    /// `None` for the one that belongs to the address.
    pub mac: Option<Mac>,
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
}

/// Why the bridge or a place on it could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bridge device.
    #[error("{doing} {name}")]
    Link {
        /// The step.
        doing: &'static str,
        /// The bridge.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A device of this name exists and is no bridge.
    #[error("{0} exists and is no bridge; name another with --bridge")]
    NotABridge(InterfaceName),
    /// A device of the host has an address in the subnet already.
    #[error("{subnet} is in use by {device} ({address}); choose another with --subnet")]
    Overlap {
        /// What was asked for.
        subnet: Subnet,
        /// The other device.
        device: String,
        /// Its address and prefix.
        address: String,
    },
    /// Packets cannot be forwarded.
    #[error("write 1 to {IP_FORWARD}")]
    Forwarding(#[source] io::Error),
    /// The packet filter refused.
    #[error(transparent)]
    Filter(#[from] filter::Error),
    /// No address.
    #[error("network {bridge}")]
    Address {
        /// The bridge.
        bridge: InterfaceName,
        /// Why not.
        source: address::Error,
    },
    /// A container's device.
    #[error("{doing} of container {id}")]
    Attach {
        /// The step and device.
        doing: &'static str,
        /// Whose.
        id: ContainerId,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotABridge(_) | Self::Overlap { .. } => Kind::Conflict,
            Self::Filter(source) => source.kind(),
            Self::Address { source, .. } => source.kind(),
            Self::Link { source, .. } | Self::Forwarding(source) | Self::Attach { source, .. } => {
                match source.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) => Kind::Denied,
                    Some(libc::EOPNOTSUPP) => Kind::Unsupported,
                    _ => Kind::Internal,
                }
            }
        }
    }
}

impl Bridge {
    /// Makes the bridge `name` with the first address of `subnet`, or takes the one that is there
    /// from an earlier run; turns on forwarding and puts the packet filter in place.
    ///
    /// `ip_forward` is written only where it is 0. The bridge stays when the engine ends, so that
    /// containers keep their network; [`Bridge::remove`] takes it away.
    ///
    /// # Errors
    ///
    /// [`Error::NotABridge`] and [`Error::Overlap`] before anything was changed.
    pub fn ensure(name: &InterfaceName, plan: Plan) -> Result<Self, Error> {
        let address = |source| Error::Address { bridge: name.clone(), source };
        plan.layout.check().map_err(address)?;
        let mut netlink = Netlink::open().map_err(link("open netlink for", name))?;
        refuse_overlap(&mut netlink, name, plan.layout.subnet)?;
        let index = ensure_link(&mut netlink, name, &plan)?;
        ensure_forwarding()?;
        filter::apply(name, &plan)?;
        let pool = Mutex::new(Pool::new(plan.layout.clone()));
        Ok(Self { name: name.clone(), index, plan, pool })
    }

    /// The device's name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// Its addresses.
    pub fn layout(&self) -> &Layout {
        &self.plan.layout
    }

    /// Notes that a container from an engine's earlier life has `endpoint`. To be called for every
    /// one of them before the first [`attach`](Self::attach).
    pub fn adopt(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        self.pool().claim(id, endpoint.address).map_err(|source| self.no_address(source))
    }

    /// Connects `namespace` to the bridge by a device that is up and has an address. Which way leads
    /// elsewhere is for [`Namespace::set_gateway`] to say.
    pub fn attach(
        &self,
        id: &ContainerId,
        namespace: &Namespace,
        wish: &Wish<'_>,
    ) -> Result<Endpoint, Error> {
        let address = self.take(id, wish.address).map_err(|source| self.no_address(source))?;
        let layout = &self.plan.layout;
        let endpoint = Endpoint {
            address,
            prefix: layout.subnet.prefix(),
            gateway: (!self.plan.internal).then_some(layout.gateway),
            interface: wish.interface.to_owned(),
            mac: wish.mac.unwrap_or_else(|| mac_of(address)),
            veth: host_end(address),
        };
        if let Err(error) = self.connect(id, namespace, &endpoint) {
            // The first error is the one that tells.
            let _ = self.unplug(id, &endpoint);
            return Err(error);
        }
        Ok(endpoint)
    }

    fn take(&self, id: &ContainerId, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, address::Error> {
        let mut pool = self.pool();
        match wanted {
            Some(address) => pool.claim(id, address).map(|()| address),
            None => pool.take(id),
        }
    }

    /// Lets the container reach itself by a port that is published for it. Where bridges pass frames
    /// through the packet filter, such a frame never leaves the bridge, and goes back where it came from.
    pub fn reflect(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(attach("open netlink for a device", id))?;
        netlink
            .index(&endpoint.veth)
            .and_then(|veth| netlink.set_hairpin(veth, true))
            .map_err(attach("let frames back to a device", id))
    }

    /// Takes the container's device out of its namespace, which stays, and its address back.
    pub fn unplug(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(attach("open netlink for a device", id))?;
        let deleted = delete_if_there(&mut netlink, &endpoint.veth);
        self.detach(id, endpoint);
        deleted.map_err(attach("delete a device", id))
    }

    /// Gives the container's address back. A second call changes nothing.
    ///
    /// The devices go with the namespace, which the caller [deletes](crate::Namespaces::delete) in
    /// any order with this: the kernel destroys them in the background, where deleting a veth would
    /// have the caller wait 20 ms for it.
    pub fn detach(&self, id: &ContainerId, endpoint: &Endpoint) {
        self.pool().give_back(id, endpoint.address);
    }

    /// Removes the bridge and its packet filter unless a container is attached; says whether it did.
    /// Forwarding stays as it is: others may have come to rely on it.
    pub fn remove(&self) -> Result<bool, Error> {
        if !self.pool().is_empty() {
            return Ok(false);
        }
        let mut netlink = Netlink::open().map_err(link("open netlink for", &self.name))?;
        let link =
            delete_if_there(&mut netlink, &self.name.0).map_err(link("delete bridge", &self.name));
        filter::remove(&self.name)?;
        link.map(|()| true)
    }

    fn connect(
        &self,
        id: &ContainerId,
        namespace: &Namespace,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(attach("open netlink for a device", id))?;
        delete_if_there(&mut netlink, &endpoint.veth).map_err(attach("replace veth", id))?;
        let peer = Peer {
            name: &endpoint.interface,
            mac: Some(endpoint.mac),
            netns: Some(namespace.as_fd()),
        };
        netlink
            .add_veth(&endpoint.veth, &peer)
            .and_then(|()| {
                let veth = netlink.index(&endpoint.veth)?;
                if let Some(mtu) = self.plan.mtu {
                    netlink.set_mtu(veth, mtu)?;
                }
                netlink.set_master(veth, self.index)?;
                netlink.set_up(veth, true)
            })
            .map_err(attach("make a device", id))?;
        sys::netns::within(namespace.as_fd(), || configure(endpoint, self.plan.mtu))
            .map_err(attach("set up a device", id))
    }

    fn no_address(&self, source: address::Error) -> Error {
        Error::Address { bridge: self.name.clone(), source }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Each of the pool's operations is complete or changed nothing, so poison means no harm.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the device, in the calling thread's namespace, its address.
fn configure(endpoint: &Endpoint, mtu: Option<u32>) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let device = netlink.index(&endpoint.interface)?;
    if let Some(mtu) = mtu {
        netlink.set_mtu(device, mtu)?;
    }
    let ip = IpAddr::V4(endpoint.address);
    netlink.add_address(device, Address { ip, prefix: endpoint.prefix })?;
    netlink.set_up(device, true)
}

impl Namespace {
    /// Lets what is for elsewhere go by the endpoint's gateway, in place of any other.
    ///
    /// # Errors
    ///
    /// [`Error::Attach`], for `id`'s sake.
    pub fn set_gateway(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let Some(gateway) = endpoint.gateway else { return Ok(()) };
        let replace = || {
            let mut netlink = Netlink::open()?;
            let device = netlink.index(&endpoint.interface)?;
            netlink.replace_route(device, &Route::default_by(IpAddr::V4(gateway)))
        };
        sys::netns::within(self.as_fd(), replace).map_err(attach("set the gateway", id))
    }
}

fn ensure_link(netlink: &mut Netlink, name: &InterfaceName, plan: &Plan) -> Result<u32, Error> {
    let Layout { subnet, gateway, .. } = plan.layout;
    // A MAC of its own: else the bridge takes that of its newest port, and neighbours lose it.
    match netlink.add_bridge(&name.0, Some(mac_of(gateway))) {
        Err(source) if source.raw_os_error() != Some(libc::EEXIST) => {
            return Err(link("make bridge", name)(source));
        }
        _ => {}
    }
    let index = match netlink.link(&name.0).map_err(link("find bridge", name))? {
        Some(found) if found.is_bridge => found.index,
        _ => return Err(Error::NotABridge(name.clone())),
    };
    if let Some(mtu) = plan.mtu {
        netlink.set_mtu(index, mtu).map_err(link("set the MTU of", name))?;
    }
    let gateway = Address { ip: IpAddr::V4(gateway), prefix: subnet.prefix() };
    match netlink.add_address(index, gateway) {
        Err(source) if source.raw_os_error() != Some(libc::EEXIST) => {
            return Err(link("set the address of", name)(source));
        }
        _ => {}
    }
    netlink.set_up(index, true).map_err(link("bring up", name))?;
    Ok(index)
}

fn refuse_overlap(
    netlink: &mut Netlink,
    name: &InterfaceName,
    subnet: Subnet,
) -> Result<(), Error> {
    let failed = link("list the host's addresses for", name);
    for device in netlink.links().map_err(&failed)? {
        if device.name == name.0 {
            continue;
        }
        for Address { ip, prefix } in netlink.addresses(device.index).map_err(&failed)? {
            if matches!(ip, IpAddr::V4(ip) if subnet.overlaps(ip, prefix)) {
                let address = format!("{ip}/{prefix}");
                return Err(Error::Overlap { subnet, device: device.name, address });
            }
        }
    }
    Ok(())
}

fn ensure_forwarding() -> Result<(), Error> {
    let on = fs::read_to_string(IP_FORWARD).is_ok_and(|text| text.trim() != "0");
    if on { Ok(()) } else { fs::write(IP_FORWARD, "1").map_err(Error::Forwarding) }
}

fn delete_if_there(netlink: &mut Netlink, name: &str) -> io::Result<()> {
    let Some(link) = netlink.link(name)? else { return Ok(()) };
    match netlink.delete_link(link.index) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(error),
        _ => Ok(()),
    }
}

/// The host's end of the pair for `address`: its eight hex digits make the name unique on the host.
fn host_end(address: Ipv4Addr) -> String {
    format!("veth-{:08x}", address.to_bits())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn mac_text<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(mac)
}

fn mac_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Mac, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn link(doing: &'static str, name: &InterfaceName) -> impl Fn(io::Error) -> Error {
    move |source| Error::Link { doing, name: name.0.clone(), source }
}

fn attach(doing: &'static str, id: &ContainerId) -> impl Fn(io::Error) -> Error {
    move |source| Error::Attach { doing, id: id.clone(), source }
}

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let valid = text.len() <= 15
            && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && text.bytes().all(legal);
        valid.then(|| Self(text.to_owned())).ok_or_else(|| InvalidName(text.to_owned()))
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
