//! One bridge, its address, and the containers attached to it.
//!
//! ```text
//!   ensure:  link + address + up  ->  forwarding on  ->  packet filter
//!   attach:  address from the pool  ->  veth pair, one end in the namespace  ->  up, with its address
//!   detach:  address back to the pool; the kernel deletes the pair with its namespace
//!   unplug:  the pair is deleted from a namespace that stays
//! ```
//!
//! A network of [macvlans](crate::macvlan) is one of these too: it shares out addresses, and has a parent in
//! a bridge's place.
//!
//! Invariant: a device that bears the name of a free address belongs to nobody. `attach` deletes it:
//! its namespace is about to go, or was left by an engine that died.
//!
//! Spec: rtnetlink(7), veth(4).

mod device;
mod error;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use spec::ContainerId;
use sys::netlink::{Address, Netlink, Peer, Route};

use crate::address::{Layout, Pool, mac_of};
use crate::endpoint::{Endpoint, Six, Wish};
use crate::name::InterfaceName;
use crate::netns::Namespace;
use crate::{address, egress, filter, macvlan, rate, sysctl};
pub(crate) use device::OURS;
pub use device::in_use;
use device::{delete_if_there, delete_ours, ensure_bridge, host_end};
pub use error::Error;

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
    /// Whether the host has no IPv4 address on it.
    #[serde(default)]
    pub without_host: bool,
    /// The same of IPv6.
    #[serde(default)]
    pub without_host6: bool,
    /// The largest packet, in bytes; `None` for the kernel's choice.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// What makes it no bridge: its containers' devices are macvlans of one of the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macvlan: Option<macvlan::Mode>,
}

impl From<Layout> for Plan {
    fn from(layout: Layout) -> Self {
        Self {
            layout,
            layout6: None,
            internal: false,
            masquerade: true,
            isolated: false,
            without_host: false,
            without_host6: false,
            mtu: None,
            macvlan: None,
        }
    }
}

impl Plan {
    /// What Docker calls the kind of network.
    pub fn driver(&self) -> &'static str {
        if self.macvlan.is_some() { "macvlan" } else { "bridge" }
    }

    /// Its subnets, with the lengths of their prefixes.
    pub fn subnets(&self) -> impl Iterator<Item = (IpAddr, u8)> + use<> {
        let four = self.layout.subnet;
        let six = self.layout6.as_ref().map(|layout| layout.subnet);
        let six = six.map(|six| (six.network().into(), six.prefix()));
        std::iter::once((four.network().into(), four.prefix())).chain(six)
    }
}

impl Bridge {
    /// Makes the bridge `name` with the first address of `subnet`, or takes the one that is there
    /// from an earlier run; turns on forwarding and puts the packet filter in place. For macvlans `name`
    /// is their parent, and that is all there is to find or make.
    ///
    /// `ip_forward` is written only where it is 0. While a container is on the bridge it stays when the
    /// engine ends; [`Bridge::remove`] takes it away.
    ///
    /// # Errors
    ///
    /// [`Error::NotABridge`], [`Error::Overlap`] and [`Error::Macvlan`] before anything was changed.
    pub fn ensure(name: &InterfaceName, plan: Plan) -> Result<Self, Error> {
        let address = |source| Error::Address { bridge: name.clone(), source };
        plan.layout.check().map_err(address)?;
        plan.layout6.as_ref().map_or(Ok(()), Layout::check).map_err(address)?;
        let mut netlink = Netlink::open().map_err(link("open netlink for", name))?;
        let index = match plan.macvlan {
            Some(_) => macvlan::ensure_parent(&mut netlink, name, plan.internal)?,
            None => ensure_bridge(&mut netlink, name, &plan)?,
        };
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
        if let Some(policy) = &endpoint.egress {
            egress::ensure(&self.name, endpoint, policy)?;
        }
        if endpoint.rates.is_none() { Ok(()) } else { self.limit(id, endpoint) }
    }

    /// Takes away rules for what comes of a container that a crash has left, and devices that they are of;
    /// `kept` are all places on the bridge.
    pub fn collect(&self, kept: &[&Endpoint]) -> Result<(), Error> {
        let of = |veth: &str| kept.iter().find(|endpoint| endpoint.veth == veth);
        for veth in egress::held(&self.name)? {
            match of(&veth) {
                Some(endpoint) if endpoint.egress.is_some() => {}
                Some(_) => egress::remove(&self.name, &veth)?,
                None => self.release(&veth)?,
            }
        }
        for veth in rate::held(&self.name)? {
            match of(&veth) {
                Some(endpoint) if endpoint.rates.out.is_some() => {}
                Some(_) => rate::remove(&self.name, &veth)?,
                None => self.release(&veth)?,
            }
        }
        Ok(())
    }

    /// Has the rates of a container's place hold, in place of others.
    pub fn limit(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(attach("open netlink for a device", id))?;
        Ok(rate::apply(&mut netlink, &self.name, endpoint)?)
    }

