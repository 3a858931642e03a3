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
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spec::{ContainerId, Kind};
use sys::netlink::{Address, Mac, Netlink, Peer, Route};

use crate::address::{Family, Layout, Pool, Subnet, mac_of};
use crate::egress::{self, Policy};
use crate::netns::Namespace;
use crate::{address, filter, sysctl};

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
    pools: Mutex<Pools>,
}

/// Who has which address.
#[derive(Debug)]
struct Pools {
    four: Pool,
    six: Option<Pool<Ipv6Addr>>,
}

/// What a bridge is to be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its addresses.
    pub layout: Layout,
    /// Its IPv6 addresses, if it has any.
    #[serde(default)]
    pub layout6: Option<Layout<Ipv6Addr>>,
    /// Whether nothing gets out of it or in from elsewhere, but for the host itself.
    #[serde(default)]
    pub internal: bool,
    /// Whether its containers are seen elsewhere by the host's address.
    pub masquerade: bool,
    /// Whether its containers are kept from each other.
    #[serde(default)]
    pub isolated: bool,
    /// The largest packet, in bytes; `None` for the kernel's choice.
    #[serde(default)]
    pub mtu: Option<u32>,
}

impl From<Layout> for Plan {
    fn from(layout: Layout) -> Self {
        Self {
            layout,
            layout6: None,
            internal: false,
            masquerade: true,
            isolated: false,
            mtu: None,
        }
    }
}

/// What a container wants of its place on a bridge.
#[derive(Debug, Clone, Copy)]
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
        subnet: String,
        /// The other device.
        device: String,
        /// Its address and prefix.
        address: String,
    },
    /// Packets cannot be forwarded.
    #[error("write 1 to {IP_FORWARD}")]
    Forwarding(#[source] io::Error),
    /// IPv6 cannot be used as it must be.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
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
            Self::Sysctl(source) => source.kind(),
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
        plan.layout6.as_ref().map_or(Ok(()), Layout::check).map_err(address)?;
        let mut netlink = Netlink::open().map_err(link("open netlink for", name))?;
        let there = netlink.all_addresses().map_err(link("list the host's addresses for", name))?;
        refuse_overlap(&mut netlink, name, plan.layout.subnet, &there)?;
        if let Some(layout) = &plan.layout6 {
            refuse_overlap(&mut netlink, name, layout.subnet, &there)?;
        }
        let index = ensure_link(&mut netlink, name, &plan)?;
        ensure_forwarding()?;
        if plan.layout6.is_some() && !plan.internal {
            sysctl::forward_ipv6()?;
        }
        filter::apply(name, &plan)?;
        let six = plan.layout6.clone().map(Pool::new);
        let pools = Mutex::new(Pools { four: Pool::new(plan.layout.clone()), six });
        Ok(Self { name: name.clone(), index, plan, pools })
    }

    /// The device's name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// What it is like.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its addresses.
    pub fn layout(&self) -> &Layout {
        &self.plan.layout
    }

    /// Where the host is for its containers.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let six = self.plan.layout6.as_ref().map(|layout| layout.gateway.into());
        std::iter::once(self.plan.layout.gateway.into()).chain(six).collect()
    }

    /// Notes that a container from an engine's earlier life has `endpoint`. To be called for every
    /// one of them before the first [`attach`](Self::attach).
    pub fn adopt(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let mut pools = self.pools();
        let claimed = pools.four.claim(id, endpoint.address);
        let claimed = claimed.and_then(|()| match (&mut pools.six, &endpoint.six) {
            (Some(pool), Some(six)) => pool.claim(id, six.address),
            _ => Ok(()),
        });
        drop(pools);
        claimed.map_err(|source| self.no_address(source))?;
        match &endpoint.egress {
            Some(policy) => Ok(egress::ensure(&self.name, endpoint, policy)?),
            None => Ok(()),
        }
    }

    /// Takes away rules for what a container may send that a crash has left, and devices that they are
    /// of; `kept` are all places on the bridge.
    pub fn collect_egress(&self, kept: &[&Endpoint]) -> Result<(), Error> {
        for veth in egress::held(&self.name)? {
            match kept.iter().find(|endpoint| endpoint.veth == veth) {
                Some(endpoint) if endpoint.egress.is_some() => {}
                Some(_) => egress::remove(&self.name, &veth)?,
                None => self.release(&veth)?,
            }
        }
        Ok(())
    }

    /// Deletes a device, and then its rules: another container may share its namespace, and is not to
    /// outlive them.
    fn release(&self, veth: &str) -> Result<(), Error> {
        Netlink::open()
            .and_then(|mut netlink| delete_if_there(&mut netlink, veth))
            .map_err(link("delete a restricted device of", &self.name))?;
        Ok(egress::remove(&self.name, veth)?)
    }

    /// Lets a container send to addresses that names of its policy have: each with the number of the
    /// rule and for how many seconds.
    pub fn admit(
        &self,
        endpoint: &Endpoint,
        admitted: &[(usize, IpAddr, u32)],
    ) -> Result<(), Error> {
        Ok(egress::admit(&self.name, &endpoint.veth, admitted)?)
    }

    /// What a container with a policy has sent in vain.
    pub fn dropped(&self, endpoint: &Endpoint) -> Result<egress::Dropped, Error> {
        Ok(egress::dropped(&self.name, &endpoint.veth)?)
    }

    /// Connects `namespace` to the bridge by a device that is up and has an address of each family.
    /// Which way leads elsewhere is for [`Namespace::set_gateway`] to say.
    pub fn attach(
        &self,
        id: &ContainerId,
        namespace: &Namespace,
        wish: &Wish<'_>,
    ) -> Result<Endpoint, Error> {
        let (address, six) = self.take(id, wish).map_err(|source| self.no_address(source))?;
        let layout = &self.plan.layout;
        let endpoint = Endpoint {
            address,
            prefix: layout.subnet.prefix(),
            gateway: (!self.plan.internal).then_some(layout.gateway),
            interface: wish.interface.to_owned(),
            mac: wish.mac.unwrap_or_else(|| mac_of(address)),
            veth: host_end(address),
            six,
            egress: wish.egress.cloned(),
        };
        if let Err(error) = self.connect(id, namespace, &endpoint) {
            // The first error is the one that tells.
            let _ = self.unplug(id, &endpoint);
            return Err(error);
        }
        Ok(endpoint)
    }

    fn take(
        &self,
        id: &ContainerId,
        wish: &Wish<'_>,
    ) -> Result<(Ipv4Addr, Option<Six>), address::Error> {
        let mut pools = self.pools();
        let address = pools.four.take(id, wish.address)?;
        match pools.take_six(id, wish.address6) {
            Ok(six) => Ok((address, six.map(|address| self.six(address)))),
            Err(error) => {
                pools.four.give_back(id, address);
                Err(error)
            }
        }
    }

    fn six(&self, address: Ipv6Addr) -> Six {
        let layout = self.plan.layout6.as_ref().expect("there is a pool of it");
        let gateway = (!self.plan.internal).then_some(layout.gateway);
        Six { address, prefix: layout.subnet.prefix(), gateway }
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
    ///
    /// One whose sending is restricted loses its device first: another container may share the
    /// namespace, and is not to outlive the rules.
    pub fn detach(&self, id: &ContainerId, endpoint: &Endpoint) {
        if endpoint.egress.is_some() {
            // Rules without a device are rubbish that the next start collects.
            let _ = self.release(&endpoint.veth);
        }
        let mut pools = self.pools();
        pools.four.give_back(id, endpoint.address);
        if let (Some(pool), Some(six)) = (&mut pools.six, &endpoint.six) {
            pool.give_back(id, six.address);
        }
    }

    /// Removes the bridge and its packet filter unless a container is attached; says whether it did.
    /// Forwarding stays as it is: others may have come to rely on it.
    pub fn remove(&self) -> Result<bool, Error> {
        if !self.pools().four.is_empty() {
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
                if self.plan.isolated {
                    netlink.set_isolated(veth, true)?;
                }
                Ok(())
            })
            .map_err(attach("make a device", id))?;
        if let Some(policy) = &endpoint.egress {
            egress::apply(&self.name, endpoint, policy)?;
        }
        netlink
            .index(&endpoint.veth)
            .and_then(|veth| netlink.set_up(veth, true))
            .map_err(attach("bring up a device", id))?;
        sys::netns::within(namespace.as_fd(), || configure(endpoint, self.plan.mtu))
            .map_err(attach("set up a device", id))
    }

    fn no_address(&self, source: address::Error) -> Error {
        Error::Address { bridge: self.name.clone(), source }
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        // Each of a pool's operations is complete or changed nothing, so poison means no harm.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pools {
    fn take_six(
        &mut self,
        id: &ContainerId,
        wanted: Option<Ipv6Addr>,
    ) -> Result<Option<Ipv6Addr>, address::Error> {
        match (&mut self.six, wanted) {
            (Some(pool), wanted) => pool.take(id, wanted).map(Some),
            (None, Some(address)) => Err(address::Error::NoFamily { address: address.into() }),
            (None, None) => Ok(None),
        }
    }
}

