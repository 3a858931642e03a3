//! Addresses: subnets, the pools that a bridge hands out.
//!
//! Pure data, for both families: what differs between them is in [`Family`], and IPv4 is what is meant
//! where none is named.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spec::{ContainerId, Kind};
use sys::netlink::Mac;

/// A kind of addresses: [`Ipv4Addr`] or [`Ipv6Addr`].
pub trait Family:
    Copy + Ord + fmt::Display + fmt::Debug + FromStr + Into<IpAddr> + Serialize + DeserializeOwned
{
    /// How many bits an address has.
    const BITS: u8;
    /// The prefixes of subnets: the longest still has a gateway and a container in it.
    const PREFIXES: RangeInclusive<u8>;
    /// Whether the last address of a subnet is everybody's.
    const BROADCAST: bool;
    /// A subnet as users write it.
    const EXAMPLE: &str;

    /// The address as a number.
    fn number(self) -> u128;

    /// The address with this number.
    fn of(number: u128) -> Self;

    /// The address, if it is of this family.
    fn only(address: IpAddr) -> Option<Self>;
}

impl Family for Ipv4Addr {
    const BITS: u8 = 32;
    // Linux's own loopback network is the largest.
    const PREFIXES: RangeInclusive<u8> = 8..=30;
    const BROADCAST: bool = true;
    const EXAMPLE: &str = "172.30.0.0/16, prefix 8 to 30";

    fn number(self) -> u128 {
        self.to_bits().into()
    }

