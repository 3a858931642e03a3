//! Networks that users make: a bridge each, with addresses of its own and a way out.
//!
//! ```text
//!   create  ->  name free, subnet free  ->  bridge  ->  record  ->  told
//!   remove  ->  nobody on it            ->  record  ->  bridge  ->  told
//! ```
//!
//! Invariant: a network in the table is in the database, and its bridge is there unless the host
//! refused it at the engine's start.

mod addresses;
mod bridges;
mod macvlan;
pub(crate) mod marks;
mod names;
pub(crate) mod options;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use network::egress::Policy;
use network::{Bridge, Layout, Plan};
use serde::{Deserialize, Serialize};

use crate::config::{Attachment, NetworkMode, Share};
use crate::container::Container;
use crate::engine::Engine;
use crate::error::{Error, NetworkError};
use crate::event::EventKind;
use crate::owner::{Bindings, blocking};
use crate::shared::Shared;
pub(crate) use addresses::of_default;
pub use addresses::{AddressPool, Asked, InvalidPool};
use bridges::{anywhere, make_bridge};
use options::Defaults;

/// The name of the network that containers are on where nobody says.
pub(crate) const DEFAULT: &str = "bridge";

/// A network that a user made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// What its bridge is like.
    pub plan: Plan,
    /// Whether the user named the subnet.
    pub asked: bool,
    /// The same of IPv6.
    #[serde(default)]
    pub asked6: bool,
    /// The bridge's device, or the parent of macvlans.
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
    /// Its addresses, at most once for each family; those that are free where one is missing.
    pub addresses: Vec<Asked>,
    /// Whether it has IPv6 addresses.
    pub ipv6: bool,
    /// Whether nothing gets out of it or in from elsewhere.
    pub internal: bool,
    /// Whether its containers are seen elsewhere by their own addresses.
    pub unmasked: bool,
    /// Whether its containers are kept from each other.
    pub isolated: bool,
    /// Whether the host has no IPv4 address on it.
    pub without_host: bool,
    /// The same of IPv6.
    pub without_host6: bool,
    /// The largest packet, in bytes; `None` for the kernel's choice.
    pub mtu: Option<u32>,
    /// The bridge's device; `None` for `br-` and the beginning of the id. Of macvlans the parent; `None`
    /// for one that leads nowhere.
    pub bridge: Option<String>,
    /// What makes it no bridge.
    pub macvlan: Option<network::macvlan::Mode>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// A network that a container can be on, with its bridge.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) bridge: Arc<Bridge>,
    /// Whether a user made it: containers have names there.
    pub(crate) named: bool,
    /// Whether a user chose its addresses.
    pub(crate) asked: bool,
    /// The same of IPv6.
    pub(crate) asked6: bool,
    /// What its options say of the places on it.
    pub(crate) defaults: Defaults,
}

impl NetworkCreate {
    fn plan(&self, layout: Layout, layout6: Option<Layout<Ipv6Addr>>) -> Plan {
        // Without a parent there is nowhere to go.
        let nowhere = self.macvlan.is_some() && self.bridge.is_none();
        Plan {
            layout,
            layout6,
            internal: self.internal || nowhere,
            masquerade: !self.unmasked,
            isolated: self.isolated,
            without_host: self.without_host,
            without_host6: self.without_host6,
            mtu: self.mtu,
            macvlan: self.macvlan,
        }
    }
}

