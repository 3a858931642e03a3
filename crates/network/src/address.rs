//! Addresses: subnets, the pool that a bridge hands out.
//!
//! Pure data. IPv4 alone for now: an [`Endpoint`](crate::Endpoint) names its address and prefix, so
//! that a second family is a second field there and a second pool here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use spec::{ContainerId, Kind};
use sys::netlink::Mac;

/// The longest prefix that still has a gateway and a container in it.
const MAX_PREFIX: u8 = 30;
/// The shortest: Linux's own loopback network is one.
const MIN_PREFIX: u8 = 8;

/// An IPv4 network, printed `172.30.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

/// How the addresses of a network are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// All of them.
    pub subnet: Subnet,
    /// The bridge's own.
    pub gateway: Ipv4Addr,
    /// Where those come from that nobody asked for; `None` for the whole subnet.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// Those that belong to something that is no container, by name.
    #[serde(default)]
    pub reserved: BTreeMap<String, Ipv4Addr>,
}

/// Why there is no such subnet, or no address in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not an address, a slash and a prefix length from 8 to 30.
    #[error("invalid subnet {0:?}: want a network such as 172.30.0.0/16, prefix 8 to 30")]
    Subnet(String),
    /// Every address belongs to a container.
    #[error("no free address in {0}")]
    Exhausted(Subnet),
    /// An address of the network's layout does not lie in it.
    #[error("{what} {address} is no address in {subnet}")]
    Layout {
        /// `gateway`, `range` or the name of what the address is reserved for.
        what: String,
        /// The address or range.
        address: String,
        /// All of the network's.
        subnet: Subnet,
    },
    /// A record claims an address that the subnet does not hold.
    #[error("{address} is no container address in {subnet}")]
    Outside {
        /// What the record says.
        address: Ipv4Addr,
        /// The bridge's network.
        subnet: Subnet,
    },
    /// A record claims an address that is another container's.
    #[error("{address} belongs to container {owner}")]
    Taken {
        /// What the record says.
        address: Ipv4Addr,
        /// Who has it.
        owner: ContainerId,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Subnet(_) | Self::Layout { .. } => Kind::Invalid,
            Self::Exhausted(_) => Kind::Exhausted,
            Self::Outside { .. } | Self::Taken { .. } => Kind::Conflict,
        }
    }
}

impl Subnet {
    /// The address of the network itself, host bits zero.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// Length of the prefix, in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address: the bridge's, where nobody says.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network.to_bits() + 1)
    }

    /// The address to which everyone in the network listens: the last one.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network.to_bits() | !mask(self.prefix))
    }

    /// Whether the network of `address` with `prefix` has an address in common with this one.
    pub fn overlaps(self, address: Ipv4Addr, prefix: u8) -> bool {
        let common = mask(self.prefix.min(prefix));
        address.to_bits() & common == self.network.to_bits() & common
    }

    /// Whether somebody can have `address`: inside, and neither network nor broadcast.
    pub fn holds(self, address: Ipv4Addr) -> bool {
        (self.network < address) && (address < self.broadcast())
    }
}

impl From<Subnet> for Layout {
    /// All addresses for containers, but for the first.
    fn from(subnet: Subnet) -> Self {
        Self { subnet, gateway: subnet.first(), range: None, reserved: BTreeMap::new() }
    }
}

impl Layout {
    /// Refuses addresses that do not lie in the subnet.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`].
    pub fn check(&self) -> Result<(), Error> {
        let subnet = self.subnet;
        let outside = |what: &str, address: String| {
            Err(Error::Layout { what: what.to_owned(), address, subnet })
        };
        if !subnet.holds(self.gateway) {
            return outside("gateway", self.gateway.to_string());
        }
        if let Some(range) = self.range
            && (range.prefix < subnet.prefix || !subnet.overlaps(range.network, range.prefix))
        {
            return outside("range", range.to_string());
        }
        match self.reserved.iter().find(|(_, address)| !subnet.holds(**address)) {
            Some((name, address)) => outside(name, address.to_string()),
            None => Ok(()),
        }
    }

    /// Whether a container can have `address`.
    fn is_for_container(&self, address: Ipv4Addr) -> bool {
        let taken = address == self.gateway || self.reserved.values().any(|used| *used == address);
        self.subnet.holds(address) && !taken
    }

