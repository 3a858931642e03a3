//! Networks whose containers have Ethernet addresses of their own on a network of the host's.
//!
//! ```text
//!   eth0 (parent) ── macvlan, 02:42:c0:a8:01:02 ── eth0 of a container, 192.168.1.2/24
//!             `───── macvlan, 02:42:c0:a8:01:03 ── eth0 of another
//!
//!   -o parent=eth0       a device of the host's
//!   -o parent=eth0.10    its VLAN 10, made where it is missing, and taken away with the network
//!   no parent            a device that leads nowhere, made and taken away likewise
//! ```
//!
//! The host has no address there and its stack sees no packet: so no port is published, nothing is
//! masqueraded, and the packet filter holds nobody. As for the kernel, the host itself and its macvlans do
//! not reach each other by the parent.
//!
//! Spec: ip-link(8) "MACVLAN and MACVTAP Type Support"; the kernel's drivers/net/macvlan.c.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use spec::Kind;
use sys::netlink::{Mac, Macvlan, Netlink, Peer};

use crate::bridge::OURS;
use crate::endpoint::Endpoint;
use crate::name::{InterfaceName, InvalidName};
use crate::netns::Namespace;
use crate::sysctl;

/// How containers of one network reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// At once.
    #[default]
    Bridge,
    /// Not at all.
    Private,
    /// By a switch outside that sends frames back.
    Vepa,
    /// There is one container at most, which has the parent's own address.
    Passthru,
}

/// The text is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "requested macvlan mode '{0}' is not valid, 'bridge' mode is the macvlan driver default: want \
     bridge, private, vepa or passthru"
)]
pub struct InvalidMode(pub String);

/// Why a device cannot be the parent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name.
    #[error(
        "parent {0} was not found on the host: name a device of it, DEVICE.VLAN for a VLAN of 1 to \
         4094, or no parent for a network that leads nowhere"
    )]
    Absent(InterfaceName),
    /// It leads nowhere but to the host itself.
    #[error("loopback interface {0} is not a valid macvlan parent link")]
    Loopback(InterfaceName),
    /// Its frames go to a bridge.
    #[error("parent {parent} is a port of {master}: name {master} in its place")]
    Port {
        /// What was asked for.
        parent: InterfaceName,
        /// Whose port it is.
        master: String,
    },
    /// Mode passthru.
    #[error("{0} is the parent of its one container already: mode passthru gives it no other")]
    Full(InterfaceName),
    /// It cannot be made.
    #[error("make {parent}, {what}")]
    Make {
        /// What was asked for.
        parent: InterfaceName,
        /// What that is.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The kernel does not tell.
    #[error("look for parent {0}")]
    Look(InterfaceName, #[source] io::Error),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Absent(_) | Self::Loopback(_) => Kind::Invalid,
            Self::Port { .. } | Self::Full(_) => Kind::Conflict,
            Self::Make { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Kind::Unsupported
            }
            Self::Make { .. } | Self::Look(..) => Kind::Internal,
        }
    }
}

/// The parent of a network without one: its name tells whose it is.
///
/// # Errors
///
/// For an id with other letters than hexadecimal digits.
pub fn own_parent(id: &str) -> Result<InterfaceName, InvalidName> {
    format!("dm-{id:.12}").parse()
}

/// The device that the macvlans are of; where it is missing it is made if that can be: `own` is one that
/// leads nowhere.
pub(crate) fn ensure_parent(
    netlink: &mut Netlink,
    parent: &InterfaceName,
    own: bool,
) -> Result<u32, Error> {
    let look = |source| Error::Look(parent.clone(), source);
    let Some(found) = netlink.link(parent.as_str()).map_err(look)? else {
        return if own { make_dummy(netlink, parent) } else { make_vlan(netlink, parent) };
    };
    if parent.as_str() == "lo" {
        return Err(Error::Loopback(parent.clone()));
    }
    if let Some(master) = found.master {
        let links = netlink.links().map_err(look)?;
        let master = links.into_iter().find(|link| link.index == master);
        let master = master.map_or_else(|| "another device".to_owned(), |link| link.name);
        return Err(Error::Port { parent: parent.clone(), master });
    }
    Ok(found.index)
}

fn make_dummy(netlink: &mut Netlink, parent: &InterfaceName) -> Result<u32, Error> {
    let what = "a device that leads nowhere";
    let made = netlink.add_dummy(parent.as_str()).and_then(|()| finish(netlink, parent));
    made.map_err(|source| Error::Make { parent: parent.clone(), what, source })
}

