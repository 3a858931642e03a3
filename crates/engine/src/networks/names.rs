//! The names by which containers find each other.
//!
//! On a network of a user's everybody knows everybody, by names and aliases; links are names that one
//! container alone has for others. The [name server](crate::dns) is asked for them, and all of them are in
//! `/etc/hosts` too, for when the engine is away: whoever comes or goes has it written anew for all whom
//! that concerns.

use std::net::IpAddr;
use std::sync::Arc;

use network::Endpoint;

use super::DEFAULT;
use crate::bundle;
use crate::config::{Share, split_link};
use crate::container::Container;
use crate::error::{Error, StateError};
use crate::owner::blocking;
use crate::shared::Shared;

impl Shared {
    /// Those that run.
    pub(crate) fn live(&self) -> Vec<Arc<Container>> {
        let all = self.all().into_iter().map(|handle| handle.now().container);
        all.filter(|one| one.status.is_live()).collect()
    }

    /// The lines of `/etc/hosts` by which a container finds others, and itself.
    pub(crate) fn neighbours(
        &self,
        container: &Container,
        live: &[Arc<Container>],
    ) -> Vec<(IpAddr, String)> {
        let mut lines: Vec<(String, IpAddr, String)> = Vec::new();
        for (network, address, name) in self.names(container, live) {
            match lines.last_mut() {
                Some((last, at, names)) if *last == network && *at == address => {
                    names.push(' ');
                    names.push_str(&name);
                }
                _ => lines.push((network, address, name)),
            }
        }
        lines.into_iter().map(|(_, address, names)| (address, names)).collect()
    }

    /// All names by which a container finds others and itself: on which network, where, and the name.
    pub(crate) fn names(
        &self,
        container: &Container,
        live: &[Arc<Container>],
    ) -> Vec<(String, IpAddr, String)> {
        let others = live.iter().map(Arc::as_ref).filter(|other| other.id != container.id);
        let all: Vec<&Container> = others.chain([container]).collect();
        let mut found = Vec::new();
        for network in container.endpoints.keys() {
            if network != DEFAULT {
                let known = all.iter().flat_map(|one| names_on(one, network));
                found.extend(known.map(|(address, name)| (network.clone(), address, name)));
            }
            for (name, alias) in links_on(container, network) {
                let Ok(other) = self.find(name) else { continue };
                // The table's newest state may be newer than the list's.
                let id = other.now().container.id.clone();
                let one = all.iter().find(|one| one.id == id);
                if let Some(endpoint) = one.and_then(|one| one.endpoints.get(network)) {
                    let addresses = endpoint.addresses();
                    found.extend(addresses.map(|(ip, _)| (network.clone(), ip, alias.to_owned())));
                }
            }
        }
        found
    }

    /// The containers that `container` was linked to on the default network, each with the name that it
    /// finds it by; without those that are gone.
    pub(crate) fn links(&self, container: &Container) -> Vec<(Arc<Container>, String)> {
        let links = container.host.links.iter().filter_map(|link| split_link(link).ok());
        let found = links.filter_map(|(name, alias)| {
            Some((self.find(name).ok()?.now().container, alias.to_owned()))
        });
        found.collect()
    }

    /// Refuses to start a container whose links lead to what does not run.
    pub(crate) fn check_links(&self, container: &Container) -> Result<(), Error> {
        for (network, attachment) in &container.host.attachments {
            for (name, alias) in links_on(container, network) {
                let other = self.find(name)?.now().container;
                if !other.status.is_live() {
                    let (other, own) = (other.name.clone(), container.name.clone());
                    let alias = alias.to_owned();
                    return Err(StateError::LinkStopped { other, own, alias }.into());
                }
            }
            attachment.check()?;
        }
        Ok(())
    }

    /// Tells those that run who is on their networks, now that the container has started or ended.
    pub(crate) async fn introduce(&self, container: &Container) {
        let named = container.host.attachments.keys().any(|name| name != DEFAULT);
        if named || self.live().iter().any(|one| has_links(one)) {
            self.tell_names(container).await;
        }
    }

    /// Has the names told that the container and those who find it know.
    pub(crate) async fn tell_names(&self, container: &Container) {
        // One at a time: the last to write has seen what the others changed.
        let _turn = self.networks.turn.lock().await;
        let live = self.live();
        let shares = |one: &Container| {
            let mut networks = one.host.attachments.keys();
            networks.any(|name| name != DEFAULT && container.host.attachments.contains_key(name))
        };
        let told =
            live.iter().filter(|one| one.id == container.id || shares(one) || has_links(one));
        let told = told.filter(|one| one.host.openings.network == Share::Own);
        let told: Vec<_> = told.map(|one| (Arc::clone(one), self.neighbours(one, &live))).collect();
        let gateways = self.bridge.gateways();
        let write = move || {
            told.iter().try_for_each(|(one, names)| bundle::introduce(one, &gateways, names))
        };
        if let Err(error) = blocking(write).await {
            tracing::warn!(container = %container.id, error = %spec::chain(&error), "names not told");
        }
    }

