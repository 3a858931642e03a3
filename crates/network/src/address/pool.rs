//! Who has which address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use spec::ContainerId;

use super::{Error, Family, Layout};

/// Who has which address of a subnet.
///
/// Hands them out in a ring, so that an address just given back is the last to be given again.
#[derive(Debug)]
pub(crate) struct Pool<A = Ipv4Addr> {
    layout: Layout<A>,
    owners: BTreeMap<A, ContainerId>,
    last: A,
}

impl<A: Family> Pool<A> {
    pub(crate) fn new(layout: Layout<A>) -> Self {
        let last = A::of(layout.bounds().0 - 1);
        Self { layout, owners: BTreeMap::new(), last }
    }

    /// The address that is asked for, or the next free one after the last one given.
    pub(crate) fn take(&mut self, id: &ContainerId, wanted: Option<A>) -> Result<A, Error> {
        match wanted {
            Some(address) => self.claim(id, address).map(|()| address),
            None => self.next(id),
        }
    }

    fn next(&mut self, id: &ContainerId) -> Result<A, Error> {
        let (first, end) = self.layout.bounds();
        let next = (self.last.number() + 1).clamp(first, end);
        let address = (next..end)
            .chain(first..next)
            .map(A::of)
            .find(|address| {
                self.layout.is_for_container(*address) && !self.owners.contains_key(address)
            })
            .ok_or_else(|| {
                Error::Exhausted(self.layout.range.unwrap_or(self.layout.subnet).to_string())
            })?;
        self.owners.insert(address, id.clone());
        self.last = address;
        Ok(address)
    }

    /// Notes that `address` is `id`'s already; a second time changes nothing.
    pub(crate) fn claim(&mut self, id: &ContainerId, address: A) -> Result<(), Error> {
        if !self.layout.is_for_container(address) {
            let subnet = self.layout.subnet.to_string();
            return Err(Error::Outside { address: address.into(), subnet });
        }
        match self.owners.get(&address) {
            Some(owner) if owner != id => {
                Err(Error::Taken { address: address.into(), owner: owner.clone() })
            }
            _ => {
                self.owners.insert(address, id.clone());
                self.last = self.last.max(address);
                Ok(())
            }
        }
    }

    /// Gives `address` back if it is `id`'s.
    pub(crate) fn give_back(&mut self, id: &ContainerId, address: A) {
        if self.owners.get(&address) == Some(id) {
            self.owners.remove(&address);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}
