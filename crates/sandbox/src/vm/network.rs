//! The cable between a container's network namespace on the host and its VM.
//!
//! ```text
//!   bridge ── veth ── eth0 ◀─redirect─▶ tap ── QEMU ── eth0 in the guest
//!             host ─┘└─ container's namespace ─┘└─ VM
//! ```
//!
//! Every frame that `eth0` receives goes out of the tap and the other way round, so the namespace's
//! own stack sees none, and the guest takes over `eth0`'s addresses. Bridges, published ports and
//! names are therefore the same for both kinds of container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use spec::Kind;
use sys::netlink::{Link, Netlink};
use wire::message::{Interface, Route};

/// The container's interface, and the tap's name beside it.
const ETH0: &str = "eth0";
const TAP: &str = "tap0";

/// A cable. Dropping it takes the redirection away; the tap goes with its descriptor.
#[derive(Debug)]
pub(super) struct Cable {
    /// How the guest sets up its end.
    pub(super) interface: Interface,
    /// The tap, for the VM.
    pub(super) tap: Option<OwnedFd>,
    netns: File,
    eth0: u32,
}

/// Why there is no cable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network namespace cannot be opened.
    #[error("open network namespace {}", path.display())]
    Netns {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A step of laying the cable.
    #[error("connect the VM to the network: {step}")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The interface is not one that a VM can stand in for.
    #[error("connect the VM to the network: {ETH0} has no Ethernet address")]
    NotEthernet,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Netns { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::Netns { .. } => Kind::Invalid,
            Self::Step { .. } => Kind::Internal,
            Self::NotEthernet => Kind::Unsupported,
        }
    }
}

fn step<T>(step: &'static str, outcome: io::Result<T>) -> Result<T, Error> {
    outcome.map_err(|source| Error::Step { step, source })
}

impl Cable {
    /// Lays a cable in the namespace at `path`; `None` when there is no `eth0` in it.
    pub(super) fn lay(path: &Path) -> Result<Option<Self>, Error> {
        let opened = File::open(path);
        let netns = opened.map_err(|source| Error::Netns { path: path.to_owned(), source })?;
        let laid = sys::netns::within(netns.as_fd(), || Ok(connect()));
        let laid = laid.map_err(|source| Error::Netns { path: path.to_owned(), source })??;
        Ok(laid.map(|(interface, tap, eth0)| Self { interface, tap: Some(tap), netns, eth0 }))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The namespace or its interface may be gone before the VM, and the redirection with it.
        let _ =
            sys::netns::within(self.netns.as_fd(), || Netlink::open()?.undo_redirect(self.eth0));
    }
}

/// Removes a redirection that a killed shim left in the namespace at `path`.
pub(super) fn clean(path: &Path) {
    if let Ok(netns) = File::open(path) {
        // As above: there may be nothing to remove.
        let _ = sys::netns::within(netns.as_fd(), || {
            let mut netlink = Netlink::open()?;
            let eth0 = netlink.index(ETH0)?;
            netlink.undo_redirect(eth0)
        });
    }
}

/// Runs in the namespace.
fn connect() -> Result<Option<(Interface, OwnedFd, u32)>, Error> {
    let mut netlink = step("open netlink", Netlink::open())?;
    let Some(eth0) = step("look for eth0", netlink.link(ETH0))? else {
        return Ok(None);
    };
    let interface = describe(&mut netlink, &eth0)?;
    let tap = step("make a tap", sys::tap::open(TAP))?;
    let index = step("look for the tap", netlink.index(TAP))?;
    step("set the tap's MTU", netlink.set_mtu(index, eth0.mtu))?;
    step("set the tap up", netlink.set_up(index, true))?;
    step("redirect the tap", netlink.redirect(index, eth0.index))?;
    step("redirect eth0", netlink.redirect(eth0.index, index))?;
    Ok(Some((interface, tap, eth0.index)))
}

fn describe(netlink: &mut Netlink, eth0: &Link) -> Result<Interface, Error> {
    let addresses = step("read eth0's addresses", netlink.addresses(eth0.index))?;
    let routes = step("read eth0's routes", netlink.routes(eth0.index))?;
    let route = |route: sys::netlink::Route| Route {
        to: (route.to.ip, route.to.prefix),
        gateway: route.gateway,
        source: route.source,
        metric: route.metric,
    };
    Ok(Interface {
        mac: eth0.mac.ok_or(Error::NotEthernet)?.to_string(),
        mtu: eth0.mtu,
        addresses: addresses.into_iter().map(|address| (address.ip, address.prefix)).collect(),
        routes: routes.into_iter().map(route).collect(),
    })
}
