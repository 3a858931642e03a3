//! The bridges of networks: made where nobody else's addresses are, put away when the engine ends.

use std::net::{IpAddr, Ipv6Addr};

use network::{Bridge, Layout, Plan};

use super::addresses::{self, AddressPool, usual};
use crate::error::Error;
use crate::shared::Shared;

/// Blocks.
pub(super) fn make_bridge(name: &str, plan: Plan) -> Result<Bridge, Error> {
    let field = if plan.macvlan.is_some() { "parent" } else { "com.docker.network.bridge.name" };
    let name = name.parse().map_err(|error: network::name::InvalidName| Error::Invalid {
        field,
        problem: error.to_string(),
    })?;
    Ok(Bridge::ensure(&name, plan)?)
}

/// A bridge with the first of these subnets that nobody on the host has. Blocks.
pub(super) fn anywhere(
    name: &str,
    fours: &[Layout],
    sixes: &[Option<Layout<Ipv6Addr>>],
    plan: impl Fn(Layout, Option<Layout<Ipv6Addr>>) -> Plan,
) -> Result<(Bridge, Plan), Error> {
    let mut last = Error::NoSubnet;
    for four in fours {
        for six in sixes {
            let plan = plan(four.clone(), six.clone());
            match make_bridge(name, plan.clone()) {
                Err(error @ Error::Bridge(network::bridge::Error::Overlap { .. })) => last = error,
                made => return made.map(|bridge| (bridge, plan)),
            }
        }
    }
    Err(last)
}

impl Shared {
    /// Takes away the bridges that no container is on, with their rules: what an engine that ends leaves
    /// to the next is what runs. Blocks.
    pub(crate) fn put_bridges_away(&self) {
        let of_users: Vec<_> =
            self.networks.table().values().filter_map(|entry| entry.bridge.clone()).collect();
        for bridge in of_users.iter().chain([&self.bridge]) {
            if let Err(error) = bridge.remove() {
                tracing::warn!(bridge = %bridge.name(), error = %spec::chain(&error), "bridge is left");
            }
        }
    }

    /// Subnets that nobody uses. Blocks.
    pub(super) fn free_four(&self) -> Result<Vec<Layout>, Error> {
        let pools = self.address_pools();
        let free = addresses::free(addresses::fours(&pools), &self.used()?);
        if free.is_empty() {
            Err(Error::NoSubnet)
        } else {
            Ok(free.into_iter().map(Layout::from).collect())
        }
    }

    /// Subnets of IPv6 that nobody uses. Blocks.
    pub(super) fn free_six(&self) -> Result<Vec<Option<Layout<Ipv6Addr>>>, Error> {
        let pools = self.address_pools();
        let free = addresses::free(addresses::sixes(&pools), &self.used()?);
        let free: Vec<_> = free.into_iter().map(|subnet| Some(Layout::from(subnet))).collect();
        if free.is_empty() { Err(Error::NoSubnet6) } else { Ok(free) }
    }

    fn used(&self) -> Result<Vec<(IpAddr, u8)>, Error> {
        let mut used = addresses::used()?;
        used.extend(self.networks.unseen());
        Ok(used)
    }

    /// The administrator's pools, and the usual ones of a family that those leave out.
    fn address_pools(&self) -> Vec<AddressPool> {
        let mut pools = self.settings.address_pools.clone();
        let is_six = |pool: &AddressPool| matches!(pool, AddressPool::Six(..));
        let has = [false, true].map(|six| pools.iter().any(|pool| is_six(pool) == six));
        let usual = usual(self.store.engine_id());
        pools.extend(usual.into_iter().filter(|pool| !has[usize::from(is_six(pool))]));
        pools
    }
}
