//! Why a network or a place on it cannot be had.

use spec::Kind;

/// Why a container is not on a network, or not off it. The texts are those that Docker's clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is on it already.
    #[error("endpoint with name {container} already exists in network {network}")]
    Connected {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// It is not on it.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's name.
        container: String,
        /// The network's name.
        network: String,
    },
    /// It has the host's network.
    #[error("container cannot be disconnected from host network or connected to host network")]
    OfHost,
    /// It has another container's network.
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    OfContainer,
    /// It was made to have none.
    #[error(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    )]
    Private,
    /// On the default network containers have no names.
    #[error("network-scoped aliases are only supported for user-defined networks")]
    AliasesOnDefault,
    /// On the default network addresses are not chosen.
    #[error("user specified IP address is supported on user defined networks only")]
    AddressOnDefault,
    /// The network's own addresses were not chosen.
    #[error(
        "user specified IP address is supported only when connecting to networks with user configured subnets"
    )]
    AddressOfPool,
    /// There is no network of its own that leads elsewhere.
    #[error(
        "container {0} has no network of its own that leads elsewhere: it has no ports to publish"
    )]
    NoPorts(String),
    /// What should be given up is not there.
    #[error("container {name} has not published port {port}")]
    NotPublished {
        /// What was asked for.
        port: String,
        /// The container's name.
        name: String,
    },
    /// The network has no addresses of that family.
    #[error("{address}: network {network} has no IPv6; make it with --ipv6 and a subnet of it")]
    NoIpv6 {
        /// What was asked for.
        address: std::net::Ipv6Addr,
        /// Where.
        network: String,
    },
    /// The parent has its network.
    #[error("network {network} is already using parent interface {parent}")]
    ParentInUse {
        /// The network's name.
        network: String,
        /// The device.
        parent: String,
    },
    /// Its addresses are another's.
    #[error("Pool overlaps with other one on this address space: {subnet} with network {network}")]
    PoolOverlaps {
        /// What was asked for.
        subnet: String,
        /// The network's name.
        network: String,
    },
    /// Two of a container's devices cannot have one name.
    #[error("device name {name} is taken: the container's device on network {network} has it")]
    DeviceTaken {
        /// The name.
        name: String,
        /// Whose it is.
        network: String,
    },
    /// They are set where a container's control group is made.
    #[error(
        "classid and priority are for create and run: they are the container's on all its networks"
    )]
    LateMarks,
    /// What its containers send does not pass the host.
    #[error(
        "{what} is for bridges: network {network} is of driver macvlan, whose containers' packets do not \
         pass the host's packet filter"
    )]
    NoRules {
        /// What was asked for.
        what: String,
        /// The network's name.
        network: String,
    },
}

impl NetworkError {
    /// What a caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connected { .. } | Self::NotConnected { .. } | Self::PoolOverlaps { .. } => {
                Kind::Denied
            }
            Self::OfHost
            | Self::OfContainer
            | Self::Private
            | Self::NoPorts(_)
            | Self::DeviceTaken { .. }
            | Self::ParentInUse { .. } => Kind::Conflict,
            Self::NoRules { .. } | Self::LateMarks => Kind::Unsupported,
            Self::NotPublished { .. } => Kind::NotFound,
            Self::AliasesOnDefault
            | Self::AddressOnDefault
            | Self::AddressOfPool
            | Self::NoIpv6 { .. } => Kind::Invalid,
        }
    }
}