/// The networks by id.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    table: Mutex<BTreeMap<String, Entry>>,
    /// What containers are told of each other.
    telling: names::Telling,
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
            let bridge = make_bridge(&network.bridge, network.plan.clone());
            if let Err(error) = &bridge {
                tracing::error!(network = network.name, error = %spec::chain(error), "no bridge");
            }
            (network.id.clone(), Entry { network, bridge: bridge.ok().map(Arc::new) })
        };
        let table = Mutex::new(records.into_iter().map(entry).collect());
        Self { table, telling: names::Telling::default() }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Network> {
        self.table().values().map(|entry| entry.network.clone()).collect()
    }

    /// The one that `name` means: an id, a name or the beginning of just one.
    pub(crate) fn find(&self, name: &str) -> Result<Network, Error> {
        self.entry(name).map(|entry| entry.network)
    }

    fn entry(&self, name: &str) -> Result<Entry, Error> {
        let table = self.table();
        let by_name = || table.values().find(|entry| entry.network.name == name);
        if let Some(entry) = table.get(name).or_else(by_name) {
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
    /// Names and ids of the networks that a container is on, or will be when it runs. The id is empty
    /// while there is no such network.
    pub fn networks_of(&self, container: &Container) -> BTreeMap<String, String> {
        let host = &container.host;
        let builtin = |name: &str| [(name.to_owned(), builtin_id(name))].into();
        match (&host.openings.network, &host.network) {
            (Share::Host, _) => return builtin("host"),
            (Share::Container(_), _) => return BTreeMap::new(),
            (_, NetworkMode::None) => return builtin("none"),
            _ => {}
        }
        let id = |name: &String| match name.as_str() {
            DEFAULT => self.network_id(),
            name => self.shared.networks.find(name).map_or(String::new(), |found| found.id),
        };
        host.attachments.keys().map(|name| (name.clone(), id(name))).collect()
    }

    /// Puts a container on a network, while it runs too.
    pub async fn connect_network(
        &self,
        network: &str,
        container: &str,
        attachment: Attachment,
    ) -> Result<(), Error> {
        let (handle, network) = (self.find(container)?, network.to_owned());
        handle
            .ask(move |owner| {
                Box::pin(async move { owner.join_network(&network, attachment).await })
            })
            .await
    }

    /// Takes a container off a network, while it runs too.
    pub async fn disconnect_network(&self, network: &str, container: &str) -> Result<(), Error> {
        let (handle, network) = (self.find(container)?, network.to_owned());
        handle.ask(move |owner| Box::pin(async move { owner.leave_network(&network).await })).await
    }

    /// Takes ports of a container away and gives it others, while it runs too; all or none.
    pub async fn change_ports(
        &self,
        container: &str,
        add: Bindings,
        remove: Bindings,
    ) -> Result<(), Error> {
        let handle = self.find(container)?;
        handle
            .ask(move |owner| Box::pin(async move { owner.change_ports(add, remove).await }))
            .await
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
    /// The network that `name` means: `bridge`, or a user's.
    pub(crate) fn site(&self, name: &str) -> Result<Site, Error> {
        let id = self.network_id();
        if name == DEFAULT || (name.len() >= 12 && id.starts_with(name)) {
            let (name, bridge) = (DEFAULT.to_owned(), Arc::clone(&self.bridge));
            return Ok(Site {
                id,
                name,
                bridge,
                named: false,
                asked: true,
                asked6: true,
                defaults: Defaults::default(),
            });
        }
        let Entry { network, bridge } = self.networks.entry(name)?;
        let bridge = bridge.ok_or_else(|| Error::NoBridge(network.name.clone()))?;
        let defaults = Defaults::read(&network.options)?;
        let Network { id, name, asked, asked6, .. } = network;
        Ok(Site { id, name, bridge, named: true, asked, asked6, defaults })
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
        crate::names::checked(&request.name)
            .map_err(|_| invalid("network name", format!("{:?}", request.name)))?;
        if self.networks.all().iter().any(|one| one.name == request.name) {
            return Err(Error::NetworkExists(request.name));
        }
        let ruled = Defaults::read(&request.options)?.egress.and_then(|policy| policy.six());
        if let Some(address) = ruled.filter(|_| !request.ipv6) {
            return Err(NetworkError::NoIpv6 { address, network: request.name }.into());
        }
        request.check_macvlan()?;
        let id = crate::names::fresh_id();
        let bridge = match (&request.bridge, request.macvlan) {
            (Some(name), _) => name.clone(),
            (None, Some(_)) => network::macvlan::own_parent(&id).expect("digits").to_string(),
            (None, None) => format!("br-{}", &id[..12]),
        };
        let (four, six) = asked(&request)?;
        self.networks.keep_apart(&request, four.as_ref(), six.as_ref())?;
        let (asked, name) = (four.is_some(), bridge.clone());
        let asked6 = six.is_some();
        let like = request.clone();
        let plan = move |layout, layout6| like.plan(layout, layout6);
        let (ipv6, shared) = (request.ipv6, Arc::clone(self));
        let made = blocking(move || {
            let fours = four.map_or_else(|| shared.free_four(), |four| Ok(vec![four]))?;
            let sixes = match six {
                Some(six) => vec![Some(six)],
                None if ipv6 => shared.free_six()?,
                None => vec![None],
            };
            anywhere(&name, &fours, &sixes, plan)
        });
        let (made, plan) = made.await?;
        let network = Network {
            id: id.clone(),
            name: request.name,
            created: SystemTime::now(),
            plan,
            asked,
            asked6,
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
        let driver = network.plan.driver().to_owned();
        let attributes = [("name".to_owned(), network.name.clone()), ("type".to_owned(), driver)];
        self.broker.publish(EventKind::Network, action, network.id.as_str(), attributes.into());
    }
}

impl Site {
    /// Refuses what a place on this network cannot have.
    pub(crate) fn allows(&self, attachment: &Attachment) -> Result<(), Error> {
        self.allows_macvlan(attachment)?;
        let refused = |refusal: NetworkError| Err(refusal.into());
        if !self.named && !attachment.aliases.is_empty() {
            return refused(NetworkError::AliasesOnDefault);
        }
        let (four, six) = (attachment.address.is_some(), attachment.address6);
        if let (Some(address), None) = (six, &self.bridge.plan().layout6) {
            return refused(NetworkError::NoIpv6 { address, network: self.name.clone() });
        }
        let ruled = attachment.egress.as_ref().and_then(Policy::six);
        if let (Some(address), None) = (ruled, &self.bridge.plan().layout6) {
            return refused(NetworkError::NoIpv6 { address, network: self.name.clone() });
        }
        match (four, six.is_some()) {
            (true, _) | (_, true) if !self.named => refused(NetworkError::AddressOnDefault),
            (true, _) if !self.asked => refused(NetworkError::AddressOfPool),
            (_, true) if !self.asked6 => refused(NetworkError::AddressOfPool),
            _ => Ok(()),
        }
    }
}

/// The id of a network that is always there and has no bridge: its name's letters.
pub fn builtin_id(name: &str) -> String {
    format!("{:0<64}", crate::names::hex(name.as_bytes()))
}

/// The addresses that are asked for, of each family; `None` for any.
fn asked(request: &NetworkCreate) -> Result<(Option<Layout>, Option<Layout<Ipv6Addr>>), Error> {
    let (six, four): (Vec<&Asked>, Vec<_>) =
        request.addresses.iter().partition(|asked| asked.is_six());
    let invalid = |problem: String| Err(Error::Invalid { field: "IPAM.Config", problem });
    match (four.as_slice(), six.as_slice()) {
        ([_, second, ..], _) | (_, [_, second, ..]) => {
            let subnet = &second.subnet;
            invalid(format!("{subnet}: a network has one subnet of each family"))
        }
        (_, [six]) if !request.ipv6 => {
            invalid(format!("{}: IPv6 addresses want EnableIPv6 (--ipv6)", six.subnet))
        }
        (four, six) => {
            let four = four.first().map(|asked| asked.layout()).transpose()?;
            Ok((four, six.first().map(|asked| asked.layout()).transpose()?))
        }
    }
}
