//! Network interfaces.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::str::FromStr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};

use super::Netlink;

/// A hardware address, printed `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its hardware address; `None` for one that is not an Ethernet address.
    pub mac: Option<Mac>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Whether it was set up.
    pub up: bool,
    /// The bridge that it is a port of, by index.
    pub master: Option<u32>,
    /// Whether it is a bridge itself.
    pub is_bridge: bool,
    /// What somebody noted of it.
    pub alias: Option<String>,
}

/// An interface that is to be made elsewhere: the far end of a veth pair, a macvlan.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Its hardware address; the kernel chooses for `None`.
    pub mac: Option<Mac>,
    /// The network namespace that it is born in; this one for `None`.
    pub netns: Option<BorrowedFd<'a>>,
}

impl Netlink {
    /// All interfaces of the namespace.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Some(Link::from(message)),
                _ => None,
            })
            .collect())
    }

    /// The interface called `name`, where there is one.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let mut found = None;
        let take = |answer| {
            if let RouteNetlinkMessage::NewLink(message) = answer {
                found = Some(Link::from(message));
            }
        };
        let asked = self.request(
            RouteNetlinkMessage::GetLink(message),
            netlink_packet_core::NLM_F_ACK,
            take,
        );
        match asked {
            Ok(()) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The index of the interface called `name`.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is none.
    pub fn index(&mut self, name: &str) -> io::Result<u32> {
        let found = self.link(name)?.map(|link| link.index);
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Makes a bridge, down and without an address.
    ///
    /// # Errors
    ///
    /// `EEXIST` when the name is taken.
    pub fn add_bridge(&mut self, name: &str, mac: Option<Mac>) -> io::Result<()> {
        self.add_link(name, mac, vec![LinkInfo::Kind(InfoKind::Bridge)], Vec::new())
    }

    /// Makes a veth pair, both ends down: `name` here and `peer` in its namespace, in one step.
    ///
    /// # Errors
    ///
    /// `EEXIST` when one of the names is taken.
    pub fn add_veth(&mut self, name: &str, peer: &Peer<'_>) -> io::Result<()> {
        let mut far = LinkMessage::default();
        far.attributes.push(LinkAttribute::IfName(peer.name.to_owned()));
        far.attributes.extend(peer.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        far.attributes.extend(peer.netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let data = InfoData::Veth(InfoVeth::Peer(far));
        let info = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)];
        self.add_link(name, None, info, Vec::new())
    }

    pub(super) fn add_link(
        &mut self,
        name: &str,
        mac: Option<Mac>,
        info: Vec<LinkInfo>,
        others: Vec<LinkAttribute>,
    ) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = others;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sets the interface up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Makes the interface a port of the bridge `master`; 0 takes it out again.
    pub fn set_master(&mut self, index: u32, master: u32) -> io::Result<()> {
        self.set(index, LinkAttribute::Controller(master))
    }

    /// Lets a bridge send out of this port of its what came in by it, or not.
    pub fn set_hairpin(&mut self, index: u32, on: bool) -> io::Result<()> {
        self.set_port(index, InfoBridgePort::HairpinMode(on))
    }

    /// Keeps a bridge from passing frames between this port of its and others that are isolated, or not.
    pub fn set_isolated(&mut self, index: u32, on: bool) -> io::Result<()> {
        self.set_port(index, InfoBridgePort::Isolated(on))
    }

    fn set_port(&mut self, index: u32, what: InfoBridgePort) -> io::Result<()> {
        let data = InfoPortData::BridgePort(vec![what]);
        let info = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(data)];
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.change(RouteNetlinkMessage::NewLink(message), 0)
    }

    /// Sets the hardware address; most drivers want the interface down.
    pub fn set_mac(&mut self, index: u32, mac: Mac) -> io::Result<()> {
        self.set(index, LinkAttribute::Address(mac.0.to_vec()))
    }

    /// Sets the largest packet, in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        self.set(index, LinkAttribute::Mtu(mtu))
    }

    /// Notes something of the interface, at most 255 bytes.
    pub fn set_alias(&mut self, index: u32, text: &str) -> io::Result<()> {
        self.set(index, LinkAttribute::IfAlias(text.to_owned()))
    }

    /// Renames the interface, which must be down.
    pub fn set_name(&mut self, index: u32, name: &str) -> io::Result<()> {
        self.set(index, LinkAttribute::IfName(name.to_owned()))
    }

    /// Moves the interface to another network namespace. It keeps its name and loses its addresses.
    pub fn set_netns(&mut self, index: u32, netns: BorrowedFd<'_>) -> io::Result<()> {
        self.set(index, LinkAttribute::NetNsFd(netns.as_raw_fd()))
    }

    /// Moves the interface, which is down, to another network namespace and names it there, in one
    /// step; a `%d` in the name becomes the first number that is free. It loses its addresses.
    ///
    /// # Errors
    ///
    /// `EEXIST` when the name is taken there, `EINVAL` for an interface that belongs to its namespace.
    pub fn move_as(&mut self, index: u32, netns: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    fn set(&mut self, index: u32, attribute: LinkAttribute) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes the interface; a veth's other end goes with it.
    ///
    /// # Errors
    ///
    /// `ENODEV` when it is gone already.
    pub fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.change(RouteNetlinkMessage::DelLink(message), 0)
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            master: None,
            is_bridge: false,
            alias: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::IfAlias(text) => link.alias = Some(text),
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::LinkInfo(info) => {
                    link.is_bridge = info.contains(&LinkInfo::Kind(InfoKind::Bridge));
                }
                _ => {}
            }
        }
        link
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// The text is not six pairs of hex digits with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address {0:?}: want six pairs of hex digits, 02:42:ac:11:00:02")]
pub struct InvalidMac(pub String);

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let pair = |part: &str| match part.len() {
            2 if !part.starts_with('+') => u8::from_str_radix(part, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(pair).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| InvalidMac(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_six_pairs() {
        let mac = Mac([2, 0x42, 0xac, 0x11, 0, 2]);
        assert_eq!("02:42:AC:11:00:02".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for text in
            ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:00:02", "02:42:ac:11:00:+2"]
        {
            assert_eq!(text.parse::<Mac>(), Err(InvalidMac(text.to_owned())));
        }
    }
}