    /// The first address of the range, and the one behind its last.
    fn bounds(&self) -> (u32, u32) {
        let range = self.range.unwrap_or(self.subnet);
        let first = range.network.to_bits().max(self.subnet.network.to_bits() + 1);
        (first, (range.broadcast().to_bits() + 1).min(self.subnet.broadcast().to_bits()))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Subnet {
    type Err = Error;

    /// Any address of the network names it: `172.30.0.1/16` is `172.30.0.0/16`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            (MIN_PREFIX..=MAX_PREFIX)
                .contains(&prefix)
                .then(|| Self { network: Ipv4Addr::from(address.to_bits() & mask(prefix)), prefix })
        };
        parse().ok_or_else(|| Error::Subnet(text.to_owned()))
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The Ethernet address that belongs to `address`: `02:42` (locally administered, Docker's choice)
/// and its four bytes. A reused IP address so keeps its MAC and no neighbour's cache goes stale.
pub(crate) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([0x02, 0x42, a, b, c, d])
}

/// Who has which address of a subnet.
///
/// Hands them out in a ring, so that an address just given back is the last to be given again.
#[derive(Debug)]
pub(crate) struct Pool {
    layout: Layout,
    owners: BTreeMap<Ipv4Addr, ContainerId>,
    last: Ipv4Addr,
}

impl Pool {
    pub(crate) fn new(layout: Layout) -> Self {
        let last = Ipv4Addr::from(layout.bounds().0 - 1);
        Self { layout, owners: BTreeMap::new(), last }
    }

    /// The next free address after the last one given.
    pub(crate) fn take(&mut self, id: &ContainerId) -> Result<Ipv4Addr, Error> {
        let (first, end) = self.layout.bounds();
        let next = (self.last.to_bits() + 1).clamp(first, end);
        let address = (next..end)
            .chain(first..next)
            .map(Ipv4Addr::from)
            .find(|address| {
                self.layout.is_for_container(*address) && !self.owners.contains_key(address)
            })
            .ok_or(Error::Exhausted(self.layout.range.unwrap_or(self.layout.subnet)))?;
        self.owners.insert(address, id.clone());
        self.last = address;
        Ok(address)
    }

    /// Notes that `address` is `id`'s already; a second time changes nothing.
    pub(crate) fn claim(&mut self, id: &ContainerId, address: Ipv4Addr) -> Result<(), Error> {
        if !self.layout.is_for_container(address) {
            return Err(Error::Outside { address, subnet: self.layout.subnet });
        }
        match self.owners.get(&address) {
            Some(owner) if owner != id => Err(Error::Taken { address, owner: owner.clone() }),
            _ => {
                self.owners.insert(address, id.clone());
                self.last = self.last.max(address);
                Ok(())
            }
        }
    }

    /// Gives `address` back if it is `id`'s.
    pub(crate) fn give_back(&mut self, id: &ContainerId, address: Ipv4Addr) {
        if self.owners.get(&address) == Some(id) {
            self.owners.remove(&address);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ContainerId {
        text.parse().expect("legal")
    }

    fn pool(subnet: &str) -> Pool {
        Pool::new(subnet.parse::<Subnet>().expect("legal").into())
    }

    #[test]
    fn a_subnet_is_an_address_and_a_prefix_with_room_for_containers() {
        let cases = [
            ("172.30.0.0/16", Some("172.30.0.0/16")),
            ("172.30.7.9/16", Some("172.30.0.0/16")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("192.168.1.130/30", Some("192.168.1.128/30")),
            ("10.0.0.0/7", None),
            ("10.0.0.0/31", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0", None),
            ("10.0.0/16", None),
            ("fd00::/64", None),
            ("", None),
        ];
        for (text, want) in cases {
            let got = text.parse::<Subnet>().ok().map(|subnet| subnet.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_pool_goes_round_and_never_gives_one_address_twice() {
        let mut pool = pool("10.1.2.0/29");
        let taken: Vec<_> = (0..5).map(|i| pool.take(&id(&format!("c{i}")))).collect();
        let want: Vec<_> = (2..7).map(|last| Ok(Ipv4Addr::new(10, 1, 2, last))).collect();
        assert_eq!(taken, want);
        assert_eq!(pool.take(&id("c6")).map_err(|error| error.kind()), Err(Kind::Exhausted));

        pool.give_back(&id("another"), Ipv4Addr::new(10, 1, 2, 4));
        assert!(pool.take(&id("c6")).is_err(), "only its owner gives an address back");
        pool.give_back(&id("c2"), Ipv4Addr::new(10, 1, 2, 4));
        assert_eq!(pool.take(&id("c6")), Ok(Ipv4Addr::new(10, 1, 2, 4)));
    }

    #[test]
    fn an_address_given_back_rests_until_the_others_were_used() {
        let mut pool = pool("10.1.2.0/29");
        let first = pool.take(&id("a")).expect("empty");
        pool.give_back(&id("a"), first);
        assert_ne!(pool.take(&id("b")), Ok(first));
    }

    #[test]
    fn a_layout_says_which_addresses_are_for_whom() {
        let at = |last| Ipv4Addr::new(10, 1, 2, last);
        let mut layout = Layout::from("10.1.2.0/24".parse::<Subnet>().expect("legal"));
        layout.gateway = at(17);
        layout.range = Some("10.1.2.16/30".parse().expect("legal"));
        layout.reserved.insert("router".to_owned(), at(18));
        assert_eq!(layout.check(), Ok(()));
        let mut pool = Pool::new(layout.clone());
        let taken = [pool.take(&id("a")), pool.take(&id("b"))];
        assert_eq!(taken, [Ok(at(16)), Ok(at(19))]);
        assert_eq!(pool.take(&id("c")).map_err(|error| error.kind()), Err(Kind::Exhausted));
        // Whoever asks is not bound to the range.
        assert_eq!(pool.claim(&id("c"), at(200)), Ok(()));
        assert!(pool.claim(&id("d"), at(18)).is_err(), "it is reserved");
        pool.give_back(&id("a"), at(16));
        assert_eq!(pool.take(&id("d")), Ok(at(16)));
        for (gateway, range) in [(at(0), None), (at(255), None), (at(1), Some("10.1.0.0/16"))] {
            let range = range.map(|range| range.parse().expect("legal"));
            let wrong = Layout { gateway, range, ..layout.clone() };
            assert!(wrong.check().is_err(), "{gateway} {range:?}");
        }
    }

    #[test]
    fn a_record_claims_only_what_is_free_and_inside() {
        let mut pool = pool("10.1.2.0/29");
        let at = |last| Ipv4Addr::new(10, 1, 2, last);
        let cases = [
            ("a", at(3), Ok(())),
            ("a", at(3), Ok(())),
            ("b", at(3), Err(Kind::Conflict)),
            ("b", at(0), Err(Kind::Conflict)),
            ("b", at(1), Err(Kind::Conflict)),
            ("b", at(7), Err(Kind::Conflict)),
            ("b", Ipv4Addr::new(10, 9, 9, 9), Err(Kind::Conflict)),
        ];
        for (who, address, want) in cases {
            let got = pool.claim(&id(who), address).map_err(|error| error.kind());
            assert_eq!(got, want, "{who} {address}");
        }
        assert_eq!(pool.take(&id("b")), Ok(at(4)));
    }

    #[test]
    fn subnets_overlap_when_they_share_an_address() {
        let subnet: Subnet = "172.30.0.0/16".parse().expect("legal");
        let cases = [
            ("172.30.9.1", 24, true),
            ("172.30.0.1", 16, true),
            ("172.16.0.1", 12, true),
            ("10.0.0.1", 0, true),
            ("172.31.0.1", 16, false),
            ("10.0.0.1", 8, false),
            ("127.0.0.1", 8, false),
        ];
        for (address, prefix, want) in cases {
            let address = address.parse().expect("legal");
            assert_eq!(subnet.overlaps(address, prefix), want, "{address}/{prefix}");
        }
    }

    #[test]
    fn a_mac_address_follows_from_the_ip_address() {
        assert_eq!(mac_of(Ipv4Addr::new(172, 30, 0, 2)).to_string(), "02:42:ac:1e:00:02");
    }
}
