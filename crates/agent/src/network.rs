//! A container's network namespace in the guest.
//!
//! The machine's `eth0` moves into it and takes the addresses that the container's `eth0` has on the
//! host; frames pass between the two unchanged. When the namespace ends, the interface comes back.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use spec::Kind;
use sys::netlink::{Address, Mac, Netlink, Route};
use sys::netns;
use wire::message::Interface;

/// The interface's name, in the guest as in the container.
const NAME: &str = "eth0";

/// A namespace that has a path until this is dropped.
#[derive(Debug)]
pub(crate) struct Namespace(PathBuf);

/// Why a container has no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The hardware address is none.
    #[error("network: {0}")]
    Mac(String),
    /// The namespace could not be made or given a path.
    #[error("network: make a namespace")]
    Make(#[source] io::Error),
    /// The machine has no such interface.
    #[error("network: the machine has no {NAME}")]
    Missing,
    /// The kernel refused a step.
    #[error("network: {step}")]
    Step { step: String, source: io::Error },
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Mac(_) => Kind::Invalid,
            Self::Make(_) | Self::Missing | Self::Step { .. } => Kind::Internal,
        }
    }
}

fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    |source| Error::Step { step: step.into(), source }
}

impl Namespace {
    /// Makes a namespace at `path` with `lo`, and `eth0` where the container has one.
    pub(crate) fn make(path: PathBuf, interface: Option<&Interface>) -> Result<Self, Error> {
        let netns = netns::make().map_err(Error::Make)?;
        if let Some(interface) = interface {
            let mac = interface.mac.parse().map_err(|error| Error::Mac(format!("{error}")))?;
            let mut outside = Netlink::open().map_err(Error::Make)?;
            let found = outside.link(NAME).map_err(step("look for the interface"))?;
            let index = found.ok_or(Error::Missing)?.index;
            outside.set_up(index, false).map_err(step("set it down"))?;
            outside.set_netns(index, netns.as_fd()).map_err(step("move it"))?;
            let inside = netns::within(netns.as_fd(), || Ok(set_up(interface, mac)));
            inside.map_err(Error::Make)??;
        } else {
            let inside = netns::within(netns.as_fd(), || Ok(loopback(&mut Netlink::open()?)));
            inside.map_err(Error::Make)??;
        }
        fs::File::create(&path).map_err(Error::Make)?;
        let descriptor = format!("/proc/self/fd/{}", netns.as_raw_fd());
        rustix::mount::mount_bind(descriptor, &path).map_err(|error| Error::Make(error.into()))?;
        Ok(Self(path))
    }

    /// Where it can be joined.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

fn loopback(inside: &mut Netlink) -> Result<(), Error> {
    let lo = inside.index("lo").map_err(step("look for lo"))?;
    inside.set_up(lo, true).map_err(step("set lo up"))
}

/// Runs in the namespace.
fn set_up(interface: &Interface, mac: Mac) -> Result<(), Error> {
    let mut inside = Netlink::open().map_err(step("open netlink"))?;
    loopback(&mut inside)?;
    let index = inside.index(NAME).map_err(step("look for the interface"))?;
    inside.set_mac(index, mac).map_err(step(format!("set the address {mac}")))?;
    inside.set_mtu(index, interface.mtu).map_err(step("set the MTU"))?;
    inside.set_up(index, true).map_err(step("set it up"))?;
    for &(ip, prefix) in &interface.addresses {
        let added = inside.add_address(index, Address { ip, prefix });
        added.map_err(step(format!("add address {ip}/{prefix}")))?;
    }
    for route in &interface.routes {
        let (ip, prefix) = route.to;
        let (gateway, source, metric) = (route.gateway, route.source, route.metric);
        let wanted = Route { to: Address { ip, prefix }, gateway, source, metric };
        let added = inside.add_route(index, &wanted);
        added.map_err(step(format!("add a route to {ip}/{prefix}")))?;
    }
    Ok(())
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let unmounted = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        let removed = unmounted.map_err(io::Error::from).and_then(|()| fs::remove_file(&self.0));
        if let Err(error) = removed {
            eprintln!("hull-agent: remove {}: {error}", self.0.display());
        }
    }
}
