//! Changing a container's limits and its restart policy.
//!
//! Spec: Docker's rules for `update`.

use network::{Rate, Rates};

use crate::bundle::limits;
use crate::config::{Blkio, HostConfig, Resources};
use crate::engine::Engine;
use crate::error::{Error, StateError};
use crate::restart::RestartPolicy;

/// What is to be changed; what is `None` or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Limits.
    pub resources: Resources,
    /// Whether it runs again when it has ended.
    pub restart: Option<RestartPolicy>,
    /// How fast it receives on its networks.
    pub rate_in: NewRate,
    /// How fast it sends.
    pub rate_out: NewRate,
}

/// What becomes of a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NewRate {
    /// It stays.
    #[default]
    Same,
    /// It is what the network says.
    OfNetwork,
    /// It is this one.
    At(Rate),
}

impl NewRate {
    fn or(self, old: Option<Rate>) -> Option<Rate> {
        match self {
            Self::Same => old,
            Self::OfNetwork => None,
            Self::At(rate) => Some(rate),
        }
    }
}

impl Engine {
    /// Changes limits and policy, of a running container at once.
    ///
    /// # Errors
    ///
    /// As for a create; then nothing is changed.
    pub async fn update(&self, name: &str, update: Update) -> Result<(), Error> {
        self.find(name)?.ask(move |owner| Box::pin(owner.update(update))).await
    }
}

impl Update {
    /// The host's side of a container after the change.
    pub(crate) fn apply(self, old: &HostConfig) -> Result<HostConfig, Error> {
        let mut host = old.clone();
        if let Some(restart) = self.restart {
            if old.auto_remove && restart != RestartPolicy::No {
                return Err(StateError::AutoRemove.into());
            }
            host.restart = restart;
        }
        let same = (self.rate_in, self.rate_out) == (NewRate::Same, NewRate::Same);
        if !same && host.attachments.is_empty() {
            let problem = "the container has no network of its own".to_owned();
            return Err(Error::Invalid { field: "NetworkRates", problem });
        }
        for attachment in host.attachments.values_mut() {
            let rates = &mut attachment.rates;
            *rates = Rates { into: self.rate_in.or(rates.into), out: self.rate_out.or(rates.out) };
        }
        host.resources = merged(self.resources, &old.resources)?;
        limits::check(&host)?;
        Ok(host)
    }
}

fn merged(new: Resources, old: &Resources) -> Result<Resources, Error> {
    let conflict =
        |field, problem: &str| Err(Error::Invalid { field, problem: problem.to_owned() });
    if new.nano_cpus.is_some() && (old.cpu_period.is_some() || old.cpu_quota.is_some()) {
        let problem = "Conflicting options: Nano CPUs cannot be updated as CPU Period or CPU Quota \
                       has already been set";
        return conflict("NanoCpus", problem);
    }
    if (new.cpu_period.is_some() || new.cpu_quota.is_some()) && old.nano_cpus.is_some() {
        let problem = "Conflicting options: CPU Period and CPU Quota cannot be updated as NanoCPUs \
                       has already been set";
        return conflict("CpuPeriod or CpuQuota", problem);
    }
    if let (Some(memory), None, Some(swap)) = (new.memory, new.memory_swap, old.memory_swap)
        && swap > 0
        && memory > swap
    {
        let problem = "Memory limit should be smaller than already set memoryswap limit, update \
                       the memoryswap at the same time";
        return conflict("Memory", problem);
    }
    let text = |new: String, old: &String| if new.is_empty() { old.clone() } else { new };
    let mut resources = Resources {
        memory: new.memory.or(old.memory),
        memory_swap: new.memory_swap.or(old.memory_swap),
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        nano_cpus: new.nano_cpus.or(old.nano_cpus),
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpuset_cpus: text(new.cpuset_cpus, &old.cpuset_cpus),
        cpuset_mems: text(new.cpuset_mems, &old.cpuset_mems),
        pids_limit: new.pids_limit.or(old.pids_limit),
        cpu_realtime: new.cpu_realtime.or(old.cpu_realtime),
        cpu_realtime_period: new.cpu_realtime_period.or(old.cpu_realtime_period),
        blkio: if new.blkio.weight.is_some() {
            Blkio { weight: new.blkio.weight, ..old.blkio.clone() }
        } else {
            old.blkio.clone()
        },
        ..old.clone()
    };
    resources.complete();
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let old = HostConfig {
            resources: Resources {
                pids_limit: Some(9),
                cpu_shares: Some(512),
                ..Default::default()
            },
            ..Default::default()
        };
        let resources =
            Resources { memory: Some(64 << 20), cpu_shares: Some(2), ..Default::default() };
        let new = Update { resources, ..Update::default() }.apply(&old).expect("valid").resources;
        let want = (Some(64 << 20), Some(128 << 20), Some(2), Some(9));
        assert_eq!((new.memory, new.memory_swap, new.cpu_shares, new.pids_limit), want);
    }

    #[test]
    fn memory_does_not_grow_beyond_memory_and_swap() {
        let limits = |memory, memory_swap| Resources { memory, memory_swap, ..Default::default() };
        let old =
            HostConfig { resources: limits(Some(64 << 20), Some(128 << 20)), ..Default::default() };
        let cases = [
            (limits(Some(96 << 20), None), true),
            (limits(Some(256 << 20), None), false),
            (limits(Some(256 << 20), Some(-1)), true),
        ];
        for (resources, valid) in cases {
            let update = Update { resources: resources.clone(), ..Update::default() };
            assert_eq!(update.apply(&old).is_ok(), valid, "{resources:?}");
        }
    }
}
