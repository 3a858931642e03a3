//! How fast a container may receive and send, held on the host's end of its device.
//!
//! ```text
//!   rate-in    what is for it waits its turn:      token bucket, tc-tbf(8), 50 ms of it at most wait
//!   rate-out   what comes of it and is too much:   dropped, and counted; what a second lets through may
//!                                                  come at once
//!                table netdev hull-rate-hull0-veth-ac1e0002, before all other rules
//! ```
//!
//! Both are of the host's namespace, where nothing in the container or its VM can reach them, and hold
//! whether the engine runs or not. What comes of it is not made to wait: a device that could do so
//! (`ifb`) would carry packets past the rules for what it may send.
//!
//! Spec: nft(8) "Limit statement"; tc-tbf(8).

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sys::netlink::{Netlink, Shape};

use crate::endpoint::Endpoint;
use crate::filter;
use crate::name::InterfaceName;

/// What the tables' names begin with.
const PREFIX: &str = "hull-rate-";
/// The largest packet that the kernel hands on whole, in bytes, with its head.
const LARGEST: u64 = (64 << 10) + (1 << 10);
/// Bits a second; a packet must get through some time.
const LEAST: u64 = 8_000;
const MOST: u64 = 100_000_000_000;
/// The units of rates, in bits a second.
const UNITS: [(&str, u64); 4] =
    [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

/// Bits a second, from 8 kbit to 100 gbit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u64);

/// How fast a container receives and sends; `None` for as fast as it can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// What is for it.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub into: Option<Rate>,
    /// What comes of it.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub out: Option<Rate>,
}

/// The text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid rate {0:?}: want bits a second, as 500kbit, 10mbit or 1gbit, from 8kbit to 100gbit"
)]
pub struct Invalid(pub String);

/// Why a rate does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel takes no token bucket.
    #[error("have {device} send at {rate}")]
    Shape {
        /// The host's end.
        device: String,
        /// What was wanted.
        rate: Rate,
        /// Why not.
        source: io::Error,
    },
    /// The packet filter takes no limit.
    #[error(transparent)]
    Filter(#[from] filter::Error),
}

impl Rate {
    /// In bytes a second.
    pub fn bytes(self) -> u64 {
        self.0 / 8
    }

    /// The bytes of a twentieth of a second, `least` at least: what may go at once, or wait.
    fn burst(self, least: u64) -> u64 {
        least.max(self.bytes() / 20)
    }
}

impl Rates {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// These, and where they say nothing the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self { into: self.into.or(others.into), out: self.out.or(others.out) }
    }
}

/// Has the rates of the place hold from now on, in place of others.
pub(crate) fn apply(
    netlink: &mut Netlink,
    bridge: &InterfaceName,
    endpoint: &Endpoint,
) -> Result<(), Error> {
    let Endpoint { veth, rates, .. } = endpoint;
    let shaped = netlink.index(veth).and_then(|index| match rates.into {
        Some(rate) => {
            let bytes = |least| u32::try_from(rate.burst(least)).expect("of 100 gbit it is less");
            let (burst, waiting) = (bytes(LARGEST), bytes(LARGEST / 2));
            netlink.shape(index, Shape { rate: rate.bytes(), burst, waiting })
        }
        None => match netlink.unshape(index) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {
                Err(error)
            }
            _ => Ok(()),
        },
    });
    let rate = rates.into.unwrap_or(Rate(0));
    shaped.map_err(|source| Error::Shape { device: veth.clone(), rate, source })?;
    match rates.out {
        Some(rate) => {
            let table = table(bridge, veth);
            Ok(filter::nft(&table, &[], &ruleset(&table, veth, rate))?)
        }
        None => Ok(remove(bridge, veth)?),
    }
}

/// Takes the rules away. Those that are not there are no error.
pub(crate) fn remove(bridge: &InterfaceName, veth: &str) -> Result<(), filter::Error> {
    let table = table(bridge, veth);
    filter::nft(&table, &[], &format!("add table netdev {table}\ndelete table netdev {table}\n"))
}

/// The devices of `bridge` that have rules.
pub(crate) fn held(bridge: &InterfaceName) -> Result<Vec<String>, filter::Error> {
    filter::devices_with(&table(bridge, ""))
}

fn table(bridge: &InterfaceName, veth: &str) -> String {
    format!("{PREFIX}{bridge}-{veth}")
}

fn ruleset(table: &str, veth: &str, rate: Rate) -> String {
    let bytes = rate.bytes();
    // Beyond what goes in a second, which nft lets through at once in any case.
    let burst = match (2 * LARGEST).saturating_sub(bytes) {
        0 => String::new(),
        more => format!("burst {more} bytes"),
    };
    format!(
        "add table netdev {table}
        delete table netdev {table}
        table netdev {table} {{
            chain ingress {{
                type filter hook ingress device {veth} priority -500; policy accept;
                limit rate over {bytes} bytes/second {burst} counter drop
            }}
        }}\n"
    )
}

impl FromStr for Rate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let split = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
        let bits = split.and_then(|(number, size)| {
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(*size)
        });
        let bits = bits.filter(|bits| (LEAST..=MOST).contains(bits));
        bits.map(Self).ok_or_else(|| Invalid(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size));
        let (unit, size) = whole.expect("a bit divides everything");
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl TryFrom<String> for Rate {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_of_bits_with_a_unit() {
        for (text, want) in [
            ("8kbit", Some("8kbit")),
            ("8000bit", Some("8kbit")),
            ("1500kbit", Some("1500kbit")),
            ("1000mbit", Some("1gbit")),
            ("100gbit", Some("100gbit")),
            ("101gbit", None),
            ("7kbit", None),
            ("0mbit", None),
            ("mbit", None),
            ("+9mbit", None),
            ("1.5mbit", None),
            ("10", None),
            ("10mb", None),
            ("99999999999999999999gbit", None),
            ("20000000000gbit", None),
        ] {
            let rate = text.parse::<Rate>().ok().map(|rate| rate.to_string());
            assert_eq!(rate.as_deref(), want, "{text}");
        }
        assert_eq!("10mbit".parse::<Rate>().map(Rate::bytes), Ok(1_250_000));
    }

    #[test]
    fn a_burst_is_never_less_than_a_large_packet() {
        for (text, want) in [("8kbit", LARGEST), ("1gbit", 6_250_000), ("100gbit", 625_000_000)] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.burst(LARGEST)), Ok(want), "{text}");
        }
    }
}
