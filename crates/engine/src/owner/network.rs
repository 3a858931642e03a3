//! The container's places on networks, and what the host has published of it.
//!
//! ```text
//!   start:       namespace  ->  a device for each network  ->  the way out  ->  ports
//!   connect:     a device more   \
//!   disconnect:  a device less    +-->  the way out and ports, if they are others now
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use network::{Endpoint, Published, Wish};
use spec::{ContainerId, NAME_SERVER};

use super::publish::bound;
use super::{Owner, blocking};
use crate::bundle;
use crate::config::{Attachment, HostConfig, NetworkMode, Share, wanted};
use crate::container::Status;
use crate::dns;
use crate::error::{Error, NetworkError, StateError};
use crate::networks::Site;
use crate::shared::Shared;

/// The places that a container has, by network.
type Endpoints = BTreeMap<String, Endpoint>;

impl Owner {
    /// Connects it to its networks: at least a namespace of its own.
    pub(super) async fn connect(&mut self) -> Result<(), Error> {
        if self.container.host.openings.network != Share::Own {
            return Ok(());
        }
        let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
        let host = self.container.host.clone();
        let sites = self.sites()?;
        let make = move || {
            let namespace = shared.namespaces.create(&id)?;
            let mut endpoints = Endpoints::new();
            let attached = sites.iter().try_for_each(|site| {
                let attachment = &host.attachments[&site.name];
                let endpoint =
                    site.attach(&shared, &id, attachment, (&endpoints, &host.attachments))?;
                endpoints.insert(site.name.clone(), endpoint);
                Ok(())
            });
            let led = attached.and_then(|()| match way_out(&host, &endpoints) {
                Some((_, endpoint)) => Ok(namespace.set_gateway(&id, endpoint)?),
                None => Ok(()),
            });
            match led {
                Ok(()) => Ok(endpoints),
                Err(error) => {
                    // The devices go with the namespace.
                    for site in &sites {
                        if let Some(one) = endpoints.get(&site.name) {
                            site.bridge.detach(&id, Some(&namespace), one);
                        }
                    }
                    Err(error)
                }
            }
        };
        self.container.endpoints = blocking(make).await?;
        self.publish(None).await?;
        self.serve_names().await;
        // Its program may ask for names before it is known to run.
        self.show(0);
        for name in self.container.endpoints.keys() {
            self.shared.tell_network(&self.container, name, "connect");
        }
        Ok(())
    }

    /// Its networks, the one that leads elsewhere first.
    fn sites(&self) -> Result<Vec<Site>, Error> {
        let mut wanted: Vec<_> = self.container.host.attachments.iter().collect();
        wanted.sort_by_key(|(_, attachment)| std::cmp::Reverse(attachment.priority));
        wanted.into_iter().map(|(name, _)| self.shared.site(name)).collect()
    }

    /// Puts it on the network too.
    pub(crate) async fn join_network(
        &mut self,
        network: &str,
        attachment: Attachment,
    ) -> Result<(), Error> {
        attachment.check()?;
        if !attachment.marks.is_none() {
            return Err(NetworkError::LateMarks.into());
        }
        let site = self.shared.site(network)?;
        site.allows(&attachment)?;
        site.check_names(&attachment, self.container.isolation)?;
        self.may_move()?;
        let name = site.name.clone();
        if self.container.host.attachments.contains_key(&name) {
            let container = self.container.name.clone();
            return Err(NetworkError::Connected { container, network: name }.into());
        }
        let before = self.way();
        if self.container.status.is_live() {
            let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
            let (wish, present) = (attachment.clone(), self.container.endpoints.clone());
            let others = self.container.host.attachments.clone();
            let attach = move || site.attach(&shared, &id, &wish, (&present, &others));
            self.container.endpoints.insert(name.clone(), blocking(attach).await?);
        }
        self.container.host.attachments.insert(name.clone(), attachment);
        let moved = self.lead(before).await;
        self.record().done().await?;
        if let Ok(shim) = self.live() {
            let shim = shim.clone();
            self.serve_names().await;
            bundle::resolve(&self.container, self.names.is_some())?;
            if let Err(error) = shim.refresh().await {
                // What its wall has no room for it is not on.
                let _ = self.leave_network(&name).await;
                return Err(error.into());
            }
            self.shared.tell_network(&self.container, &name, "connect");
            self.shared.tell_names(&self.container).await;
        }
        moved
    }

