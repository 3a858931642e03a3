//! Interfaces on top of others: macvlans and VLANs, and one that is beneath them where there is none.
//!
//! Spec: ip-link(8) "VLAN Type Support", "MACVLAN and MACVTAP Type Support"; the kernel's
//! drivers/net/{macvlan,dummy,ifb}.c.

use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVlan, LinkAttribute, LinkInfo, MacVlanMode,
};

use super::{Netlink, Peer};

/// How the macvlans of one interface reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macvlan {
    /// At once.
    Bridge,
    /// Not at all.
    Private,
    /// By a switch outside that sends frames back.
    Vepa,
    /// There is only one.
    Passthru,
}

impl Netlink {
    /// Makes a macvlan of the interface `parent` of this namespace: down, in the new one's.
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody else takes the parent's frames (a bridge, or another macvlan that lets no
    /// other be beside it), `EINVAL` for a parent that cannot have any, such as `lo`.
    pub fn add_macvlan(&mut self, parent: u32, mode: Macvlan, new: &Peer<'_>) -> io::Result<()> {
        let mode = match mode {
            Macvlan::Bridge => MacVlanMode::Bridge,
            Macvlan::Private => MacVlanMode::Private,
            Macvlan::Vepa => MacVlanMode::Vepa,
            Macvlan::Passthru => MacVlanMode::Passthrough,
        };
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
        let mut place = vec![LinkAttribute::Link(parent)];
        place.extend(new.netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let info = vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(data)];
        self.add_link(new.name, new.mac, info, place)
    }

    /// Makes `name`, which is the VLAN `id` of the interface `parent`.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` from a kernel without VLANs.
    pub fn add_vlan(&mut self, name: &str, parent: u32, id: u16) -> io::Result<()> {
        let data = InfoData::Vlan(vec![InfoVlan::Id(id)]);
        let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)];
        self.add_link(name, None, info, vec![LinkAttribute::Link(parent)])
    }

    /// Makes an interface that leads nowhere: whatever is sent by it is dropped.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` from a kernel that has neither `dummy` nor `ifb`, which drops all that nobody has
    /// redirected to it.
    pub fn add_dummy(&mut self, name: &str) -> io::Result<()> {
        let mut add = |kind| self.add_link(name, None, vec![LinkInfo::Kind(kind)], Vec::new());
        match add(InfoKind::Dummy) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => add(InfoKind::Ifb),
            made => made,
        }
    }
}