fn make_vlan(netlink: &mut Netlink, name: &InterfaceName) -> Result<u32, Error> {
    let absent = || Error::Absent(name.clone());
    let (device, id) = vlan(name.as_str()).ok_or_else(absent)?;
    let device = netlink.link(device).map_err(|source| Error::Look(name.clone(), source))?;
    let device = device.ok_or_else(absent)?.index;
    let made = netlink.add_vlan(name.as_str(), device, id).and_then(|()| finish(netlink, name));
    let what = "a VLAN, for which the kernel needs its module 8021q";
    made.map_err(|source| Error::Make { parent: name.clone(), what, source })
}

/// Has a new device be known for ours, and carry packets, but none of the host's own.
fn finish(netlink: &mut Netlink, name: &InterfaceName) -> io::Result<u32> {
    let index = netlink.index(name.as_str())?;
    let mut finish = || {
        netlink.set_alias(index, OURS)?;
        sysctl::set_ipv6(name.as_str(), false)?;
        netlink.set_up(index, true)
    };
    match finish() {
        Ok(()) => Ok(index),
        Err(error) => {
            // The first error is the one that tells.
            let _ = netlink.delete_link(index);
            Err(error)
        }
    }
}

/// `eth0.10`: the device and the VLAN's number.
fn vlan(name: &str) -> Option<(&str, u16)> {
    let (device, id) = name.rsplit_once('.')?;
    let id = id.parse().ok().filter(|id| (1..=4094).contains(id))?;
    Some((device, id))
}

/// Makes a container's device, down and without an address.
pub(crate) fn plug(
    netlink: &mut Netlink,
    parent: &InterfaceName,
    mode: Mode,
    namespace: &Namespace,
    endpoint: &Endpoint,
) -> io::Result<()> {
    let parent = netlink.index(parent.as_str())?;
    // The parent's own address is the one there is.
    let mac = (mode != Mode::Passthru).then_some(endpoint.mac);
    let new = Peer { name: &endpoint.interface, mac, netns: Some(namespace.as_fd()) };
    netlink.add_macvlan(parent, mode.into(), &new)
}

/// The Ethernet address that the one container of a parent has.
pub(crate) fn passed_through(parent: &InterfaceName) -> Result<Mac, Error> {
    let look = |source| Error::Look(parent.clone(), source);
    let found = Netlink::open().and_then(|mut netlink| netlink.link(parent.as_str()));
    let found = found.map_err(look)?.and_then(|link| link.mac);
    found.ok_or_else(|| Error::Absent(parent.clone()))
}

/// Deletes a container's device, if it is there: one that waits for its namespace's end still has its
/// Ethernet address, and no other can have it.
pub(crate) fn unplug(namespace: &Namespace, endpoint: &Endpoint) -> io::Result<()> {
    sys::netns::within(namespace.as_fd(), || {
        let mut netlink = Netlink::open()?;
        match netlink.link(&endpoint.interface)? {
            Some(link) => netlink.delete_link(link.index),
            None => Ok(()),
        }
    })
}

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        match text {
            "bridge" => Ok(Self::Bridge),
            "private" => Ok(Self::Private),
            "vepa" => Ok(Self::Vepa),
            "passthru" => Ok(Self::Passthru),
            _ => Err(InvalidMode(text.to_owned())),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthru => "passthru",
        })
    }
}

impl From<Mode> for Macvlan {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Bridge => Self::Bridge,
            Mode::Private => Self::Private,
            Mode::Vepa => Self::Vepa,
            Mode::Passthru => Self::Passthru,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_a_device_and_a_number() {
        for (name, want) in [
            ("eth0.10", Some(("eth0", 10))),
            ("eth0.1.4094", Some(("eth0.1", 4094))),
            ("eth0", None),
            ("eth0.0", None),
            ("eth0.4095", None),
            ("eth0.x", None),
        ] {
            assert_eq!(vlan(name), want, "{name}");
        }
    }

    #[test]
    fn a_mode_is_one_of_four_words() {
        for text in ["bridge", "private", "vepa", "passthru"] {
            assert_eq!(text.parse::<Mode>().map(|mode| mode.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("Bridge".parse::<Mode>(), Err(InvalidMode("Bridge".to_owned())));
    }
}
