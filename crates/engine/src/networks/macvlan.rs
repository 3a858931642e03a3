//! What networks of macvlans do not have, and nobody else beside them.
//!
//! The host has no address and no route of their subnets, so that the kernel does not tell who uses them: the
//! records do.

use std::net::{IpAddr, Ipv6Addr};

use network::Layout;

use super::{NetworkCreate, Networks, Site};
use crate::config::Attachment;
use crate::error::{Error, NetworkError};

impl NetworkCreate {
    /// Refuses what only a bridge's host end could hold, and what contradicts itself.
    pub(super) fn check_macvlan(&self) -> Result<(), Error> {
        if self.macvlan.is_none() {
            return Ok(());
        }
        if self.internal && self.bridge.is_some() {
            let problem = "a network with a parent leads to where that is: leave out the parent, or \
                           --internal";
            return Err(Error::Invalid { field: "Internal", problem: problem.to_owned() });
        }
        match ["egress", "rate-in", "rate-out"].iter().find(|key| self.options.contains_key(**key))
        {
            Some(what) => Err(no_rules(what, &self.name)),
            None => Ok(()),
        }
    }
}

impl Networks {
    /// Refuses a parent that another network has, and addresses that macvlans have elsewhere or those of
    /// another network.
    pub(super) fn keep_apart(
        &self,
        request: &NetworkCreate,
        four: Option<&Layout>,
        six: Option<&Layout<Ipv6Addr>>,
    ) -> Result<(), Error> {
        let all = self.all();
        let mut others =
            all.iter().filter(|other| request.macvlan.is_some() || other.plan.macvlan.is_some());
        let refused = others.find_map(|other| {
            let network = other.name.clone();
            let shares = other.plan.macvlan.is_some() && request.macvlan.is_some();
            if shares && request.bridge.as_ref() == Some(&other.bridge) {
                let parent = other.bridge.clone();
                return Some(NetworkError::ParentInUse { network, parent });
            }
            let plan = &other.plan;
            let four =
                four.filter(|four| overlap(four, &plan.layout)).map(|one| one.subnet.to_string());
            let six = six.zip(plan.layout6.as_ref()).filter(|(six, other)| overlap(six, other));
            let six = six.map(|(six, _)| six.subnet.to_string());
            four.or(six).map(|subnet| NetworkError::PoolOverlaps { subnet, network })
        });
        refused.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The subnets that the kernel knows nothing of.
    pub(super) fn unseen(&self) -> Vec<(IpAddr, u8)> {
        let all = self.all();
        let plans = all.iter().map(|network| &network.plan).filter(|plan| plan.macvlan.is_some());
        plans.flat_map(network::Plan::subnets).collect()
    }
}

impl Site {
    /// Refuses what a place on a network of macvlans cannot have.
    pub(super) fn allows_macvlan(&self, attachment: &Attachment) -> Result<(), Error> {
        let Some(mode) = self.bridge.plan().macvlan else { return Ok(()) };
        if attachment.egress.is_some() {
            return Err(no_rules("egress", &self.name));
        }
        if !attachment.rates.is_none() {
            return Err(no_rules("rate-in or rate-out", &self.name));
        }
        if mode == network::macvlan::Mode::Passthru && !attachment.mac.is_empty() {
            let problem = format!(
                "{}: on network {}, mode passthru, a container has the parent's own",
                attachment.mac, self.name
            );
            return Err(Error::Invalid { field: "EndpointSettings.MacAddress", problem });
        }
        Ok(())
    }
}

fn overlap<A: network::Family>(one: &Layout<A>, other: &Layout<A>) -> bool {
    one.subnet.overlaps(other.subnet.network().into(), other.subnet.prefix())
}

fn no_rules(what: &str, network: &str) -> Error {
    let (what, network) = (what.to_owned(), network.to_owned());
    NetworkError::NoRules { what, network }.into()
}
