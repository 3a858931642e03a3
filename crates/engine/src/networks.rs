//! Networks that users make: a bridge each, with addresses of its own and a way out.
//!
//! ```text
//!   create  ->  name free, subnet free  ->  bridge  ->  record  ->  told
//!   remove  ->  nobody on it            ->  record  ->  bridge  ->  told
//! ```
//!
//! Until there is a name server, containers on such a network find each other by `/etc/hosts`: whoever
//! comes or goes has it written anew for all that run there. What a virtual machine was given at its
//! start does not change, so it knows only those that were there before.
//!
//! Invariant: a network in the table is in the database, and its bridge is there unless the host
//! refused it at the engine's start.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use network::{Bridge, Subnet};
use serde::{Deserialize, Serialize};

use crate::bundle;
use crate::config::NetworkMode;
use crate::container::Container;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::EventKind;
use crate::names;
use crate::owner::blocking;
use crate::shared::Shared;

/// A network that a user made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// Its addresses.
    pub subnet: Subnet,
    /// Whether the user named the subnet.
    pub asked: bool,
    /// The bridge's device.
    pub bridge: String,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options, as given.
    pub options: BTreeMap<String, String>,
}

/// A network to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkCreate {
    /// Its name.
    pub name: String,
    /// Its addresses, `ADDRESS/PREFIX`; `None` for any that are free.
    pub subnet: Option<String>,
    /// Must be the first address, which the bridge has.
    pub gateway: Option<String>,
    /// The bridge's device; `None` for `br-` and the beginning of the id.
    pub bridge: Option<String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// The networks by id.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    table: Mutex<BTreeMap<String, Entry>>,
    /// Held by who tells containers of each other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Entry {
    network: Network,
    bridge: Option<Arc<Bridge>>,
}