    /// Takes it off the network.
    pub(crate) async fn leave_network(&mut self, network: &str) -> Result<(), Error> {
        self.may_move()?;
        // The network itself may be gone.
        let name = self.shared.site(network).map_or_else(|_| network.to_owned(), |site| site.name);
        if !self.container.host.attachments.contains_key(&name) {
            let container = self.container.name.clone();
            return Err(NetworkError::NotConnected { container, network: name }.into());
        }
        let before = self.way();
        let live = self.container.status.is_live();
        self.container.host.attachments.remove(&name);
        let mut moved = Ok(());
        if let Some(endpoint) = self.container.endpoints.remove(&name) {
            let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
            let from = name.clone();
            let unplug = move || {
                let namespace = shared.namespaces.open(&id)?;
                Ok(shared.site(&from)?.bridge.unplug(&id, &namespace, &endpoint)?)
            };
            moved = blocking(unplug).await;
        }
        let mut moved = moved.and(self.lead(before).await);
        self.record().done().await?;
        if let Ok(shim) = self.live() {
            moved = moved.and(shim.clone().refresh().await.map_err(Error::from));
        }
        if live {
            self.shared.tell_network(&self.container, &name, "disconnect");
            self.shared.tell_names(&self.container).await;
        }
        moved
    }

    /// Gives it a name server, if it is where names are and has none.
    pub(super) async fn serve_names(&mut self) {
        if self.names.is_some() || !dns::serves(&self.container) {
            return;
        }
        let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
        let listen = move || Ok(shared.namespaces.open(&id)?.listen(NAME_SERVER.into())?);
        let started = blocking(listen).await.and_then(|sockets| {
            let started = dns::Server::start(&self.shared, &self.container.id, sockets);
            started.map_err(Error::NameServer)
        });
        match started {
            Ok(server) => self.names = Some(server),
            // It finds its neighbours in /etc/hosts.
            Err(error) => self.warn("name server", &error),
        }
    }

    /// Refuses where its networks are not its own.
    fn may_move(&self) -> Result<(), Error> {
        if self.container.status == Status::Removing {
            return Err(StateError::Removing(self.id().to_owned()).into());
        }
        match (&self.container.host.openings.network, &self.container.host.network) {
            (Share::Host, _) => Err(NetworkError::OfHost.into()),
            (Share::Container(_), _) => Err(NetworkError::OfContainer.into()),
            (_, NetworkMode::None) => Err(NetworkError::Private.into()),
            _ => Ok(()),
        }
    }

    /// The network that leads elsewhere, and its place there.
    pub(super) fn way(&self) -> Option<(String, Endpoint)> {
        let way = way_out(&self.container.host, &self.container.endpoints);
        way.map(|(name, endpoint)| (name.clone(), endpoint.clone()))
    }

    /// Leads it elsewhere by another network than `before`, if it is another now.
    async fn lead(&mut self, before: Option<(String, Endpoint)>) -> Result<(), Error> {
        let now = self.way();
        if now == before || !self.container.status.is_live() {
            return Ok(());
        }
        let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
        let ports = std::mem::take(&mut self.container.ports);
        let lead = move || {
            if let Some((_, endpoint)) = now {
                shared.namespaces.open(&id)?.set_gateway(&id, &endpoint)?;
            }
            Ok(shared.ports.withdraw(&id)?)
        };
        blocking(lead).await?;
        self.publish(Some(ports)).await
    }

