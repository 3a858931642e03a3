//! Clients that can be asked while they build, from the moment that they connect to that of their build.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use build::Link;
use build::link::Question;

/// The most that wait for their builds.
const MOST: usize = 256;

/// Links by the names that their clients have made up.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<BTreeMap<String, Arc<Link>>>);

impl Links {
    /// Keeps a link until [`Links::take`]; false when there are too many, or another of that name.
    pub(crate) async fn put(&self, name: &str, link: Link) -> bool {
        let link = Arc::new(link);
        self.keep(name, Arc::clone(&link)) && link.ask(Question::Ready).await.is_ok()
    }

    fn keep(&self, name: &str, link: Arc<Link>) -> bool {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| !link.is_closed());
        let is_free = links.len() < MOST && !links.contains_key(name);
        if is_free {
            links.insert(name.to_owned(), link);
        }
        is_free
    }

    /// The link of this name, for one build.
    pub(crate) fn take(&self, name: &str) -> Option<Arc<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_is_for_one_build() {
        let links = Links::default();
        let (near, far) = tokio::io::duplex(64);
        let link = |stream| {
            let (from, to) = tokio::io::split(stream);
            Arc::new(Link::new(from, to))
        };
        assert!(links.keep("a", link(near)));
        assert!(!links.keep("a", link(tokio::io::duplex(64).0)));
        assert!(links.take("a").is_some() && links.take("a").is_none());
        drop(far);
    }
}
