//! Limits of a container that is there, and what it uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::Owner;
use super::start::blocking;
use crate::bundle::limits;
use crate::config::{HostConfig, Share};
use crate::container::Status;
use crate::error::{Error, StateError};
use crate::stats::Sample;
use crate::update::Update;

impl Owner {
    /// Changes limits and policy; nothing when that fails.
    pub(crate) async fn update(&mut self, update: Update) -> Result<(), Error> {
        if self.container.status == Status::Removing {
            return Err(StateError::Removing(self.id().to_owned()).into());
        }
        let host = update.apply(&self.container.host)?;
        if host.resources != self.container.host.resources
            && let Ok(shim) = self.live()
        {
            shim.update(&limits::changed(&host.resources)?).await?;
        }
        self.limit_network(&host).await?;
        self.container.host = host;
        self.record().done().await?;
        self.tell("update", &[]);
        Ok(())
    }

    /// Has it receive and send as `host` says; as before when that fails.
    async fn limit_network(&mut self, host: &HostConfig) -> Result<(), Error> {
        let mut endpoints = self.container.endpoints.clone();
        let mut changed = Vec::new();
        for (network, endpoint) in &mut endpoints {
            let site = self.shared.site(network)?;
            let wish = host.attachments.get(network);
            wish.map_or(Ok(()), |wish| site.allows(wish))?;
            let rates = wish.map_or(site.defaults.rates, |wish| wish.rates.or(site.defaults.rates));
            if endpoint.rates != rates {
                let before = endpoint.clone();
                endpoint.rates = rates;
                changed.push((site.bridge, before, endpoint.clone()));
            }
        }
        let id = self.container.id.clone();
        blocking(move || {
            let limited = changed.iter().try_for_each(|(bridge, _, new)| bridge.limit(&id, new));
            if limited.is_err() {
                // The first error is the one that tells.
                for (bridge, old, _) in &changed {
                    let _ = bridge.limit(&id, old);
                }
            }
            Ok(limited?)
        })
        .await?;
        self.container.endpoints = endpoints;
        Ok(())
    }

    /// What it uses at this moment; nothing while it does not run.
    pub(crate) async fn sample(&mut self) -> Result<Sample, Error> {
        let (id, name) = (self.id().to_owned(), self.container.name.clone());
        let mut sample =
            Sample { id, name, time: SystemTime::now(), usage: None, interfaces: BTreeMap::new() };
        let own_network = self.container.host.openings.network == Share::Own;
        if let Ok(shim) = self.live() {
            match shim.usage().await {
                Ok(usage) => sample.usage = Some(usage),
                // It ended just now.
                Err(_) if self.live().is_err() => return Ok(sample),
                Err(error) => return Err(error.into()),
            }
            if !own_network {
                return Ok(sample);
            }
            let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
            sample.interfaces =
                blocking(move || Ok(shared.namespaces.open(&id)?.counters()?)).await?;
        }
        Ok(sample)
    }
}