    fn of(number: u128) -> Self {
        Self::from_bits(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn only(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Family for Ipv6Addr {
    const BITS: u8 = 128;
    const PREFIXES: RangeInclusive<u8> = 16..=126;
    const BROADCAST: bool = false;
    const EXAMPLE: &str = "fd00:30::/64, prefix 16 to 126";

    fn number(self) -> u128 {
        self.to_bits()
    }

    fn of(number: u128) -> Self {
        Self::from_bits(number)
    }

    fn only(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }
}

/// A network, printed `172.30.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "A: Family")]
pub struct Subnet<A = Ipv4Addr> {
    network: A,
    prefix: u8,
}

/// How the addresses of a network are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "A: Family")]
pub struct Layout<A = Ipv4Addr> {
    /// All of them.
    pub subnet: Subnet<A>,
    /// The bridge's own.
    pub gateway: A,
    /// Where those come from that nobody asked for; `None` for the whole subnet.
    #[serde(default)]
    pub range: Option<Subnet<A>>,
    /// Those that belong to something that is no container, by name.
    #[serde(default)]
    pub reserved: BTreeMap<String, A>,
}

/// Why there is no such subnet, or no address in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not an address, a slash and the length of a prefix.
    #[error("invalid subnet {text:?}: want a network such as {example}")]
    Subnet {
        /// What was given.
        text: String,
        /// What could be.
        example: &'static str,
    },
    /// Every address belongs to a container.
    #[error("no free address in {0}")]
    Exhausted(String),
    /// An address of the network's layout does not lie in it.
    #[error("{what} {address} is no address in {subnet}")]
    Layout {
        /// `gateway`, `range` or the name of what the address is reserved for.
        what: String,
        /// The address or range.
        address: String,
        /// All of the network's.
        subnet: String,
    },
    /// The network has no address of the family that is asked for.
    #[error("{address}: the network has no IPv6 addresses; make it with --ipv6")]
    NoFamily {
        /// What was asked for.
        address: IpAddr,
    },
    /// A record claims an address that the subnet does not hold.
    #[error("{address} is no container address in {subnet}")]
    Outside {
        /// What the record says.
        address: IpAddr,
        /// The bridge's network.
        subnet: String,
    },
    /// A record claims an address that is another container's.
    #[error("{address} belongs to container {owner}")]
    Taken {
        /// What the record says.
        address: IpAddr,
        /// Who has it.
        owner: ContainerId,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Subnet { .. } | Self::Layout { .. } | Self::NoFamily { .. } => Kind::Invalid,
            Self::Exhausted(_) => Kind::Exhausted,
            Self::Outside { .. } | Self::Taken { .. } => Kind::Conflict,
        }
    }
}

impl<A: Family> Subnet<A> {
    /// The network of `address`, whose bits beyond `prefix` do not count; `None` for a prefix that
    /// leaves no room for containers, or too much.
    pub fn new(address: A, prefix: u8) -> Option<Self> {
        let network = A::of(address.number() & mask::<A>(prefix));
        A::PREFIXES.contains(&prefix).then_some(Self { network, prefix })
    }

    /// The address of the network itself, host bits zero.
    pub fn network(self) -> A {
        self.network
    }

    /// Length of the prefix, in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address: the bridge's, where nobody says.
    pub fn first(self) -> A {
        A::of(self.network.number() + 1)
    }

    /// The last address. In IPv4 everyone in the network listens to it.
    pub fn last(self) -> A {
        A::of(self.network.number() | (all::<A>() & !mask::<A>(self.prefix)))
    }

    /// Whether the network of `address` with `prefix` has an address in common with this one.
    pub fn overlaps(self, address: IpAddr, prefix: u8) -> bool {
        let common = mask::<A>(self.prefix.min(prefix));
        let other = A::only(address).map(|address| address.number() & common);
        other == Some(self.network.number() & common)
    }

    /// Whether somebody can have `address`: inside, and neither network nor broadcast.
    pub fn holds(self, address: A) -> bool {
        self.network < address && address.number() < self.end()
    }

    /// The number behind the last address that somebody can have.
    fn end(self) -> u128 {
        let last = self.last().number();
        // A subnet is never all there is, so that this cannot overflow.
        if A::BROADCAST { last } else { last.saturating_add(1) }
    }

    /// The subnets of this length that it is made of, in order.
    pub fn parts(self, prefix: u8) -> impl Iterator<Item = Self> {
        let step = 1_u128 << (A::BITS - prefix.clamp(self.prefix, A::BITS)).min(127);
        let (first, last) = (self.network.number(), self.last().number());
        let starts = std::iter::successors(Some(first), move |at| at.checked_add(step));
        let starts = starts.take_while(move |at| *at <= last);
        starts.filter_map(move |at| Self::new(A::of(at), prefix))
    }
}

impl<A: Family> From<Subnet<A>> for Layout<A> {
    /// All addresses for containers, but for the first.
    fn from(subnet: Subnet<A>) -> Self {
        Self { subnet, gateway: subnet.first(), range: None, reserved: BTreeMap::new() }
    }
}

impl<A: Family> Layout<A> {
    /// Refuses addresses that do not lie in the subnet.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`].
    pub fn check(&self) -> Result<(), Error> {
        let subnet = self.subnet;
        let outside = |what: &str, address: String| {
            let (what, subnet) = (what.to_owned(), subnet.to_string());
            Err(Error::Layout { what, address, subnet })
        };
        if !subnet.holds(self.gateway) {
            return outside("gateway", self.gateway.to_string());
        }
        if let Some(range) = self.range
            && (range.prefix < subnet.prefix
                || !subnet.overlaps(range.network.into(), range.prefix))
        {
            return outside("range", range.to_string());
        }
        match self.reserved.iter().find(|(_, address)| !subnet.holds(**address)) {
            Some((name, address)) => outside(name, address.to_string()),
            None => Ok(()),
        }
    }

    /// Whether a container can have `address`.
    fn is_for_container(&self, address: A) -> bool {
        let taken = address == self.gateway || self.reserved.values().any(|used| *used == address);
        self.subnet.holds(address) && !taken
    }

    /// The number of the range's first address, and the one behind its last.
    fn bounds(&self) -> (u128, u128) {
        let range = self.range.unwrap_or(self.subnet);
        let first = range.network.number().max(self.subnet.network.number() + 1);
        (first, range.last().number().saturating_add(1).min(self.subnet.end()))
    }
}

/// The number of the last address of all.
fn all<A: Family>() -> u128 {
    u128::MAX >> (128 - u32::from(A::BITS))
}

/// A number whose first bits, so many, are set.
fn mask<A: Family>(prefix: u8) -> u128 {
    let rest = u32::from(A::BITS.saturating_sub(prefix));
    all::<A>() & u128::MAX.checked_shl(rest).unwrap_or(0)
}

impl<A: Family> FromStr for Subnet<A> {
    type Err = Error;

    /// Any address of the network names it: `172.30.0.1/16` is `172.30.0.0/16`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Self::new(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| Error::Subnet { text: text.to_owned(), example: A::EXAMPLE })
    }
}

impl<A: Family> TryFrom<String> for Subnet<A> {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl<A: Family> From<Subnet<A>> for String {
    fn from(subnet: Subnet<A>) -> Self {
        subnet.to_string()
    }
}

impl<A: Family> fmt::Display for Subnet<A> {
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
pub(crate) struct Pool<A = Ipv4Addr> {
    layout: Layout<A>,
    owners: BTreeMap<A, ContainerId>,
    last: A,
}

impl<A: Family> Pool<A> {
    pub(crate) fn new(layout: Layout<A>) -> Self {
        let last = A::of(layout.bounds().0 - 1);
        Self { layout, owners: BTreeMap::new(), last }
    }

    /// The address that is asked for, or the next free one after the last one given.
    pub(crate) fn take(&mut self, id: &ContainerId, wanted: Option<A>) -> Result<A, Error> {
        match wanted {
            Some(address) => self.claim(id, address).map(|()| address),
            None => self.next(id),
        }
    }

    fn next(&mut self, id: &ContainerId) -> Result<A, Error> {
        let (first, end) = self.layout.bounds();
        let next = (self.last.number() + 1).clamp(first, end);
        let address = (next..end)
            .chain(first..next)
            .map(A::of)
            .find(|address| {
                self.layout.is_for_container(*address) && !self.owners.contains_key(address)
            })
            .ok_or_else(|| {
                Error::Exhausted(self.layout.range.unwrap_or(self.layout.subnet).to_string())
            })?;
        self.owners.insert(address, id.clone());
        self.last = address;
        Ok(address)
    }

