//! What a running engine takes over from a configuration that was read again.

use std::sync::PoisonError;

use image::Registries;
use serde_json::json;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::EventKind;

impl Engine {
    /// Asks these registries and is called by these labels from now on, and tells listeners. Pulls and
    /// pushes that have begun go on with what they began with.
    ///
    /// # Errors
    ///
    /// [`Error::Images`] for a registry that cannot be meant; then nothing has changed.
    pub fn reload(&self, registries: Registries, labels: Vec<String>) -> Result<(), Error> {
        let told = [
            ("labels", json!(labels)),
            ("registry-mirrors", json!(registries.mirrors)),
            ("insecure-registries", json!(registries.insecure)),
        ];
        self.shared.images.use_registries(registries)?;
        *self.shared.labels.lock().unwrap_or_else(PoisonError::into_inner) = labels;
        let told = told.map(|(name, value)| (name.to_owned(), value.to_string()));
        let id = self.shared.store.engine_id();
        self.shared.broker.publish(EventKind::Daemon, "reload", id, told.into());
        Ok(())
    }

    /// What the engine is called by, `KEY=VALUE`.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.shared.labels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