    /// Publishes its ports, `again` those that it had.
    async fn publish(&mut self, again: Option<Vec<Published>>) -> Result<(), Error> {
        let Some((network, endpoint)) = self.way() else { return Ok(()) };
        let site = self.shared.site(&network)?;
        let wanted = wanted(&self.container.host, &self.container.config.exposed_ports)?;
        let mut wanted = bound(&wanted, site.defaults.binding);
        for wanted in &mut wanted {
            let mut had = again.iter().flatten();
            let same = had.find(|had| {
                let host = wanted.host.map_or(had.host.is_unspecified(), |host| host == had.host);
                (had.protocol, had.inside) == (wanted.protocol, wanted.inside) && host
            });
            wanted.ports = same.map(|had| (had.port, had.port)).or(wanted.ports);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let bridge = site.bridge;
        if bridge.plan().macvlan.is_some() {
            // It has an address of its own there, and was told so when it was made.
            return Ok(());
        }
        let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
        let publish = move || {
            bridge.reflect(&id, &endpoint)?;
            Ok(shared.ports.publish(&id, bridge.name(), &endpoint, &wanted))
        };
        self.container.ports = blocking(publish).await?.map_err(|source| Error::Publish {
            name: self.container.name.clone(),
            id: self.container.id.to_string(),
            source,
        })?;
        Ok(())
    }

    /// What is to be done when it has ended: ports, addresses and the namespace go. Blocks.
    pub(super) fn free_network(&mut self) -> impl FnOnce() -> Result<(), Error> + Send + use<> {
        let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
        let endpoints = std::mem::take(&mut self.container.endpoints);
        self.names = None;
        self.container.ports.clear();
        move || {
            let withdrawn = shared.ports.withdraw(&id);
            let namespace = shared.namespaces.open(&id).ok();
            for (name, endpoint) in &endpoints {
                // A network that is gone has no addresses to take back.
                if let Ok(site) = shared.site(name) {
                    site.bridge.detach(&id, namespace.as_ref(), endpoint);
                }
            }
            shared.namespaces.delete(&id)?;
            Ok(withdrawn?)
        }
    }
}

/// Which network leads elsewhere: the one of the highest priority, of several the first by name.
fn way_out<'a>(host: &HostConfig, endpoints: &'a Endpoints) -> Option<(&'a String, &'a Endpoint)> {
    let priority = |name: &String| host.attachments.get(name).map_or(0, |one| one.priority);
    let leading = endpoints.iter().filter(|(_, endpoint)| endpoint.gateway.is_some());
    leading.min_by_key(|(name, _)| (std::cmp::Reverse(priority(name)), (*name).clone()))
}

impl Site {
    /// Gives the container its place. The others are those that it has, and those that it wishes for.
    /// Blocks.
    fn attach(
        &self,
        shared: &Shared,
        id: &ContainerId,
        attachment: &Attachment,
        (present, wishes): (&Endpoints, &BTreeMap<String, Attachment>),
    ) -> Result<Endpoint, Error> {
        let taken = |name: &str| {
            let mut others = wishes.iter().filter(|(network, _)| **network != self.name);
            let is_called =
                |wish: &Attachment| wish.interface.as_ref().is_some_and(|own| own.as_str() == name);
            let has = present.iter().find(|(_, other)| other.interface == name);
            has.map(|(network, _)| network.clone()).or_else(|| {
                others.find(|(_, wish)| is_called(wish)).map(|(network, _)| network.clone())
            })
        };
        let interface = self.device_name(attachment, taken)?;
        let namespace = shared.namespaces.open(id)?;
        let egress = attachment.egress.as_ref().or(self.defaults.egress.as_ref());
        let (interface, mac) = (interface.as_str(), attachment.mac());
        let (address, address6) = (attachment.address, attachment.address6);
        let rates = attachment.rates.or(self.defaults.rates);
        let wish = Wish { interface, address, address6, mac, egress, rates };
        Ok(self.bridge.attach(id, &namespace, &wish)?)
    }
}
