//! How many requests were answered, and how.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;

/// Counts answers by status. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<BTreeMap<u16, u64>>>);

impl Answers {
    /// What was counted, by status.
    pub fn by_status(&self) -> BTreeMap<u16, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn count(&self, status: StatusCode) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(status.as_u16()).or_default() += 1;
    }
}
