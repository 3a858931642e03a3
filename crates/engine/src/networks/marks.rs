//! Marks of what a container sends: where they can be had, and as the bundle says them.
//!
//! A container has one control group, so they are its own and not those of a place on a network.

use network::marks::Marks;
use serde_json::{Value, json};
use spec::Isolation;

use crate::config::{HostConfig, Share};
use crate::engine::Engine;
use crate::error::Error;

const FIELD: &str = "DriverOpts";

impl Engine {
    /// Takes the marks that places ask for to be the container's.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for different ones, [`Error::Unsupported`] where they would mark nothing.
    pub(crate) fn mark(&self, host: &mut HostConfig, isolation: Isolation) -> Result<(), Error> {
        let mut all = Marks::default();
        let of_host = host.openings.network == Share::Host;
        for (network, wish) in &mut host.attachments {
            let marks = std::mem::take(&mut wish.marks);
            if !of_host {
                self.is_sent_by(network, &marks)?;
            }
            add(&mut all, marks)?;
        }
        if all.is_none() {
            return Ok(());
        }
        if !isolation.shares_kernel() {
            let problem = "classid and priority are of cgroup v1, which the guest of a VM does not have: its \
                           packets are its kernel's; use --isolation=process, or rate-in and rate-out"
                .to_owned();
            return Err(Error::Unsupported { field: FIELD, problem });
        }
        all.check_host()
            .map_err(|absent| Error::Unsupported { field: FIELD, problem: absent.to_string() })?;
        host.marks = all;
        Ok(())
    }

    /// Refuses priorities on devices that the container's sockets never meet.
    fn is_sent_by(&self, network: &str, marks: &Marks) -> Result<(), Error> {
        let Some(first) = marks.priorities.first() else { return Ok(()) };
        let site = self.shared().site(network).ok();
        let parent = site.filter(|site| site.bridge.plan().macvlan.is_some());
        let foreign = match &parent {
            Some(site) => marks.priorities.iter().find(|one| one.device != *site.bridge.name()),
            None => Some(first),
        };
        let Some(priority) = foreign else { return Ok(()) };
        let problem = format!(
            "priority={priority}: what containers of network {network} send by {} is forwarded and has lost \
             its priority; that is for --network host, or for the parent of a macvlan",
            priority.device
        );
        Err(Error::Unsupported { field: FIELD, problem })
    }
}

fn add(all: &mut Marks, more: Marks) -> Result<(), Error> {
    let twice = |what: String| {
        let problem = format!("{what}: a container has one, on all of its networks");
        Error::Invalid { field: FIELD, problem }
    };
    if let (Some(one), Some(other)) = (all.class, more.class)
        && one != other
    {
        return Err(twice(format!("classid {one} and {other}")));
    }
    all.class = all.class.or(more.class);
    for priority in more.priorities {
        let known = all.priorities.iter().find(|one| one.device == priority.device);
        match known {
            Some(one) if *one != priority => {
                return Err(twice(format!("priority {one} and {priority}")));
            }
            Some(_) => {}
            None => all.priorities.push(priority),
        }
    }
    Ok(())
}

/// The OCI spec's `linux.resources.network`.
pub(crate) fn resources(marks: &Marks) -> Option<Value> {
    if marks.is_none() {
        return None;
    }
    let priority =
        |one: &network::marks::Priority| json!({ "name": one.device, "priority": one.value });
    let mut network = json!({});
    if let Some(class) = marks.class {
        network["classID"] = class.number().into();
    }
    if !marks.priorities.is_empty() {
        network["priorities"] = marks.priorities.iter().map(priority).collect();
    }
    Some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(class: Option<&str>, priorities: &str) -> Marks {
        let class = class.map(|text| text.parse().expect("a class"));
        let priorities = match priorities {
            "" => Vec::new(),
            text => Marks::read_priorities(text).expect("priorities"),
        };
        Marks { class, priorities }
    }

    #[test]
    fn a_container_has_one_class_and_one_priority_of_each_device() {
        for (one, other, want) in [
            (marks(Some("10:1"), ""), marks(None, "a:1"), Some(marks(Some("10:1"), "a:1"))),
            (marks(None, "a:1"), marks(None, "a:1,b:2"), Some(marks(None, "a:1,b:2"))),
            (marks(Some("1:1"), ""), marks(Some("1:1"), ""), Some(marks(Some("1:1"), ""))),
            (marks(Some("1:1"), ""), marks(Some("1:2"), ""), None),
            (marks(None, "a:1"), marks(None, "a:2"), None),
        ] {
            let mut all = one.clone();
            let added = add(&mut all, other.clone()).is_ok();
            assert_eq!(added.then_some(all), want, "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_bundle_says_what_the_runtime_writes() {
        assert_eq!(resources(&Marks::default()), None);
        let want = json!({
            "classID": 0x0010_0001, "priorities": [{ "name": "eth0", "priority": 5 }],
        });
        assert_eq!(resources(&marks(Some("10:1"), "eth0:5")), Some(want));
    }
}
