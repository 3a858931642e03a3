//! A container's network namespace in the guest.
//!
//! The machine's interfaces that the container has on the host move into it and take what they have there:
//! hardware address, addresses, routes; frames pass between the two unchanged. One that is not wanted any
//! more comes back, as all do when the namespace ends.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::mount::UnmountFlags;
use spec::Kind;
use sys::netlink::{Address, Mac, Netlink, Route};
use sys::netns;
use wire::message::{self, Interface, Network};

use crate::names;
use crate::visitors::Visitors;

/// Where namespaces have their paths: whoever has joined one may stay longer than its first container.
const NAMESPACES: &str = "/run/netns";

/// The machine's own namespace, where its interfaces wait.
const OUTSIDE: &str = "/proc/self/ns/net";

/// A namespace that has a path until this is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    path: PathBuf,
    netns: OwnedFd,
    present: Mutex<Present>,
}

/// What is in it.
#[derive(Debug, Default)]
struct Present {
    interfaces: Vec<Interface>,
    names: Option<names::Server>,
}

/// Why a container has no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The hardware address is none.
    #[error("network: {0}")]
    Mac(String),
    /// The namespace could not be made, entered or given a path.
    #[error("network: make a namespace")]
    Make(#[source] io::Error),
    /// The machine has no such interface.
    #[error("network: the machine has no {0}")]
    Missing(String),
    /// The kernel refused a step.
    #[error("network: {step}")]
    Step { step: String, source: io::Error },
    /// The way to the host's name server could not be made.
    #[error(transparent)]
    Names(#[from] names::Error),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Mac(_) => Kind::Invalid,
            Self::Make(_) | Self::Missing(_) | Self::Step { .. } | Self::Names(_) => Kind::Internal,
        }
    }
}

fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Step { step: step.into(), source }
}

impl Namespace {
    /// One with `lo`.
    pub(crate) fn make() -> Result<Self, Error> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let netns = netns::make().map_err(Error::Make)?;
        netns::within(netns.as_fd(), || Ok(loopback())).map_err(Error::Make)??;
        fs::create_dir_all(NAMESPACES).map_err(Error::Make)?;
        let path = Path::new(NAMESPACES).join(MADE.fetch_add(1, Ordering::Relaxed).to_string());
        fs::File::create(&path).map_err(Error::Make)?;
        let descriptor = format!("/proc/self/fd/{}", netns.as_raw_fd());
        rustix::mount::mount_bind(descriptor, &path).map_err(|error| Error::Make(error.into()))?;
        Ok(Self { path, netns, present: Mutex::default() })
    }

    /// Where it can be joined.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the network what is wanted now. Interfaces that stay keep their connections.
    pub(crate) fn update(&self, wanted: &Network, visitors: &Visitors) -> Result<(), Error> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let stays = |one: &Interface| wanted.interfaces.iter().any(|other| is_same(one, other));
        let leaving: Vec<_> =
            present.interfaces.iter().filter(|one| !stays(one)).cloned().collect();
        for interface in leaving {
            self.take_out(&interface)?;
            present.interfaces.retain(|one| one.name != interface.name);
        }
        // The last way to a place goes before there is another.
        for interface in &mut present.interfaces {
            let now = wanted.interfaces.iter().find(|one| one.name == interface.name);
            if let Some(now) = now {
                self.within(|| leave_routes(interface, &now.routes))?;
                interface.routes.retain(|route| now.routes.contains(route));
            }
        }
        for interface in &wanted.interfaces {
            let mut known = present.interfaces.iter_mut();
            if let Some(known) = known.find(|one| one.name == interface.name) {
                self.within(|| add_routes(interface, &known.routes))?;
                *known = interface.clone();
            } else {
                self.take_in(interface)?;
                present.interfaces.push(interface.clone());
            }
        }
        let served = present.names.as_ref().map(names::Server::at);
        if served != wanted.names {
            present.names = None;
            let start = |at| names::Server::start(self.netns.as_fd(), at, visitors);
            present.names = wanted.names.map(start).transpose()?;
        }
        Ok(())
    }

    fn take_in(&self, interface: &Interface) -> Result<(), Error> {
        let mac = interface.mac.parse().map_err(|error| Error::Mac(format!("{error}")))?;
        let mut outside = Netlink::open().map_err(Error::Make)?;
        let found = outside.link(&interface.name).map_err(step("look for the interface"))?;
        let index = found.ok_or_else(|| Error::Missing(interface.name.clone()))?.index;
        outside.set_up(index, false).map_err(step("set it down"))?;
        outside.set_netns(index, self.netns.as_fd()).map_err(step("move it"))?;
        self.within(|| set_up(interface, mac))
    }

    /// Gives an interface back to the machine; its addresses and routes go.
    fn take_out(&self, interface: &Interface) -> Result<(), Error> {
        let outside = fs::File::open(OUTSIDE).map_err(Error::Make)?;
        self.within(|| {
            let mut inside = Netlink::open().map_err(step("open netlink"))?;
            let index = inside.index(&interface.name).map_err(step("look for the interface"))?;
            inside.set_up(index, false).map_err(step("set it down"))?;
            inside.set_netns(index, outside.as_fd()).map_err(step("move it back"))
        })
    }

    fn within(&self, work: impl FnOnce() -> Result<(), Error> + Send) -> Result<(), Error> {
        netns::within(self.netns.as_fd(), || Ok(work())).map_err(Error::Make)?
    }
}