    /// Deletes a device, and then its rules: another container may share its namespace, and is not to
    /// outlive them.
    fn release(&self, veth: &str) -> Result<(), Error> {
        Netlink::open()
            .and_then(|mut netlink| delete_if_there(&mut netlink, veth))
            .map_err(link("delete a restricted device of", &self.name))?;
        egress::remove(&self.name, veth)?;
        Ok(rate::remove(&self.name, veth)?)
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
        let passed = match self.plan.macvlan {
            Some(macvlan::Mode::Passthru) if !self.pools().four.is_empty() => {
                return Err(macvlan::Error::Full(self.name.clone()).into());
            }
            Some(macvlan::Mode::Passthru) => Some(macvlan::passed_through(&self.name)?),
            _ => None,
        };
        let (address, six) = self.take(id, wish).map_err(|source| self.no_address(source))?;
        let layout = &self.plan.layout;
        let endpoint = Endpoint {
            address,
            prefix: layout.subnet.prefix(),
            gateway: (!self.plan.internal).then_some(layout.gateway),
            interface: wish.interface.to_owned(),
            mac: passed.or(wish.mac).unwrap_or_else(|| mac_of(address)),
            veth: self.plan.macvlan.map_or_else(|| host_end(address), |_| String::new()),
            six,
            egress: wish.egress.cloned(),
            rates: wish.rates,
        };
        if let Err(error) = self.connect(id, namespace, &endpoint) {
            // The first error is the one that tells.
            let _ = self.unplug(id, namespace, &endpoint);
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
    pub fn unplug(
        &self,
        id: &ContainerId,
        namespace: &Namespace,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(attach("open netlink for a device", id))?;
        let deleted = match self.plan.macvlan {
            Some(_) => macvlan::unplug(namespace, endpoint),
            None => delete_if_there(&mut netlink, &endpoint.veth),
        };
        self.detach(id, None, endpoint);
        deleted.map_err(attach("delete a device", id))
    }

    /// Gives the container's address back. A second call changes nothing.
    ///
    /// The devices go with the namespace, which the caller [deletes](crate::Namespaces::delete) in
    /// any order with this: the kernel destroys them in the background, where deleting a veth would
    /// have the caller wait 20 ms for it.
    ///
    /// One whose sending is restricted loses its device first: another container may share the
    /// namespace, and is not to outlive the rules. So does a macvlan, if its `namespace` is still there,
    /// for its Ethernet address goes back too.
    pub fn detach(&self, id: &ContainerId, namespace: Option<&Namespace>, endpoint: &Endpoint) {
        if let (Some(_), Some(namespace)) = (self.plan.macvlan, namespace) {
            // It goes with its namespace then.
            let _ = macvlan::unplug(namespace, endpoint);
        }
        if endpoint.is_held() {
            // Rules without a device are rubbish that the next start collects.
            let _ = self.release(&endpoint.veth);
        }
        let mut pools = self.pools();
        pools.four.give_back(id, endpoint.address);
        if let (Some(pool), Some(six)) = (&mut pools.six, &endpoint.six) {
            pool.give_back(id, six.address);
        }
    }

    /// Removes the packet filter, and the bridge if it was [`ensure`](Self::ensure) that made it, unless a
    /// container is attached; says whether it did. Forwarding stays as it is: others may have come to rely
    /// on it.
    pub fn remove(&self) -> Result<bool, Error> {
        let pools = self.pools();
        if !pools.four.is_empty() {
            return Ok(false);
        }
        let mut netlink = Netlink::open().map_err(link("open netlink for", &self.name))?;
        let deleted = delete_ours(&mut netlink, &self.name);
        if self.plan.macvlan.is_none() {
            filter::remove(&self.name)?;
        }
        drop(pools);
        deleted.map(|()| true).map_err(link("delete bridge", &self.name))
    }

    fn connect(
        &self,
        id: &ContainerId,
        namespace: &Namespace,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let mut netlink = Netlink::open().map_err(attach("open netlink for a device", id))?;
        match self.plan.macvlan {
            Some(mode) => macvlan::plug(&mut netlink, &self.name, mode, namespace, endpoint)
                .map_err(attach("make a macvlan", id))?,
            None => self.plug(&mut netlink, id, namespace, endpoint)?,
        }
        sys::netns::within(namespace.as_fd(), || configure(endpoint, self.plan.mtu))
            .map_err(attach("set up a device", id))
    }

    /// Makes the pair of devices, the host's end up and a port of the bridge.
    fn plug(
        &self,
        netlink: &mut Netlink,
        id: &ContainerId,
        namespace: &Namespace,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        delete_if_there(netlink, &endpoint.veth).map_err(attach("replace veth", id))?;
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
        if !endpoint.rates.is_none() {
            rate::apply(netlink, &self.name, endpoint)?;
        }
        netlink
            .index(&endpoint.veth)
            .and_then(|veth| netlink.set_up(veth, true))
            .map_err(attach("bring up a device", id))
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

fn link(doing: &'static str, name: &InterfaceName) -> impl Fn(io::Error) -> Error {
    move |source| Error::Link { doing, name: name.to_string(), source }
}

fn attach(doing: &'static str, id: &ContainerId) -> impl Fn(io::Error) -> Error {
    move |source| Error::Attach { doing, id: id.clone(), source }
}
