//! Limits of a container that is there, and what it uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::Owner;
use super::start::blocking;
use crate::bundle::limits;
use crate::config::Share;
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
        self.container.host = host;
        self.record().done().await?;
        self.tell("update", &[]);
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
