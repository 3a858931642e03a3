//! The names by which containers find each other.
//!
//! On a network of a user's everybody knows everybody, by names and aliases; links are names that one
//! container alone has for others. The [name server](crate::dns) is asked for them, and all of them are in
//! `/etc/hosts` too, for when the engine is away, but for those that several containers have: the server
//! alone gives all their addresses in turn. Whoever comes or goes is told to all whom that concerns, once
//! for all who do so at a time; they are listed in the order in which they came, so that a file mostly
//! grows by a line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network::Endpoint;
use spec::ContainerId;

use super::DEFAULT;
use crate::bundle;
use crate::config::{Share, split_link};
use crate::container::Container;
use crate::error::{Error, StateError};
use crate::owner::blocking;
use crate::shared::Shared;

/// Who is still to be told of others.
#[derive(Debug, Default)]
pub(super) struct Telling {
    untold: Mutex<Untold>,
    /// Held by who tells them.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Untold {
    containers: BTreeSet<ContainerId>,
    networks: BTreeSet<String>,
}

/// A line of `/etc/hosts`.
type Line = (IpAddr, String);

/// What all on a network are told of each other.
type Directories = BTreeMap<String, Vec<Line>>;

impl Telling {
    fn untold(&self) -> MutexGuard<'_, Untold> {
        // Sets of names: whole whatever happened to who added to them.
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Those that run.
    pub(crate) fn live(&self) -> Vec<Arc<Container>> {
        let all = self.all().into_iter().map(|handle| handle.now().container);
        all.filter(|one| one.status.is_live()).collect()
    }

    /// The lines of `/etc/hosts` by which a container that is about to run finds others, and itself.
    pub(crate) fn neighbours(&self, container: &Container, live: &[Arc<Container>]) -> Vec<Line> {
        let others = live.iter().map(Arc::as_ref).filter(|other| other.id != container.id);
        let all: Vec<&Container> = others.chain([container]).collect();
        let networks = container.endpoints.keys().filter(|name| *name != DEFAULT);
        let known = networks.map(|name| (name.clone(), directory(&all, name))).collect();
        self.lines(container, &all, &known)
    }

    /// What is known on its networks, and what it calls others itself.
    fn lines(&self, container: &Container, all: &[&Container], known: &Directories) -> Vec<Line> {
        let here = |network: &String| known.get(network).into_iter().flatten().cloned();
        let mut lines: Vec<_> = container.endpoints.keys().flat_map(here).collect();
        let linked =
            container.endpoints.keys().flat_map(|network| self.linked(container, network, all));
        lines.extend(linked.map(|(ip, name)| (ip, name.to_owned())));
        lines
    }

    /// The names by which a container finds others and itself, as far as they are `wanted`: on which network,
    /// where, and the name.
    pub(crate) fn names(
        &self,
        container: &Container,
        live: &[Arc<Container>],
        wanted: impl Fn(&str, IpAddr, &str) -> bool,
    ) -> Vec<(String, IpAddr, String)> {
        let others = live.iter().map(Arc::as_ref).filter(|other| other.id != container.id);
        let all: Vec<&Container> = others.chain([container]).collect();
        let mut found = Vec::new();
        for network in container.endpoints.keys() {
            let mut see = |ip: IpAddr, name: &str| {
                if wanted(network, ip, name) {
                    found.push((network.clone(), ip, name.to_owned()));
                }
            };
            let known = all.iter().filter(|_| network != DEFAULT);
            for (endpoint, names) in known.filter_map(|one| called(one, network)) {
                for (ip, _) in endpoint.addresses() {
                    for name in &names {
                        see(ip, name);
                    }
                }
            }
            for (ip, name) in self.linked(container, network, &all) {
                see(ip, name);
            }
        }
        found
    }

    /// Where those are that the container finds on the network by names of its own.
    fn linked<'a>(
        &self,
        container: &'a Container,
        network: &str,
        all: &[&Container],
    ) -> impl Iterator<Item = (IpAddr, &'a str)> + use<'a> {
        let mut found = Vec::new();
        for (name, alias) in links_on(container, network) {
            let Ok(other) = self.find(name) else { continue };
            // The table's newest state may be newer than the list's.
            let id = other.now().container.id.clone();
            let one = all.iter().find(|one| one.id == id);
            if let Some(endpoint) = one.and_then(|one| one.endpoints.get(network)) {
                found.extend(endpoint.addresses().map(|(ip, _)| (ip, alias)));
            }
        }
        found.into_iter()
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
        let networks = container.host.attachments.keys().filter(|name| *name != DEFAULT).cloned();
        {
            let mut untold = self.networks.telling.untold();
            untold.containers.insert(container.id.clone());
            untold.networks.extend(networks);
        }
        // One at a time: the last to write has seen what the others changed, and has told that, too.
        let _turn = self.networks.telling.turn.lock().await;
        let Untold { containers, networks } = std::mem::take(&mut *self.networks.telling.untold());
        if containers.is_empty() {
            return;
        }
        let live = self.live();
        let all: Vec<&Container> = live.iter().map(Arc::as_ref).collect();
        let concerns = |one: &Container| {
            let shares = one.host.attachments.keys().any(|name| networks.contains(name));
            shares || containers.contains(&one.id) || has_links(one)
        };
        let told = live.iter().filter(|one| one.host.openings.network == Share::Own);
        let told: Vec<_> = told.filter(|one| concerns(one)).collect();
        let concerned: BTreeSet<_> = told.iter().flat_map(|one| one.endpoints.keys()).collect();
        let known = concerned.into_iter().filter(|name| *name != DEFAULT);
        let known = known.map(|name| (name.clone(), directory(&all, name))).collect();
        let told: Vec<_> =
            told.iter().map(|one| (Arc::clone(one), self.lines(one, &all, &known))).collect();
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

/// Where a container is on a network, and how it is called there.
fn called<'a>(container: &'a Container, network: &str) -> Option<(&'a Endpoint, Vec<&'a str>)> {
    let attachment = container.host.attachments.get(network)?;
    let mut names = vec![container.name.as_str(), container.short_id()];
    let hostname = [container.config.hostname.as_str()].into_iter().filter(|name| !name.is_empty());
    for name in hostname.chain(attachment.aliases.iter().map(String::as_str)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some((container.endpoints.get(network)?, names))
}

/// A container's names on a network, each with its address there.
fn names_on(container: &Container, network: &str) -> Vec<(IpAddr, String)> {
    let Some((endpoint, names)) = called(container, network) else { return Vec::new() };
    let at = |(ip, _)| names.iter().map(move |name| (ip, (*name).to_owned())).collect::<Vec<_>>();
    endpoint.addresses().flat_map(at).collect()
}

/// The lines that tell who is on a network, who came first in front; without names that several have.
fn directory(all: &[&Container], network: &str) -> Vec<Line> {
    let mut here: Vec<_> = all.iter().filter(|one| one.endpoints.contains_key(network)).collect();
    here.sort_by_key(|one| (one.started, &one.id));
    let names: Vec<_> = here.iter().map(|one| names_on(one, network)).collect();
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for names in &names {
        let own: BTreeSet<_> = names.iter().map(|(_, name)| name.as_str()).collect();
        for name in own {
            *owners.entry(name).or_default() += 1;
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for (address, name) in names.iter().flatten().filter(|(_, name)| owners[name.as_str()] == 1) {
        match lines.last_mut() {
            Some((last, names)) if last == address => {
                names.push(' ');
                names.push_str(name);
            }
            _ => lines.push((*address, name.clone())),
        }
    }
    lines
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
