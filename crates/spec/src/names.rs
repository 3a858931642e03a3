//! The name server that containers find in their own network namespace.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where it is, by datagrams and by connections: Docker's address, which configurations name.
pub const NAME_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);
