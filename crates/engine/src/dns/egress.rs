//! Names for a container that may not send everywhere: which it may ask for, and what their addresses
//! are good for.
//!
//! ```text
//!   a name that no rule has     ──▶ refused, counted; nobody else hears of it
//!   an answer to another        ──▶ addresses of the world: let through for as long as the answer holds
//!                               └─▶ others: taken out and counted, unless a rule has the address itself
//! ```
//!
//! Invariant: an address is let through before the container is told of it, or not told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record};
use network::egress::{LONGEST, is_of_the_world};

use crate::container::Container;
use crate::error::Error;
use crate::owner::blocking;
use crate::shared::Shared;

/// What a container asked for in vain, since its name server began.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Names that no rule has.
    pub(crate) names: AtomicU64,
    /// Addresses that were taken out of answers.
    pub(crate) addresses: AtomicU64,
}

/// Whether every way out of the container is by rules.
pub(crate) fn restricts(container: &Container) -> bool {
    let mut ways = container.endpoints.values().filter(|one| one.gateway.is_some()).peekable();
    ways.peek().is_some() && ways.all(|one| one.egress.is_some())
}

/// Whether the container may ask others for what `query` asks.
pub(super) fn allows(container: &Container, query: &Message, counts: &Counts) -> bool {
    if !restricts(container) {
        return true;
    }
    let named = |name: &str| {
        let mut policies = container.endpoints.values().filter_map(|one| one.egress.as_ref());
        policies.any(|policy| policy.named(name).next().is_some())
    };
    let allowed = query.queries.iter().all(|asked| named(&asked.name().to_ascii()));
    if !allowed {
        counts.names.fetch_add(1, Ordering::Relaxed);
    }
    allowed
}

/// What the container may be told of `answer`; its addresses are let through then.
///
/// # Errors
///
/// The packet filter's: then nothing is to be told.
pub(super) async fn bind(
    shared: &Arc<Shared>,
    container: &Container,
    query: &Message,
    mut answer: Message,
    counts: &Counts,
) -> Result<Message, Error> {
    let Some(asked) = query.queries.first() else { return Ok(answer) };
    let meant = chain(asked.name(), &answer.answers);
    let covered = |address: IpAddr| {
        let mut policies = container.endpoints.values().filter_map(|one| one.egress.as_ref());
        policies.any(|policy| policy.covers(address))
    };
    answer.additionals.clear();
    answer.answers.retain(|record| match address(record) {
        Some(_) if !meant.contains(&record.name) => false,
        Some(address) if !is_of_the_world(address) && !covered(address) => {
            counts.addresses.fetch_add(1, Ordering::Relaxed);
            false
        }
        _ => true,
    });
    for record in &mut answer.answers {
        record.ttl = record.ttl.min(LONGEST);
    }
    let addresses: Vec<_> = answer
        .answers
        .iter()
        .filter_map(|record| Some((address(record)?, record.ttl)))
        // What a rule has by its address needs no name, and gets no more ports by one.
        .filter(|(address, _)| !covered(*address))
        .collect();
    let name = asked.name().to_ascii();
    for (network, endpoint) in &container.endpoints {
        let Some(policy) = &endpoint.egress else { continue };
        let of_rule = |number| addresses.iter().map(move |(ip, ttl)| (number, *ip, *ttl));
        let admitted: Vec<_> = policy.named(&name).flat_map(of_rule).collect();
        if admitted.is_empty() {
            continue;
        }
        let (bridge, endpoint) = (shared.site(network)?.bridge, endpoint.clone());
        blocking(move || Ok(bridge.admit(&endpoint, &admitted)?)).await?;
    }
    Ok(answer)
}

/// The names that the answers say `asked` is, itself among them.
fn chain(asked: &Name, answers: &[Record]) -> BTreeSet<Name> {
    let mut names = BTreeSet::from([asked.clone()]);
    loop {
        let known = names.len();
        for record in answers {
            if let RData::CNAME(target) = &record.data
                && names.contains(&record.name)
            {
                names.insert(target.0.clone());
            }
        }
        if names.len() == known {
            return names;
        }
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    #[test]
    fn only_what_a_chain_of_names_leads_to_is_meant() {
        let name = |text: &str| Name::from_ascii(text).expect("a name");
        let leads =
            |from: &str, to: &str| Record::from_rdata(name(from), 1, RData::CNAME(CNAME(name(to))));
        let is = |of: &str| Record::from_rdata(name(of), 1, RData::A(A::new(203, 0, 113, 1)));
        let answers = [
            leads("b.test.", "c.test."),
            leads("a.test.", "B.test."),
            is("c.test."),
            is("x.test."),
        ];
        let meant = chain(&name("A.test."), &answers);
        assert!(meant.contains(&name("c.test.")) && !meant.contains(&name("x.test.")));
        assert_eq!(meant.len(), 3);
    }
}
