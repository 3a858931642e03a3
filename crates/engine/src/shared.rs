//! What every part of the engine shares: settings, stores, and the table of containers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::Images;
use network::{Bridge, Namespaces, Ports};
use tokio::sync::RwLock;

use crate::build::Links;
use crate::container::Container;
use crate::error::Error;
use crate::event::{Broker, EventKind};
use crate::names;
use crate::networks::Networks;
use crate::owner::Handle;
use crate::settings::{Places, Settings};
use crate::store::Store;
use crate::volume::Volumes;

/// One for each engine.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) images: Images,
    pub(crate) volumes: Volumes,
    pub(crate) namespaces: Namespaces,
    pub(crate) bridge: Arc<Bridge>,
    pub(crate) ports: Ports,
    pub(crate) networks: Networks,
    /// Clients of builds that can be asked.
    pub(crate) links: Links,
    /// Read by each build that goes on.
    pub(crate) builds: RwLock<()>,
    /// What the engine is called by.
    pub(crate) labels: Mutex<Vec<String>>,
    table: Mutex<Table>,
}

/// All containers and the names that lead to them.
#[derive(Debug, Default)]
struct Table {
    /// By id.
    containers: BTreeMap<String, Handle>,
    /// Name to id; also of containers that are still being made.
    names: HashMap<String, String>,
    /// Exec to container.
    execs: HashMap<String, String>,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        store: Store,
        images: Images,
        volumes: Volumes,
        namespaces: Namespaces,
        bridge: Bridge,
        networks: Networks,
    ) -> Self {
        let (ports, bridge) = (Ports::of(bridge.name()), Arc::new(bridge));
        let (broker, table) = (Broker::new(), Mutex::default());
        let labels = Mutex::new(settings.labels.clone());
        Self {
            settings,
            store,
            broker,
            images,
            volumes,
            namespaces,
            bridge,
            ports,
            networks,
            links: Links::default(),
            builds: RwLock::default(),
            labels,
            table,
        }
    }

    /// The directories of the container with this id.
    pub(crate) fn places(&self, id: &str) -> Places {
        Places::of(&self.settings, id)
    }

    /// The container that `name` means.
    pub(crate) fn find(&self, name: &str) -> Result<Handle, Error> {
        let table = self.table();
        let wanted = name.strip_prefix('/').unwrap_or(name);
        let by_name = table.names.get(wanted).and_then(|id| table.containers.get(id));
        if let Some(handle) = table.containers.get(wanted).or(by_name) {
            return Ok(handle.clone());
        }
        if !names::is_id_prefix(wanted) {
            return Err(Error::NoSuchContainer(name.to_owned()));
        }
        let begin = wanted.to_owned();
        let mut matching = table
            .containers
            .range(begin..)
            .map_while(|(id, handle)| id.starts_with(wanted).then_some(handle));
        match (matching.next(), matching.next()) {
            (Some(handle), None) => Ok(handle.clone()),
            (Some(_), Some(_)) => Err(Error::AmbiguousId(wanted.to_owned())),
            (None, _) => Err(Error::NoSuchContainer(name.to_owned())),
        }
    }

    /// Every container.
    pub(crate) fn all(&self) -> Vec<Handle> {
        self.table().containers.values().cloned().collect()
    }

    /// Every id.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.table().containers.keys().cloned().collect()
    }

    /// Takes `name`, or a fresh one, for the container `id`.
    pub(crate) fn reserve(&self, name: Option<&str>, id: &str) -> Result<String, Error> {
        let mut table = self.table();
        let name = match name {
            Some(name) => names::checked(name)?.to_owned(),
            None => names::fresh_name(|name| table.names.contains_key(name)),
        };
        if let Some(id) = table.names.get(&name) {
            return Err(Error::NameInUse { name, id: id.clone() });
        }
        table.names.insert(name.clone(), id.to_owned());
        Ok(name)
    }

    /// Gives a name back.
    pub(crate) fn release(&self, name: &str) {
        self.table().names.remove(name);
    }

    /// Makes a container known.
    pub(crate) fn insert(&self, name: &str, id: &str, handle: Handle) {
        let mut table = self.table();
        table.names.insert(name.to_owned(), id.to_owned());
        table.containers.insert(id.to_owned(), handle);
    }

    /// Forgets a container, its name and its execs.
    pub(crate) fn forget(&self, container: &Container) {
        let mut table = self.table();
        let id = container.id.as_str();
        table.containers.remove(id);
        table.names.remove(&container.name);
        table.execs.retain(|_, owner| owner != id);
    }

    /// Makes an exec known.
    pub(crate) fn insert_exec(&self, exec: &str, container: &str) {
        self.table().execs.insert(exec.to_owned(), container.to_owned());
    }

    /// Forgets an exec.
    pub(crate) fn forget_exec(&self, exec: &str) {
        self.table().execs.remove(exec);
    }

    /// The full id of the exec that `id`, possibly its beginning, means, and its container.
    pub(crate) fn find_exec(&self, id: &str) -> Result<(String, Handle), Error> {
        let table = self.table();
        let mut matching = table.execs.iter().filter(|(exec, _)| exec.starts_with(id));
        let found = match (matching.next(), matching.next()) {
            (Some(one), None) if !id.is_empty() => Some(one),
            _ => None,
        };
        found
            .and_then(|(exec, owner)| Some((exec.clone(), table.containers.get(owner)?.clone())))
            .ok_or_else(|| Error::NoSuchExec(id.to_owned()))
    }

    /// Tells what happened to a container.
    pub(crate) fn tell(&self, container: &Container, action: &str, facts: &[(&str, String)]) {
        let mut attributes: BTreeMap<String, String> = container.config.labels.clone();
        attributes.insert("image".into(), container.config.image.clone());
        attributes.insert("name".into(), container.name.clone());
        attributes.extend(facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.broker.publish(EventKind::Container, action, container.id.as_str(), attributes);
    }

    /// Tells that a container came to a network or left it.
    pub(crate) fn tell_network(&self, container: &Container, network: &str, action: &str) {
        let Ok(site) = self.site(network) else { return };
        let (id, driver) = (site.id, site.bridge.plan().driver());
        let attributes = [
            ("container".to_owned(), container.id.to_string()),
            ("name".to_owned(), network.to_owned()),
            ("type".to_owned(), driver.to_owned()),
        ];
        self.broker.publish(EventKind::Network, action, id, attributes.into());
    }

    /// The id of the network behind the bridge.
    pub(crate) fn network_id(&self) -> String {
        use sha2::{Digest, Sha256};
        let text = format!("{} {}", self.store.engine_id(), self.settings.bridge);
        names::hex(&Sha256::digest(text))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one insertion or removal, so a poisoned table is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