impl Networks {
    /// Makes the bridges of the records again. Blocks.
    pub(crate) fn take_up(records: Vec<Network>) -> Self {
        let entry = |network: Network| {
            let bridge = make_bridge(&network.bridge, network.subnet);
            if let Err(error) = &bridge {
                tracing::error!(network = network.name, error = %spec::chain(error), "no bridge");
            }
            (network.id.clone(), Entry { network, bridge: bridge.ok().map(Arc::new) })
        };
        let table = Mutex::new(records.into_iter().map(entry).collect());
        Self { table, turn: tokio::sync::Mutex::default() }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Network> {
        self.table().values().map(|entry| entry.network.clone()).collect()
    }

    /// The one that `name` means: a name, an id or the beginning of just one.
    pub(crate) fn find(&self, name: &str) -> Result<Network, Error> {
        self.entry(name).map(|entry| entry.network)
    }

    /// The bridge of the network that `name` means.
    pub(crate) fn bridge(&self, name: &str) -> Result<Arc<Bridge>, Error> {
        let entry = self.entry(name)?;
        entry.bridge.ok_or(Error::NoBridge(entry.network.name))
    }

    fn entry(&self, name: &str) -> Result<Entry, Error> {
        let table = self.table();
        if let Some(entry) = table.values().find(|entry| entry.network.name == name) {
            return Ok(entry.clone());
        }
        let mut matching =
            table.range(name.to_owned()..).take_while(|(id, _)| id.starts_with(name));
        match (matching.next(), matching.next()) {
            (Some((_, entry)), None) if !name.is_empty() => Ok(entry.clone()),
            _ => Err(Error::NoSuchNetwork(name.to_owned())),
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change is one insertion or removal, so a poisoned table is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Name and id of the network that a container is on, or will be when it runs. The id is empty
    /// while there is no such network.
    pub fn network_of(&self, container: &Container) -> (String, String) {
        match &container.host.network {
            NetworkMode::Bridge => ("bridge".to_owned(), self.network_id()),
            NetworkMode::None => ("none".to_owned(), format!("{:0<64}", "6e6f6e65")),
            NetworkMode::Named(name) => match self.shared.networks.find(name) {
                Ok(network) => (network.name, network.id),
                Err(_) => (name.clone(), String::new()),
            },
        }
    }

    /// The networks that users made.
    pub fn networks(&self) -> Vec<Network> {
        self.shared.networks.all()
    }

    /// The network of a user's that `name`, or the beginning of an id, means.
    pub fn network(&self, name: &str) -> Result<Network, Error> {
        self.shared.networks.find(name)
    }

    /// Makes a network; gives its id.
    pub async fn create_network(&self, request: NetworkCreate) -> Result<String, Error> {
        self.shared.create_network(request).await
    }

    /// Takes a network away unless a container that runs is on it.
    pub async fn remove_network(&self, name: &str) -> Result<Network, Error> {
        self.shared.remove_network(name).await
    }
}

impl Shared {
    /// The bridge that a container of this mode is attached to.
    pub(crate) fn bridge_of(&self, mode: &NetworkMode) -> Result<Option<Arc<Bridge>>, Error> {
        match mode {
            NetworkMode::Bridge => Ok(Some(Arc::clone(&self.bridge))),
            NetworkMode::None => Ok(None),
            NetworkMode::Named(name) => self.networks.bridge(name).map(Some),
        }
    }

    /// Those that run on a network of a user's.
    fn on(&self, id: &str) -> Vec<Arc<Container>> {
        let here = |container: &Container| match &container.host.network {
            NetworkMode::Named(name) => self.networks.find(name).is_ok_and(|found| found.id == id),
            _ => false,
        };
        let all = self.all().into_iter().map(|handle| handle.now().container);
        all.filter(|one| one.status.is_live() && here(one)).collect()
    }

    /// The names and addresses on the container's network, itself among them.
    pub(crate) fn neighbours(&self, container: &Container) -> Vec<(Ipv4Addr, String)> {
        let NetworkMode::Named(network) = &container.host.network else { return Vec::new() };
        let Ok(network) = self.networks.find(network) else { return Vec::new() };
        let others = self.on(&network.id);
        let others = others.iter().map(Arc::as_ref).filter(|other| other.id != container.id);
        others.chain([container]).filter_map(entry).collect()
    }

    /// Tells those that run on the container's network who is there now.
    pub(crate) async fn introduce(&self, container: &Container) {
        let NetworkMode::Named(network) = &container.host.network else { return };
        let Ok(network) = self.networks.find(network) else { return };
        // One at a time: the last to write has seen what the others changed.
        let _turn = self.networks.turn.lock().await;
        let present = self.on(&network.id);
        let entries: Vec<_> = present.iter().filter_map(|one| entry(one)).collect();
        let written =
            blocking(move || present.iter().try_for_each(|one| bundle::introduce(one, &entries)));
        if let Err(error) = written.await {
            tracing::warn!(network = network.name, error = %spec::chain(&error), "names not told");
        }
    }

    /// Makes a network; gives its id.
    pub(crate) async fn create_network(
        self: &Arc<Self>,
        request: NetworkCreate,
    ) -> Result<String, Error> {
        let invalid = |field, problem: String| Error::Invalid { field, problem };
        if matches!(request.name.as_str(), "bridge" | "host" | "none" | "default") {
            return Err(Error::PredefinedNetwork(request.name));
        }
        names::checked(&request.name)
            .map_err(|_| invalid("network name", format!("{:?}", request.name)))?;
        if self.networks.all().iter().any(|one| one.name == request.name) {
            return Err(Error::NetworkExists(request.name));
        }
        let id = names::fresh_id();
        let bridge = request.bridge.clone().unwrap_or_else(|| format!("br-{}", &id[..12]));
        let subnet: Option<Subnet> = match &request.subnet {
            Some(text) => {
                let parsed = text.parse();
                Some(parsed.map_err(|error: network::address::Error| {
                    invalid("IPAM.Config.Subnet", error.to_string())
                })?)
            }
            None => None,
        };
        if let (Some(gateway), Some(subnet)) = (&request.gateway, subnet)
            && *gateway != subnet.gateway().to_string()
        {
            let problem = format!("{gateway}: want {}, the first address", subnet.gateway());
            return Err(invalid("IPAM.Config.Gateway", problem));
        }
        let name = bridge.clone();
        let made = blocking(move || match subnet {
            Some(subnet) => make_bridge(&name, subnet),
            None => anywhere(&name),
        });
        let made = made.await?;
        let network = Network {
            id: id.clone(),
            name: request.name,
            created: SystemTime::now(),
            subnet: made.subnet(),
            asked: subnet.is_some(),
            bridge,
            labels: request.labels,
            options: request.options,
        };
        self.store.put_network(&network).done().await?;
        self.tell_made(&network, "create");
        self.networks.table().insert(id.clone(), Entry { network, bridge: Some(Arc::new(made)) });
        Ok(id)
    }

    /// Takes a network away unless a container that runs is on it.
    pub(crate) async fn remove_network(&self, name: &str) -> Result<Network, Error> {
        let Entry { network, bridge } = self.networks.entry(name)?;
        if let Some(bridge) = bridge {
            let removed = blocking(move || Ok(bridge.remove()?)).await?;
            if !removed {
                return Err(Error::NetworkInUse { name: network.name, id: network.id });
            }
        }
        self.store.delete_network(&network.id).done().await?;
        self.networks.table().remove(&network.id);
        self.tell_made(&network, "destroy");
        Ok(network)
    }

    fn tell_made(&self, network: &Network, action: &str) {
        let attributes =
            [("name".to_owned(), network.name.clone()), ("type".to_owned(), "bridge".to_owned())];
        self.broker.publish(EventKind::Network, action, network.id.as_str(), attributes.into());
    }
}

/// A container's address and the names by which its neighbours find it.
fn entry(container: &Container) -> Option<(Ipv4Addr, String)> {
    let endpoint = container.endpoint.as_ref()?;
    let names = [container.name.as_str()].into_iter();
    let names = names.chain(container.host.aliases.iter().map(String::as_str));
    let names: Vec<_> = names.chain([container.short_id()]).collect();
    Some((endpoint.address, names.join(" ")))
}

/// Blocks.
fn make_bridge(name: &str, subnet: Subnet) -> Result<Bridge, Error> {
    let name = name.parse().map_err(|error: network::bridge::InvalidName| Error::Invalid {
        field: "com.docker.network.bridge.name",
        problem: error.to_string(),
    })?;
    Ok(Bridge::ensure(&name, subnet)?)
}

/// A bridge with the first subnet of Docker's pools that nobody on the host has. Blocks.
fn anywhere(name: &str) -> Result<Bridge, Error> {
    let large = (18..32).map(|second| format!("172.{second}.0.0/16"));
    let small = (0..16).map(|part| format!("192.168.{}.0/20", part * 16));
    for pool in large.chain(small) {
        let subnet = pool.parse().expect("a network and a prefix");
        match make_bridge(name, subnet) {
            Err(Error::Bridge(network::bridge::Error::Overlap { .. })) => {}
            made => return made,
        }
    }
    Err(Error::NoSubnet)
}
