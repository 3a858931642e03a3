//! The way to a container's files.

use std::sync::Arc;

use super::Owner;
use crate::container::Status;
use crate::error::{Error, StateError};
use crate::files::reach::Reach;

impl Owner {
    /// Its shim, or for a container that does not run one for the work.
    pub(crate) async fn reach(&mut self, asked: String) -> Result<Reach, Error> {
        let (shared, container) = (Arc::clone(&self.shared), Arc::new(self.container.clone()));
        if self.container.status.is_live() {
            let shim = self.live()?.clone();
            return Ok(Reach { shared, container, asked, shim, still: None });
        }
        if self.container.status == Status::Removing {
            return Err(StateError::Removing(self.id().to_owned()).into());
        }
        let guard = Arc::clone(&self.still).write_owned().await;
        Reach::still(&shared, container, asked, guard).await
    }
}
