//! What a container may send, and has sent in vain.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Owner, blocking};
use crate::engine::Engine;
use crate::error::Error;
use crate::shared::Shared;

/// What holds a container's sending on one of its networks, while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// The network's name.
    pub network: String,
    /// What is allowed, in the words of the option.
    pub policy: String,
    /// What was dropped, in packets.
    pub dropped: network::egress::Dropped,
    /// Names that it asked for and that no rule has, on all its networks, since the engine's start.
    pub names: u64,
    /// Addresses that were taken out of answers, likewise.
    pub addresses: u64,
}

impl Engine {
    /// What holds a container's sending; empty while it does not run, and where nothing does.
    pub async fn egress(&self, container: &str) -> Result<Vec<Egress>, Error> {
        self.find(container)?.ask(|owner| Box::pin(owner.egress())).await
    }
}

impl Owner {
    async fn egress(&mut self) -> Result<Vec<Egress>, Error> {
        let counts = self.names.as_ref().map(crate::dns::Server::counts);
        let count = |of: fn(&crate::dns::Counts) -> u64| counts.map_or(0, of);
        let (names, addresses) = (
            count(|counts| counts.names.load(Ordering::Relaxed)),
            count(|counts| counts.addresses.load(Ordering::Relaxed)),
        );
        let (shared, endpoints) = (Arc::clone(&self.shared), self.container.endpoints.clone());
        blocking(move || {
            let held = endpoints.iter().filter_map(|(network, endpoint)| {
                endpoint.egress.as_ref().map(|policy| (network, endpoint, policy))
            });
            let each = held.map(|(network, endpoint, policy)| {
                let dropped = shared.site(network)?.bridge.dropped(endpoint)?;
                let (network, policy) = (network.clone(), policy.to_string());
                Ok(Egress { network, policy, dropped, names, addresses })
            });
            each.collect()
        })
        .await
    }
}

/// Takes away rules that a crash has left. Blocks.
pub(crate) fn collect(shared: &Shared) {
    let containers: Vec<_> =
        shared.all().into_iter().map(|handle| handle.now().container).collect();
    let networks = shared.networks.all().into_iter().map(|network| network.name);
    for name in networks.chain([crate::networks::DEFAULT.to_owned()]) {
        let Ok(site) = shared.site(&name) else { continue };
        let kept: Vec<_> =
            containers.iter().filter_map(|container| container.endpoints.get(&name)).collect();
        if let Err(error) = site.bridge.collect(&kept) {
            tracing::warn!(network = name, error = %spec::chain(&error), "old rules are left");
        }
    }
}