/// Gives the device, in the calling thread's namespace, its address.
fn configure(endpoint: &Endpoint, mtu: Option<u32>) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let device = netlink.index(&endpoint.interface)?;
    if let Some(mtu) = mtu {
        netlink.set_mtu(device, mtu)?;
    }
    sysctl::trust_no_router(&endpoint.interface)?;
    sysctl::set_ipv6(&endpoint.interface, endpoint.six.is_some())?;
    for (ip, prefix) in endpoint.addresses() {
        netlink.add_address(device, Address { ip, prefix })?;
    }
    netlink.set_up(device, true)
}

impl Namespace {
    /// Lets what is for elsewhere go by the endpoint's gateway, in place of any other.
    ///
    /// # Errors
    ///
    /// [`Error::Attach`], for `id`'s sake.
    pub fn set_gateway(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let replace = || {
            let mut netlink = Netlink::open()?;
            let device = netlink.index(&endpoint.interface)?;
            let mut gateways = endpoint.gateways();
            gateways
                .try_for_each(|gateway| netlink.replace_route(device, &Route::default_by(gateway)))
        };
        sys::netns::within(self.as_fd(), replace).map_err(attach("set the gateway", id))
    }
}

fn ensure_link(netlink: &mut Netlink, name: &InterfaceName, plan: &Plan) -> Result<u32, Error> {
    let gateway = plan.layout.gateway;
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
    let ours = |source| link("set up IPv6 of", name)(source);
    sysctl::trust_no_router(&name.0).map_err(ours)?;
    let six = plan.layout6.as_ref().map(address_of);
    if six.is_some() {
        sysctl::set_ipv6(&name.0, true).map_err(ours)?;
    }
    for address in std::iter::once(address_of(&plan.layout)).chain(six) {
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
    let own = netlink.link(&name.0).map_err(link("find bridge", name))?.map(|link| link.index);
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
