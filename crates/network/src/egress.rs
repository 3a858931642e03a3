//! Where a container may send to: an allow-list, held by rules outside of it.
//!
//! ```text
//!   egress=none                                    nowhere but to its own network
//!   egress=allow:RULE[,RULE...]                    and to what a rule names
//!
//!   RULE   HOST[:PORT[-PORT][/tcp|/udp]]           without a port: any port, any protocol
//!   HOST   192.0.2.7  198.51.100.0/24  example.com  *.example.com
//!          2001:db8::7  2001:db8::/32  [2001:db8::7]:443  [2001:db8::/32]:443
//! ```
//!
//! On a network without IPv6 that is closed to a container that is held so.
//!
//! `*.example.com` means every name below `example.com`, and not `example.com` itself. A name lets
//! through only addresses that our own name server has given the container for it, and those for as
//! long as the answer may be kept. It never lets through to the host's own services: only an address
//! does.
//!
//! Invariant: a policy that was read holds only addresses, ports and names that were parsed, so that
//! nothing of a caller's text comes to the packet filter.

mod rules;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use rules::{Dropped, LONGEST};
pub(crate) use rules::{admit, apply, dropped, ensure, held, remove};

/// How many rules a policy may have.
const MOST: usize = 1000;

/// What a container may reach beyond its own network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Policy(Vec<Rule>);

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Who may be sent to.
    pub host: Host,
    /// Where there; `None` for everywhere.
    pub ports: Option<Ports>,
}

/// Who may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// All addresses that begin like this one.
    Network(IpAddr, u8),
    /// What this name means; in lower case.
    Name(String),
    /// What a name below this one means.
    Below(String),
}

/// Ports that may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Of which protocol; `None` for both tcp and udp.
    pub protocol: Option<Transport>,
}

/// What ports are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// The text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid egress {0:?}: want none, or allow:HOST[:PORT[-PORT][/tcp|/udp]], more after commas, \
     where HOST is an address, a network such as 10.0.0.0/8 or 2001:db8::/32, a name or *.NAME; \
     what is of IPv6 has [] around it before a port"
)]
pub struct Invalid(pub String);

impl Policy {
    /// What is allowed, in the order that was given.
    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// The numbers of the rules that allow `name`; a dot at its end and its case do not matter.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + use<'a> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(move |(number, rule)| rule.host.is(name).then_some(number))
    }

    /// Whether a rule allows `address` by itself, on some port.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.iter().any(|rule| match rule.host {
            Host::Network(network, length) => within(address, network, length),
            Host::Name(_) | Host::Below(_) => false,
        })
    }

    /// The first address of IPv6 that a rule has: what only a network with IPv6 can hold.
    pub fn six(&self) -> Option<Ipv6Addr> {
        self.0.iter().find_map(|rule| match rule.host {
            Host::Network(IpAddr::V6(address), _) => Some(address),
            _ => None,
        })
    }
}

impl Host {
    fn is(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::Network(..) => false,
            Self::Name(own) => *own == name,
            Self::Below(parent) => {
                let child =
                    name.strip_suffix(parent.as_str()).and_then(|rest| rest.strip_suffix('.'));
                child.is_some_and(|child| !child.is_empty())
            }
        }
    }
}

/// Whether an address that a name server gave belongs to the world: not to the host, to a network of
/// its own, to a group or to nobody. A name that is allowed lets through no other, because whoever has
/// the name could else open the host's own network to the container (DNS rebinding).
///
/// Spec: RFC 6890, the registries of special-purpose addresses; RFC 1918, 4193, 6598.
pub fn is_of_the_world(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && (64..128).contains(&second);
            let nobody = first == 0 || first >= 224;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared || nobody)
        }
        IpAddr::V6(ip) => {
            // Only 2000::/3 is given out; what in it leads to an IPv4 address is taken for that one.
            let [first, second, third, ..] = ip.segments();
            let [.., a, b] = ip.segments();
            let mapped = |high: u16, low: u16| {
                is_of_the_world(
                    std::net::Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into(),
                )
            };
            match (first, second) {
                (0x2002, high) => mapped(high, third),
                (0x64, 0xff9b) => third == 0 && mapped(a, b),
                _ => first & 0xe000 == 0x2000,
            }
        }
    }
}

fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let differs = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros()
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros()
        }
        _ => return false,
    };
    differs >= u32::from(length)
}

/// The length of a prefix that is a whole address.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Policy {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "none" {
            return Ok(Self::default());
        }
        let invalid = || Invalid(text.to_owned());
        let list = text.strip_prefix("allow:").ok_or_else(invalid)?;
        let rules: Option<Vec<Rule>> = list
            .split(',')
            .map(|piece| rule(piece.strip_prefix("allow:").unwrap_or(piece)))
            .collect();
        rules.filter(|rules| rules.len() <= MOST).map(Self).ok_or_else(invalid)
    }
}

fn rule(text: &str) -> Option<Rule> {
    let (host, ports) = host_and_ports(text)?;
    let ports = match ports {
        Some(ports) => Some(read_ports(ports)?),
        None => None,
    };
    Some(Rule { host, ports })
}

/// More than one colon are an address, unless it has brackets.
fn host_and_ports(text: &str) -> Option<(Host, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, ports) = rest.split_once(']')?;
        let network = read_network(host).filter(|(address, _)| address.is_ipv6())?;
        let ports = if ports.is_empty() { None } else { Some(ports.strip_prefix(':')?) };
        return Some((network.into(), ports));
    }
    match text.split_once(':') {
        Some((host, ports)) if !ports.contains(':') => Some((read_host(host)?, Some(ports))),
        _ => Some((read_host(text)?, None)),
    }
}