    /// The variables by which a container on the default network is told of those that it is linked to,
    /// as Docker's.
    pub(crate) fn link_variables(&self, container: &Container) -> Vec<String> {
        let mut all = Vec::new();
        for (name, alias) in links_on(container, DEFAULT) {
            let Ok(other) = self.find(name) else { continue };
            let other = other.now().container;
            if let Some(endpoint) = other.endpoints.get(DEFAULT) {
                all.extend(variables(container, alias, &other, endpoint));
            }
        }
        all
    }
}

/// The variables that tell of one link.
fn variables(own: &Container, alias: &str, other: &Container, at: &Endpoint) -> Vec<String> {
    let prefix = alias.replace('-', "_").to_ascii_uppercase();
    let mut all = vec![format!("{prefix}_NAME=/{}/{alias}", own.name)];
    let ports = other.config.exposed_ports.iter().filter_map(|port| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        Some((number.parse::<u16>().ok()?, protocol))
    });
    let mut ports: Vec<_> = ports.collect();
    ports.sort_unstable();
    let address = at.address;
    if let Some((number, protocol)) = ports.first() {
        all.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
    }
    for (number, protocol) in ports {
        let name = format!("{prefix}_PORT_{number}_{}", protocol.to_ascii_uppercase());
        all.push(format!("{name}={protocol}://{address}:{number}"));
        all.push(format!("{name}_ADDR={address}"));
        all.push(format!("{name}_PORT={number}"));
        all.push(format!("{name}_PROTO={protocol}"));
    }
    let usual = |entry: &&String| !entry.starts_with("HOME=") && !entry.starts_with("PATH=");
    let env = other.config.env.iter().filter(usual);
    all.extend(env.map(|entry| format!("{prefix}_ENV_{entry}")));
    all
}

/// The containers that `container` finds on `network` by names of its own, with those names.
fn links_on<'a>(
    container: &'a Container,
    network: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let attachment = container.host.attachments.get(network);
    let links = attachment.map_or(&[][..], |attachment| &attachment.links);
    links.iter().filter_map(|link| split_link(link).ok())
}

/// Whether it finds others by names of its own.
fn has_links(container: &Container) -> bool {
    let mut networks = container.host.attachments.keys();
    networks.any(|network| links_on(container, network).next().is_some())
}

/// A container's names on a network, each with its address there.
fn names_on(container: &Container, network: &str) -> Vec<(IpAddr, String)> {
    let here = container.endpoints.get(network).zip(container.host.attachments.get(network));
    let Some((endpoint, attachment)) = here else { return Vec::new() };
    let own = [container.name.as_str(), container.short_id()].into_iter();
    let names: Vec<_> = own.chain(attachment.aliases.iter().map(String::as_str)).collect();
    let at = |(ip, _)| names.iter().map(move |name| (ip, (*name).to_owned())).collect::<Vec<_>>();
    endpoint.addresses().flat_map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_link_is_told_by_variables() {
        let own = sample::container("a1", "web", 1);
        let mut other = sample::container("b2", "db", 2);
        other.config.exposed_ports = vec!["5432/tcp".into(), "53/udp".into()];
        other.config.env = vec!["PATH=/bin".into(), "USER=sql".into()];
        let endpoint = serde_json::from_value(serde_json::json!({
            "address": "172.30.0.2", "prefix": 16, "gateway": "172.30.0.1", "interface": "eth0",
            "mac": "02:42:ac:1e:00:02", "veth": "veth0",
        }));
        let told = variables(&own, "my-db", &other, &endpoint.expect("an endpoint"));
        let want = [
            "MY_DB_NAME=/web/my-db",
            "MY_DB_PORT=udp://172.30.0.2:53",
            "MY_DB_PORT_53_UDP=udp://172.30.0.2:53",
            "MY_DB_PORT_53_UDP_ADDR=172.30.0.2",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_PORT_5432_TCP=tcp://172.30.0.2:5432",
            "MY_DB_PORT_5432_TCP_ADDR=172.30.0.2",
            "MY_DB_PORT_5432_TCP_PORT=5432",
            "MY_DB_PORT_5432_TCP_PROTO=tcp",
            "MY_DB_ENV_USER=sql",
        ];
        assert_eq!(told, want);
    }
}