/// Whether an interface can become the other without going.
fn is_same(one: &Interface, other: &Interface) -> bool {
    let routes = Vec::new();
    Interface { routes: routes.clone(), ..one.clone() } == Interface { routes, ..other.clone() }
}

fn loopback() -> Result<(), Error> {
    let mut inside = Netlink::open().map_err(step("open netlink"))?;
    let lo = inside.index("lo").map_err(step("look for lo"))?;
    inside.set_up(lo, true).map_err(step("set lo up"))
}

/// Runs in the namespace.
fn set_up(interface: &Interface, mac: Mac) -> Result<(), Error> {
    let mut inside = Netlink::open().map_err(step("open netlink"))?;
    let index = inside.index(&interface.name).map_err(step("look for the interface"))?;
    inside.set_mac(index, mac).map_err(step(format!("set the address {mac}")))?;
    inside.set_mtu(index, interface.mtu).map_err(step("set the MTU"))?;
    let has_ipv6 = interface.addresses.iter().any(|(ip, _)| ip.is_ipv6());
    set_ipv6(&interface.name, "accept_ra", false).map_err(step("learn nothing from routers"))?;
    set_ipv6(&interface.name, "disable_ipv6", !has_ipv6).map_err(step("turn IPv6 on or off"))?;
    inside.set_up(index, true).map_err(step("set it up"))?;
    for &(ip, prefix) in &interface.addresses {
        let added = inside.add_address(index, Address { ip, prefix });
        added.map_err(step(format!("add address {ip}/{prefix}")))?;
    }
    add_routes(interface, &[])
}

/// One of the interface's settings for IPv6, of the kernel's ip-sysctl.rst.
fn set_ipv6(interface: &str, setting: &str, on: bool) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/{setting}");
    match fs::write(path, if on { "1" } else { "0" }) {
        // The guest's kernel has no IPv6: an address of it is what fails.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Runs in the namespace: adds those routes that are not there.
fn add_routes(interface: &Interface, there: &[message::Route]) -> Result<(), Error> {
    let mut inside = Netlink::open().map_err(step("open netlink"))?;
    let index = inside.index(&interface.name).map_err(step("look for the interface"))?;
    for route in interface.routes.iter().filter(|route| !there.contains(route)) {
        let added = inside.add_route(index, &translated(route));
        added.map_err(step(format!("add a route to {}/{}", route.to.0, route.to.1)))?;
    }
    Ok(())
}

/// Runs in the namespace: removes those routes that are not wanted.
fn leave_routes(interface: &Interface, wanted: &[message::Route]) -> Result<(), Error> {
    let mut inside = Netlink::open().map_err(step("open netlink"))?;
    let index = inside.index(&interface.name).map_err(step("look for the interface"))?;
    for route in interface.routes.iter().filter(|route| !wanted.contains(route)) {
        match inside.delete_route(index, &translated(route)) {
            // Somebody in the container was faster.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            removed => {
                removed
                    .map_err(step(format!("remove a route to {}/{}", route.to.0, route.to.1)))?;
            }
        }
    }
    Ok(())
}

fn translated(route: &message::Route) -> Route {
    let (ip, prefix) = route.to;
    let (gateway, source, metric) = (route.gateway, route.source, route.metric);
    Route { to: Address { ip, prefix }, gateway, source, metric }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let unmounted = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        let removed = unmounted.map_err(io::Error::from).and_then(|()| fs::remove_file(&self.path));
        if let Err(error) = removed {
            eprintln!("hull-agent: remove {}: {error}", self.path.display());
        }
    }
}