/// An address, or one with the length of a prefix.
fn read_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    // One that is an IPv4 address in disguise is on no wire.
    let disguised = matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
    let length = length.unwrap_or(whole(address));
    (length <= whole(address) && !disguised).then_some((address, length))
}

fn read_host(text: &str) -> Option<Host> {
    if let Some(network) = read_network(text) {
        return Some(network.into());
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(parent) => (parent, true),
        None => (text, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // A last label of digits alone would be an address that is written wrongly.
    let numeric = name.rsplit('.').next()?.bytes().all(|b| b.is_ascii_digit());
    if numeric || name.len() > 253 || !name.split('.').all(is_label) {
        return None;
    }
    Some(if below { Host::Below(name) } else { Host::Name(name) })
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn read_ports(text: &str) -> Option<Ports> {
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, "tcp")) => (numbers, Some(Transport::Tcp)),
        Some((numbers, "udp")) => (numbers, Some(Transport::Udp)),
        Some(_) => return None,
        None => (text, None),
    };
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some(Ports { first, last, protocol })
}

impl From<(IpAddr, u8)> for Host {
    fn from((address, length): (IpAddr, u8)) -> Self {
        Self::Network(address, length)
    }
}

impl TryFrom<String> for Policy {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str("allow:")?;
        for (number, rule) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Network(ip, length) => {
                let length = Some(*length).filter(|length| *length != whole(*ip));
                let length = length.map_or_else(String::new, |length| format!("/{length}"));
                match self.ports {
                    Some(_) if ip.is_ipv6() => write!(f, "[{ip}{length}]")?,
                    _ => write!(f, "{ip}{length}")?,
                }
            }
            Host::Name(name) => f.write_str(name)?,
            Host::Below(name) => write!(f, "*.{name}")?,
        }
        let Some(Ports { first, last, protocol }) = self.ports else { return Ok(()) };
        write!(f, ":{first}")?;
        if first != last {
            write!(f, "-{last}")?;
        }
        match protocol {
            Some(Transport::Tcp) => f.write_str("/tcp"),
            Some(Transport::Udp) => f.write_str("/udp"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        text.parse().expect(text)
    }

    #[test]
    fn a_policy_is_read_and_said_again() {
        for (text, said) in [
            ("none", "none"),
            ("allow:Example.COM.:443", "allow:example.com:443"),
            ("allow:*.a.test,allow:10.0.0.0/8:53/udp", "allow:*.a.test,10.0.0.0/8:53/udp"),
            ("allow:192.0.2.7:1000-2000/tcp", "allow:192.0.2.7:1000-2000/tcp"),
            ("allow:2001:DB8::/32,2001:db8::7/128", "allow:2001:db8::/32,2001:db8::7"),
            ("allow:[2001:db8::/32]:80,[::1]", "allow:[2001:db8::/32]:80,::1"),
            ("allow:[2001:db8::7]:443/tcp", "allow:[2001:db8::7]:443/tcp"),
        ] {
            assert_eq!(policy(text).to_string(), said);
            assert_eq!(policy(said), policy(text));
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in [
            "",
            "all",
            "allow:",
            "allow:a,",
            "allow:*",
            "allow:a:0",
            "allow:a:9-8",
            "allow:a:1/sctp",
            "allow:10.0.0.0/33",
            "allow:10.0.0",
            "allow:1.2.3.4.5",
            "allow:a b",
            "allow:a;drop",
            "allow:*.*.a",
            "allow:a/24",
            "allow:2001:db8::/129",
            "allow:2001:db8:::80",
            "allow:2001:db8::7/64:80",
            "allow:[10.0.0.1]:80",
            "allow:[a.test]:80",
            "allow:[2001:db8::7]:",
            "allow:::ffff:10.0.0.1",
            "allow:[::1",
            "allow:[::1]80",
            "allow:a:70000",
            "allow:a..b",
        ] {
            assert!(text.parse::<Policy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_allowed_by_itself_or_by_what_it_is_below() {
        let policy = policy("allow:a.test:80,*.a.test,10.0.0.0/8");
        let named = |name: &str| policy.named(name).collect::<Vec<_>>();
        assert_eq!(named("A.test."), [0]);
        assert_eq!(named("b.c.a.test"), [1]);
        assert!(named("xa.test").is_empty() && named(".a.test").is_empty());
        assert!(named("10.0.0.1").is_empty() && named("test").is_empty() && named("").is_empty());
        assert!(policy.covers([10, 9, 8, 7].into()) && !policy.covers([11, 0, 0, 1].into()));
        let covers = |text: &str, address: &str| {
            let policy: Policy = text.parse().expect(text);
            policy.covers(address.parse().expect(address))
        };
        assert!(covers("allow:2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!covers("allow:2001:db8::/33", "2001:db8:8000::1"));
        assert!(covers("allow:::/0", "fd00::1") && !covers("allow:::/0", "10.0.0.1"));
        assert!(covers("allow:0.0.0.0/0", "10.0.0.1") && !covers("allow:0.0.0.0/0", "::1"));
    }

    #[test]
    fn addresses_of_networks_of_ones_own_are_not_of_the_world() {
        for (text, want) in [
            ("203.0.113.9", true),
            ("8.8.8.8", true),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("100.64.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2001:db8::1", true),
            ("::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("::ffff:10.0.0.1", false),
            ("2002:7f00:1::", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::808:808", true),
        ] {
            assert_eq!(is_of_the_world(text.parse().expect(text)), want, "{text}");
        }
    }
}
