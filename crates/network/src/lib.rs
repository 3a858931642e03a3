//! Networks of containers: namespaces, bridges, addresses, the packet filter.
//!
//! Called by the engine, once before a container's sandbox is made and once after it is gone. Every
//! call blocks (milliseconds) and belongs on a blocking thread. Nothing here knows which wall a
//! container stands behind: both modes get a network namespace with a finished `eth0` in it, and a
//! VM's shim bridges that `eth0` to its guest.
//!
//! ```text
//!   host namespace                                container's namespace, <exec_root>/netns/ID
//!   hull0 (bridge, 172.30.0.1/16)                 lo
//!     `-- veth-ac1e0002 ------------------------- eth0 172.30.0.2/16, 02:42:ac:1e:00:02
//!          fd00:30::1/64 where it has IPv6               fd00:30::2/64
//!   nft table inet hull-hull0                       default via 172.30.0.1
//! ```
//!
//! The kernel is the only store: names and MAC addresses derive from the IP address, so whatever a
//! crash left behind is recognised and replaced. Which address belongs to whom is in the engine's
//! records; after a restart it [adopts](Bridge::adopt) them.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use network::{Bridge, Namespaces};
//!
//! let namespaces = Namespaces::at("/run/hull/netns")?;
//! let subnet: network::Subnet = "172.30.0.0/16".parse()?;
//! let bridge = Bridge::ensure(&"hull0".parse()?, network::Layout::from(subnet).into())?;
//!
//! let id = "web".parse()?;
//! let namespace = namespaces.create(&id)?; // `--network none` ends here
//! let wish = network::Wish { interface: "eth0", ..network::Wish::default() };
//! let endpoint = bridge.attach(&id, &namespace, &wish)?; // keep it in the container's record
//! namespace.set_gateway(&id, &endpoint)?;
//!
//! namespaces.delete(&id)?; // the devices go with it
//! bridge.detach(&id, None, &endpoint);
//! # Ok(()) }
//! ```

pub mod address;
pub mod bridge;
mod counters;
pub mod egress;
mod endpoint;
pub mod filter;
pub mod macvlan;
pub mod marks;
pub mod name;
pub mod netns;
pub mod ports;
pub mod rate;
pub mod sysctl;

pub use address::{Family, Layout, Subnet};
pub use bridge::{Bridge, Plan, in_use};
pub use counters::Counters;
pub use endpoint::{Endpoint, Six, Wish};
pub use name::{InterfaceName, InvalidName};
pub use netns::{Namespace, Namespaces};
pub use ports::{Ports, Protocol, Published};
pub use rate::{Rate, Rates};
pub use sys::netlink::Mac;