    /// Notes that `address` is `id`'s already; a second time changes nothing.
    pub(crate) fn claim(&mut self, id: &ContainerId, address: A) -> Result<(), Error> {
        if !self.layout.is_for_container(address) {
            let subnet = self.layout.subnet.to_string();
            return Err(Error::Outside { address: address.into(), subnet });
        }
        match self.owners.get(&address) {
            Some(owner) if owner != id => {
                Err(Error::Taken { address: address.into(), owner: owner.clone() })
            }
            _ => {
                self.owners.insert(address, id.clone());
                self.last = self.last.max(address);
                Ok(())
            }
        }
    }

    /// Gives `address` back if it is `id`'s.
    pub(crate) fn give_back(&mut self, id: &ContainerId, address: A) {
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
        let taken: Vec<_> = (0..5).map(|i| pool.take(&id(&format!("c{i}")), None)).collect();
        let want: Vec<_> = (2..7).map(|last| Ok(Ipv4Addr::new(10, 1, 2, last))).collect();
        assert_eq!(taken, want);
        assert_eq!(pool.take(&id("c6"), None).map_err(|error| error.kind()), Err(Kind::Exhausted));

        pool.give_back(&id("another"), Ipv4Addr::new(10, 1, 2, 4));
        assert!(pool.take(&id("c6"), None).is_err(), "only its owner gives an address back");
        pool.give_back(&id("c2"), Ipv4Addr::new(10, 1, 2, 4));
        assert_eq!(pool.take(&id("c6"), None), Ok(Ipv4Addr::new(10, 1, 2, 4)));
    }

    #[test]
    fn an_address_given_back_rests_until_the_others_were_used() {
        let mut pool = pool("10.1.2.0/29");
        let first = pool.take(&id("a"), None).expect("empty");
        pool.give_back(&id("a"), first);
        assert_ne!(pool.take(&id("b"), None), Ok(first));
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
        let taken = [pool.take(&id("a"), None), pool.take(&id("b"), None)];
        assert_eq!(taken, [Ok(at(16)), Ok(at(19))]);
        assert_eq!(pool.take(&id("c"), None).map_err(|error| error.kind()), Err(Kind::Exhausted));
        // Whoever asks is not bound to the range.
        assert_eq!(pool.claim(&id("c"), at(200)), Ok(()));
        assert!(pool.claim(&id("d"), at(18)).is_err(), "it is reserved");
        pool.give_back(&id("a"), at(16));
        assert_eq!(pool.take(&id("d"), None), Ok(at(16)));
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
        assert_eq!(pool.take(&id("b"), None), Ok(at(4)));
    }

    #[test]
    fn addresses_of_both_families_are_shared_out_alike() {
        let subnet: Subnet<Ipv6Addr> = "fd00:7::9/126".parse().expect("legal");
        assert_eq!((subnet.to_string().as_str(), subnet.prefix()), ("fd00:7::8/126", 126));
        for text in ["10.0.0.0/8", "fd00::/127", "fd00::/8", "fd00::", "fd00::/129"] {
            assert!(text.parse::<Subnet<Ipv6Addr>>().is_err(), "{text}");
        }
        let mut pool = Pool::new(subnet.into());
        let taken = [pool.take(&id("a"), None), pool.take(&id("b"), None)];
        let at = |text: &str| Ok(text.parse().expect("an address"));
        // There is no broadcast: the last one is a container's, too.
        assert_eq!(taken, [at("fd00:7::a"), at("fd00:7::b")]);
        assert_eq!(pool.take(&id("c"), None).map_err(|error| error.kind()), Err(Kind::Exhausted));
        let wide: Subnet<Ipv6Addr> = "fd00:7::/48".parse().expect("legal");
        let parts: Vec<_> = wide.parts(64).take(2).map(|part| part.to_string()).collect();
        assert_eq!(parts, ["fd00:7::/64", "fd00:7:0:1::/64"]);
        assert_eq!(wide.parts(64).count(), 1 << 16);
        let small: Subnet = "192.168.0.0/16".parse().expect("legal");
        let parts: Vec<_> = small.parts(17).map(|part| part.to_string()).collect();
        assert_eq!(parts, ["192.168.0.0/17", "192.168.128.0/17"]);
        assert!(wide.overlaps("fd00:7:0:9::".parse().expect("legal"), 64));
        assert!(!wide.overlaps("fd00:8::".parse().expect("legal"), 48));
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
            ("::", 0, false),
        ];
        for (address, prefix, want) in cases {
            let address: IpAddr = address.parse().expect("legal");
            assert_eq!(subnet.overlaps(address, prefix), want, "{address}/{prefix}");
        }
    }

    #[test]
    fn a_mac_address_follows_from_the_ip_address() {
        assert_eq!(mac_of(Ipv4Addr::new(172, 30, 0, 2)).to_string(), "02:42:ac:1e:00:02");
    }
}
