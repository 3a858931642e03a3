//! Addresses: subnets, the pools that a bridge hands out.
//!
//! Pure data, for both families: what differs between them is in [`Family`], and IPv4 is what is meant
//! where none is named.

mod pool;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spec::{ContainerId, Kind};
use sys::netlink::Mac;

pub(crate) use pool::Pool;

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

#[cfg(test)]
mod tests;
