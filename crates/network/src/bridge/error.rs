//! What can go wrong with a bridge.

use std::io;

use spec::{ContainerId, Kind};

use crate::address;
use crate::name::InterfaceName;
use crate::{filter, macvlan, rate, sysctl};

/// Why the bridge or a place on it could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bridge device.
    #[error("{doing} {name}")]
    Link {
        /// The step.
        doing: &'static str,
        /// The bridge.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A device of this name exists and is no bridge.
    #[error("{0} exists and is no bridge; name another with --bridge")]
    NotABridge(InterfaceName),
    /// A device of the host has an address in the subnet already.
    #[error("{subnet} is in use by {device} ({address}); choose another with --subnet")]
    Overlap {
        /// What was asked for.
        subnet: String,
        /// The other device.
        device: String,
        /// Its address and prefix.
        address: String,
    },
    /// Packets cannot be forwarded.
    #[error("write 1 to /proc/sys/net/ipv4/ip_forward")]
    Forwarding(#[source] io::Error),
    /// IPv6 cannot be used as it must be.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// The packet filter refused.
    #[error(transparent)]
    Filter(#[from] filter::Error),
    /// A container cannot be held to a rate.
    #[error(transparent)]
    Rate(#[from] rate::Error),
    /// A device cannot be the parent of macvlans.
    #[error(transparent)]
    Macvlan(#[from] macvlan::Error),
    /// No address.
    #[error("network {bridge}")]
    Address {
        /// The bridge.
        bridge: InterfaceName,
        /// Why not.
        source: address::Error,
    },
    /// A container's device.
    #[error("{doing} of container {id}")]
    Attach {
        /// The step and device.
        doing: &'static str,
        /// Whose.
        id: ContainerId,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotABridge(_) | Self::Overlap { .. } => Kind::Conflict,
            Self::Filter(source) | Self::Rate(rate::Error::Filter(source)) => source.kind(),
            Self::Sysctl(source) => source.kind(),
            Self::Macvlan(source) => source.kind(),
            Self::Address { source, .. } => source.kind(),
            Self::Rate(rate::Error::Shape { source, .. })
            | Self::Link { source, .. }
            | Self::Forwarding(source)
            | Self::Attach { source, .. } => match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => Kind::Denied,
                Some(libc::EOPNOTSUPP | libc::ENOENT) if matches!(self, Self::Rate(_)) => {
                    Kind::Unsupported
                }
                Some(libc::EOPNOTSUPP) => Kind::Unsupported,
                _ => Kind::Internal,
            },
        }
    }
}
