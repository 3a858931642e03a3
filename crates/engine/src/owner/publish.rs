//! Ports that a container gets and loses while it runs.
//!
//! What is asked for is in its record, so that the next run has it too; what the host has of that now is
//! beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use network::Published;
use network::ports::Wanted;

use super::{Owner, blocking};
use crate::config::{HostConfig, HostPort, NetworkMode, Share, wanted};
use crate::container::Status;
use crate::error::{Error, NetworkError, StateError};

/// Ports of a container by its own, `80/tcp`, with where they are on the host.
pub type Bindings = BTreeMap<String, Vec<HostPort>>;

impl Owner {
    /// Takes ports away, then gives others; none if one of them cannot be had.
    pub(crate) async fn change_ports(
        &mut self,
        add: Bindings,
        remove: Bindings,
    ) -> Result<(), Error> {
        if self.container.status == Status::Removing {
            return Err(StateError::Removing(self.id().to_owned()).into());
        }
        let host = &self.container.host;
        if host.openings.network != Share::Own || host.network == NetworkMode::None {
            return Err(NetworkError::NoPorts(self.container.name.clone()).into());
        }
        let (mut left, mut gone) = (self.named()?, Vec::new());
        for wish in each(&remove)? {
            let before = gone.len();
            take(&mut left, &wish, &mut gone)?;
            if gone.len() == before {
                let (port, name) = (text(&wish), self.container.name.clone());
                return Err(NetworkError::NotPublished { port, name }.into());
            }
        }
        let (new, stay) = (each(&add)?, each(&left)?);
        for (inside, hosts) in add {
            left.entry(key(&inside)).or_default().extend(hosts);
        }
        if self.container.status.is_live() {
            self.publish_also(&new, &gone, &stay).await?;
        }
        self.container.host.ports = left;
        self.container.host.publish_all = false;
        self.record().done().await?;
        for (action, list) in [("unpublish", &gone), ("publish", &new)] {
            for wish in list {
                self.tell(action, &[("port", text(wish))]);
            }
        }
        Ok(())
    }

    /// All that it is to have by name, also what `publish_all` stands for.
    fn named(&self) -> Result<Bindings, Error> {
        let host = &self.container.host;
        let mut all = host.ports.clone();
        if host.publish_all {
            let rest =
                HostConfig { publish_all: true, ports: all.clone(), ..HostConfig::default() };
            let named = each(&all)?.len();
            for wish in &wanted(&rest, &self.container.config.exposed_ports)?[named..] {
                let inside = format!("{}/{}", wish.inside, wish.protocol);
                all.entry(inside).or_default().push(HostPort::default());
            }
        }
        Ok(all)
    }

    /// Has the host give up the ports that are `gone` and give `new` ones; what it has for `stay` it keeps.
    async fn publish_also(
        &mut self,
        new: &[Wanted],
        gone: &[Wanted],
        stay: &[Wanted],
    ) -> Result<(), Error> {
        let way = self.way().map(|(network, endpoint)| (self.shared.site(&network), endpoint));
        let binding = match &way {
            Some((Ok(site), _)) => site.defaults.binding,
            _ => None,
        };
        let [new, gone, stay] = [new, gone, stay].map(|list| bound(list, binding));
        let fixed = |wish: &&Wanted| wish.ports.is_some_and(|(first, last)| first == last);
        let leaves = |one: &Published| {
            gone.iter().any(|wish| is_of(one, wish))
                && !stay.iter().filter(fixed).any(|wish| is_of(one, wish))
        };
        let (gone, stay): (Vec<_>, Vec<_>) = self.container.ports.iter().copied().partition(leaves);
        let Some((site, endpoint)) = way else {
            let none = NetworkError::NoPorts(self.container.name.clone());
            return if new.is_empty() { Ok(()) } else { Err(none.into()) };
        };
        let bridge = site?.bridge;
        if bridge.plan().macvlan.is_some() && !new.is_empty() {
            return Err(NetworkError::NoPorts(self.container.name.clone()).into());
        }
        let (shared, id) = (Arc::clone(&self.shared), self.container.id.clone());
        let change = move || {
            if !new.is_empty() {
                bridge.reflect(&id, &endpoint)?;
            }
            Ok(shared.ports.change(&id, bridge.name(), &endpoint, &new, &gone))
        };
        let added = blocking(change).await?.map_err(|source| Error::Publish {
            name: self.container.name.clone(),
            id: self.container.id.to_string(),
            source,
        })?;
        self.container.ports = stay;
        self.container.ports.extend(added);
        Ok(())
    }
}

