//! The cables between a container's network namespace on the host and its VM.
//!
//! ```text
//!   bridge ── veth ── eth0 ◀─redirect─▶ hull-tap0 ── QEMU ── eth0 in the guest
//!   bridge ── veth ── eth1 ◀─redirect─▶ hull-tap1 ── QEMU ── eth1 in the guest      and so on
//!             host ─┘└─ container's namespace ────┘└─ VM
//! ```
//!
//! Every frame that an interface receives goes out of its tap and the other way round, so the namespace's
//! own stack sees none, and the guest takes over the interface's addresses. Bridges, published ports and
//! names are therefore the same for both kinds of container. The taps are there from the start on; an
//! interface that comes later is connected when [`Cables::update`] finds it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use spec::Kind;
use sys::netlink::{Link, Netlink};
use vmm::NICS;
use wire::message::{Interface, Route};

/// The taps of one VM and the interfaces that they are connected with. Dropping them takes the redirections
/// away; a tap goes with its descriptor.
#[derive(Debug)]
pub(super) struct Cables {
    /// The taps, for the VM.
    pub(super) taps: Option<[OwnedFd; NICS]>,
    netns: Arc<File>,
    /// The interface behind each tap, by its number in the namespace.
    connected: [Option<u32>; NICS],
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
    /// The network namespace cannot be entered.
    #[error("enter the network namespace")]
    Enter(#[source] io::Error),
    /// A step of laying the cable.
    #[error("connect the VM to the network: {step}")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The interface is not one that a VM can stand in for.
    #[error("connect the VM to the network: {0} has no Ethernet address")]
    NotEthernet(String),
    /// All of the VM's interfaces are in use.
    #[error("connect the VM to the network: {0}: a VM has {NICS} interfaces, eth0 to eth{last}", last = NICS - 1)]
    TooMany(String),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Netns { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::Netns { .. } => Kind::Invalid,
            Self::Step { .. } | Self::Enter(_) => Kind::Internal,
            Self::NotEthernet(_) | Self::TooMany(_) => Kind::Unsupported,
        }
    }
}

fn step<T>(step: &'static str, outcome: io::Result<T>) -> Result<T, Error> {
    outcome.map_err(|source| Error::Step { step, source })
}

impl Cables {
    /// Puts the taps into the namespace at `path`.
    pub(super) fn lay(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path);
        let netns = opened.map_err(|source| Error::Netns { path: path.to_owned(), source })?;
        let taps = sys::netns::within(netns.as_fd(), || Ok(vmm::taps()));
        let taps = step("make the taps", taps.map_err(Error::Enter)?)?;
        Ok(Self { taps: Some(taps), netns: Arc::new(netns), connected: [None; NICS] })
    }

    /// Connects the interfaces that are there now, and gives them.
    pub(super) fn update(&mut self) -> Result<Vec<Interface>, Error> {
        let connected = &mut self.connected;
        let connect = || Ok(connect(connected));
        sys::netns::within(self.netns.as_fd(), connect).map_err(Error::Enter)?
    }

    /// The namespace.
    pub(super) fn netns(&self) -> Arc<File> {
        Arc::clone(&self.netns)
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        let indices = self.connected;
        // The namespace or its interface may be gone before the VM, and the redirection with it.
        let _ = sys::netns::within(self.netns.as_fd(), || {
            let mut netlink = Netlink::open()?;
            for index in indices.into_iter().flatten() {
                let _ = netlink.undo_redirect(index);
            }
            Ok(())
        });
    }
}

/// Removes the redirections that a killed shim left in the namespace at `path`.
pub(super) fn clean(path: &Path) {
    if let Ok(netns) = File::open(path) {
        // As above: there may be nothing to remove.
        let _ = sys::netns::within(netns.as_fd(), || {
            let mut netlink = Netlink::open()?;
            for number in 0..NICS {
                if let Some(link) = netlink.link(&interface_name(number))? {
                    let _ = netlink.undo_redirect(link.index);
                }
            }
            Ok(())
        });
    }
}

fn interface_name(number: usize) -> String {
    format!("eth{number}")
}

/// Runs in the namespace.
fn connect(connected: &mut [Option<u32>; NICS]) -> Result<Vec<Interface>, Error> {
    let mut netlink = step("open netlink", Netlink::open())?;
    let links = step("look for interfaces", netlink.links())?;
    let number = |link: &Link| link.name.strip_prefix("eth")?.parse::<usize>().ok();
    if let Some(link) = links.iter().find(|link| number(link).is_some_and(|n| n >= NICS)) {
        return Err(Error::TooMany(link.name.clone()));
    }
    let mut interfaces = Vec::new();
    for (number, known) in connected.iter_mut().enumerate() {
        let name = interface_name(number);
        let link = links.iter().find(|link| link.name == name);
        if *known != link.map(|link| link.index) {
            let tap = vmm::tap_name(number);
            let tap = step("look for the tap", netlink.index(&tap))?;
            if known.take().is_some() {
                // The interface is gone, and its own redirection with it.
                let _ = netlink.undo_redirect(tap);
            }
            if let Some(link) = link {
                step("set the tap's MTU", netlink.set_mtu(tap, link.mtu))?;
                step("set the tap up", netlink.set_up(tap, true))?;
                step("redirect the tap", netlink.redirect(tap, link.index))?;
                let both = netlink.redirect(link.index, tap);
                step("redirect the interface", both).inspect_err(|_| {
                    // Half a cable is none; what failed first is what is told.
                    let _ = netlink.undo_redirect(tap);
                })?;
                *known = Some(link.index);
            }
        }
        interfaces.extend(link.map(|link| describe(&mut netlink, link)).transpose()?);
    }
    Ok(interfaces)
}

fn describe(netlink: &mut Netlink, link: &Link) -> Result<Interface, Error> {
    let addresses = step("read an interface's addresses", netlink.addresses(link.index))?;
    let routes = step("read an interface's routes", netlink.routes(link.index))?;
    let route = |route: sys::netlink::Route| Route {
        to: (route.to.ip, route.to.prefix),
        gateway: route.gateway,
        source: route.source,
        metric: route.metric,
    };
    Ok(Interface {
        name: link.name.clone(),
        mac: link.mac.ok_or_else(|| Error::NotEthernet(link.name.clone()))?.to_string(),
        mtu: link.mtu,
        addresses: addresses.into_iter().map(|address| (address.ip, address.prefix)).collect(),
        routes: routes.into_iter().map(route).collect(),
    })
}
