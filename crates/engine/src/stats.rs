//! What containers use.

use std::collections::BTreeMap;
use std::time::SystemTime;

use network::Counters;
use spec::Usage;

use crate::engine::Engine;
use crate::error::Error;

/// What a container used until an instant.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Whose.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The instant.
    pub time: SystemTime,
    /// Processors, memory, processes, block devices; `None` while it does not run.
    pub usage: Option<Usage>,
    /// Its network interfaces but `lo`.
    pub interfaces: BTreeMap<String, Counters>,
}

impl Engine {
    /// What it uses at this moment.
    pub async fn stats(&self, name: &str) -> Result<Sample, Error> {
        self.find(name)?.ask(|owner| Box::pin(owner.sample())).await
    }
}