/// The wishes, where those that name no address are at the network's own.
pub(super) fn bound(wishes: &[Wanted], binding: Option<Ipv4Addr>) -> Vec<Wanted> {
    let at = |wish: &Wanted| Wanted { host: wish.host.or(binding.map(IpAddr::V4)), ..*wish };
    wishes.iter().map(at).collect()
}

/// The wishes one by one.
fn each(bindings: &Bindings) -> Result<Vec<Wanted>, Error> {
    wanted(&HostConfig { ports: bindings.clone(), ..HostConfig::default() }, &[])
}

/// A container's port as records have it: the protocol is never left out.
fn key(inside: &str) -> String {
    if inside.contains('/') { inside.to_owned() } else { format!("{inside}/tcp") }
}

/// Moves from `left` what `wish` means: all of the container's port, or what is at one address or port.
fn take(left: &mut Bindings, wish: &Wanted, gone: &mut Vec<Wanted>) -> Result<(), Error> {
    for (inside, hosts) in &mut *left {
        let mut kept = Vec::new();
        for host in std::mem::take(hosts) {
            let one = each(&[(inside.clone(), vec![host.clone()])].into())?;
            let means = |one: &Wanted| {
                (one.protocol, one.inside) == (wish.protocol, wish.inside)
                    && (wish.host.is_none() || wish.host == one.host)
                    && (wish.ports.is_none() || wish.ports == one.ports)
            };
            if one.iter().any(means) { gone.extend(one) } else { kept.push(host) }
        }
        *hosts = kept;
    }
    left.retain(|_, hosts| !hosts.is_empty());
    Ok(())
}

/// Whether the host has this port for that wish.
fn is_of(published: &Published, wish: &Wanted) -> bool {
    let (first, last) = wish.ports.unwrap_or((1, u16::MAX));
    (published.protocol, published.inside) == (wish.protocol, wish.inside)
        && wish.host.map_or(published.host.is_unspecified(), |host: IpAddr| host == published.host)
        && (first..=last).contains(&published.port)
}

/// The wish as users write it.
fn text(wish: &Wanted) -> String {
    let host = match wish.host {
        Some(IpAddr::V6(host)) => format!("[{host}]:"),
        Some(host) => format!("{host}:"),
        None => String::new(),
    };
    let ports = match wish.ports {
        Some((first, last)) if first == last => format!("{first}:"),
        Some((first, last)) => format!("{first}-{last}:"),
        None if host.is_empty() => String::new(),
        None => ":".to_owned(),
    };
    format!("{host}{ports}{}/{}", wish.inside, wish.protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(list: &[(&str, &str, &str)]) -> Bindings {
        let mut all = Bindings::new();
        for (inside, address, port) in list {
            let host = HostPort { address: (*address).into(), port: (*port).into() };
            all.entry((*inside).to_owned()).or_default().push(host);
        }
        all
    }

    #[test]
    fn a_wish_means_a_port_everywhere_or_in_one_place() {
        let all = [("80/tcp", "", "8080"), ("80/tcp", "127.0.0.1", ""), ("53/udp", "::1", "53")];
        for (wish, want) in [
            (("80/tcp", "", ""), vec!["8080:80/tcp", "127.0.0.1::80/tcp"]),
            (("80/tcp", "", "8080"), vec!["8080:80/tcp"]),
            (("80/tcp", "127.0.0.1", ""), vec!["127.0.0.1::80/tcp"]),
            (("53/udp", "", ""), vec!["[::1]:53:53/udp"]),
            (("53/tcp", "", ""), vec![]),
        ] {
            let (mut left, mut gone) = (bindings(&all), Vec::new());
            take(&mut left, &each(&bindings(&[wish])).expect("legal")[0], &mut gone)
                .expect("legal");
            assert_eq!(gone.iter().map(text).collect::<Vec<_>>(), want, "{wish:?}");
            assert_eq!(left.values().flatten().count(), all.len() - want.len(), "{wish:?}");
        }
    }
}
