//! Which addresses a network has: those that were asked for, or a subnet of a pool that nobody on this
//! host uses.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use network::{Family, Layout, Subnet};

use crate::error::Error;

/// Addresses that are asked for, of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// All of them, `ADDRESS/PREFIX`.
    pub subnet: String,
    /// The bridge's address; `None` for the first.
    pub gateway: Option<String>,
    /// Where addresses come from that nobody asks for; `None` for the whole subnet.
    pub range: Option<String>,
    /// Addresses that belong to something that is no container, by name.
    pub reserved: BTreeMap<String, String>,
}

/// Where subnets are taken from that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPool {
    /// IPv4, and the length of the subnets' prefixes.
    Four(Subnet, u8),
    /// The same of IPv6.
    Six(Subnet<Ipv6Addr>, u8),
}

impl Asked {
    /// Whether they are of IPv6.
    pub(super) fn is_six(&self) -> bool {
        self.subnet.contains(':')
    }

    /// The addresses as they are shared out.
    pub(super) fn layout<A: Family>(&self) -> Result<Layout<A>, Error> {
        fn read<T: FromStr>(text: &str, field: &'static str) -> Result<T, Error> {
            let wrong = || Error::Invalid { field, problem: format!("{text:?} is no address") };
            text.parse().map_err(|_| wrong())
        }
        let invalid = |field| {
            move |error: network::address::Error| Error::Invalid {
                field,
                problem: error.to_string(),
            }
        };
        let subnet: Subnet<A> = self.subnet.parse().map_err(invalid("IPAM.Config.Subnet"))?;
        let mut layout = Layout::from(subnet);
        if let Some(gateway) = &self.gateway {
            layout.gateway = read(gateway, "IPAM.Config.Gateway")?;
        }
        if let Some(range) = &self.range {
            layout.range = Some(read(range, "IPAM.Config.IPRange")?);
        }
        for (name, address) in &self.reserved {
            let address = read(address, "IPAM.Config.AuxiliaryAddresses")?;
            layout.reserved.insert(name.clone(), address);
        }
        layout.check().map_err(invalid("IPAM.Config"))?;
        Ok(layout)
    }
}

/// The pools where the administrator names none: Docker's of IPv4, and a /48 of the engine's own of IPv6,
/// as RFC 4193 wants it.
pub(super) fn usual(engine: &str) -> Vec<AddressPool> {
    let pool = |text: &str, size| AddressPool::Four(text.parse().expect("a network"), size);
    let large = (18..32).map(|second| pool(&format!("172.{second}.0.0/16"), 16));
    large.chain([pool("192.168.0.0/16", 20), AddressPool::Six(own_prefix(engine), 64)]).collect()
}

/// The subnet of the default network where only IPv6 itself was asked for: the last, which others come to
/// last.
pub(crate) fn of_default(engine: &str) -> Subnet<Ipv6Addr> {
    let bits = own_prefix(engine).network().to_bits() | 0xffff << 64;
    Subnet::new(Ipv6Addr::from_bits(bits), 64).expect("64 is a length that can be")
}

/// 40 bits that others are unlikely to have, behind `fd`. Spec: RFC 4193 3.1.
fn own_prefix(engine: &str) -> Subnet<Ipv6Addr> {
    let mut bits = 0xcbf2_9ce4_8422_2325_u64;
    for byte in engine.bytes() {
        bits = (bits ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let global = u128::from(bits >> 24) << 80;
    Subnet::new(Ipv6Addr::from_bits(0xfd << 120 | global), 48).expect("48 is a length that can be")
}

/// The subnets of the pools' IPv4, in order.
pub(super) fn fours(pools: &[AddressPool]) -> impl Iterator<Item = Subnet<Ipv4Addr>> {
    let parts = |pool: &AddressPool| match pool {
        AddressPool::Four(base, size) => Some(base.parts(*size)),
        AddressPool::Six(..) => None,
    };
    pools.iter().filter_map(parts).flatten()
}

/// The subnets of the pools' IPv6, in order.
pub(super) fn sixes(pools: &[AddressPool]) -> impl Iterator<Item = Subnet<Ipv6Addr>> {
    let parts = |pool: &AddressPool| match pool {
        AddressPool::Four(..) => None,
        AddressPool::Six(base, size) => Some(base.parts(*size)),
    };
    pools.iter().filter_map(parts).flatten()
}

/// Those of the subnets to which neither an address nor a route of the host leads, so many at most as may
/// be lost to others that are as quick.
pub(super) fn free<A: Family>(
    subnets: impl Iterator<Item = Subnet<A>>,
    used: &[(IpAddr, u8)],
) -> Vec<Subnet<A>> {
    const ENOUGH: usize = 8;
    let is_free =
        |subnet: &Subnet<A>| !used.iter().any(|(ip, prefix)| subnet.overlaps(*ip, *prefix));
    subnets.filter(is_free).take(ENOUGH).collect()
}

/// What the host's addresses and routes cover. Blocks.
pub(super) fn used() -> Result<Vec<(IpAddr, u8)>, Error> {
    network::in_use().map_err(|source: io::Error| Error::Routes(source))
}

/// The text is no pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid address pool {0:?}: want base=ADDRESS/PREFIX,size=PREFIX")]
pub struct InvalidPool(pub String);

impl FromStr for AddressPool {
    type Err = InvalidPool;

    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        fn fits<A: Family>(base: &str, size: u8) -> Option<Subnet<A>> {
            let base: Subnet<A> = base.parse().ok()?;
            (base.prefix() <= size && A::PREFIXES.contains(&size)).then_some(base)
        }
        let parse = || {
            let (one, other) = text.split_once(',')?;
            let (base, size) = match (one.strip_prefix("base="), other.strip_prefix("size=")) {
                (Some(base), Some(size)) => (base, size),
                _ => (other.strip_prefix("base=")?, one.strip_prefix("size=")?),
            };
            let size = size.parse().ok()?;
            let four = fits(base, size).map(|base| Self::Four(base, size));
            four.or_else(|| fits(base, size).map(|base| Self::Six(base, size)))
        };
        parse().ok_or_else(|| InvalidPool(text.to_owned()))
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Four(base, size) => write!(f, "base={base},size={size}"),
            Self::Six(base, size) => write!(f, "base={base},size={size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_a_base_and_the_length_of_its_parts() {
        let cases = [
            ("base=10.8.0.0/16,size=24", Some("base=10.8.0.0/16,size=24")),
            ("size=64,base=fd00:8::/48", Some("base=fd00:8::/48,size=64")),
            ("base=10.8.0.0/16,size=8", None),
            ("base=10.8.0.0/16,size=31", None),
            ("base=fd00:8::/48,size=127", None),
            ("base=10.8.0.0/16", None),
            ("10.8.0.0/16", None),
        ];
        for (text, want) in cases {
            let pool = text.parse::<AddressPool>().ok().map(|pool| pool.to_string());
            assert_eq!(pool.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn what_the_host_uses_is_left_out() {
        let pools = usual("ABCD:EFGH");
        let used = [("172.18.5.0".parse().expect("an address"), 24)];
        assert_eq!(free(fours(&pools), &used)[0].to_string(), "172.19.0.0/16");
        let own = own_prefix("ABCD:EFGH");
        assert_ne!(own, own_prefix("ABCD:EFGI"));
        let first = sixes(&pools).next().expect("65536");
        assert_eq!((first.network(), first.prefix()), (own.network(), 64));
        assert!(own.overlaps(of_default("ABCD:EFGH").network().into(), 64));
        let used = [(first.first().into(), 64)];
        assert_ne!(free(sixes(&pools), &used)[0], first);
    }
}
