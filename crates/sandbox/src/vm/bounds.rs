//! What a VM may take of the host, whatever its guest does: as much as its containers may together.
//!
//! Each container has its limits in the guest. The host holds the worker, and those who serve the guest's
//! files, to their sum; which processors they run on and how fast they read and write disks, only the host
//! can say, and says it of the whole VM. From then on they open no device of the
//! host but those that every container may.

use std::path::Path;
use std::slice;

use container::cgroup::{self, Group};
use spec::ContainerId;
use spec::oci::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use wire::Request;

use super::Error;
use super::running::{Running, lock};

/// The worker's memory beside the guest's in MiB: translated code, devices, files that it reads and writes.
const OWN_MIB: i64 = 512;
/// The worker's threads: processors, and those that read and write disks.
const THREADS: i64 = 256;
/// The time, in microseconds, that a quota of the whole VM is for.
const PERIOD: u64 = 100_000;
/// The shares of a container that asks for none, and the most that there are.
const SHARES: u64 = 1024;
const MAX_SHARES: u64 = 262_144;

/// The control groups for a VM with so much memory, at the `path` and with the `limits` of its first container.
fn make(
    path: Option<&Path>,
    first: &ContainerId,
    limits: &LinuxResources,
    memory_mib: u32,
) -> Result<Group, Error> {
    let asked = cgroup::changed(&together(slice::from_ref(limits)), &outside(limits));
    let all = cgroup::changed(&asked, &machine(memory_mib));
    let group = match Group::make(path, first.as_str(), all) {
        Err(error @ cgroup::Error::Absent { .. }) => {
            // Nobody has asked for these.
            let error = spec::chain(&error);
            tracing::warn!(container = %first, error, "the host does not bound the VM's memory and threads");
            Group::make(path, first.as_str(), asked)
        }
        made => made,
    };
    group.map_err(Error::Bounds)
}

impl Running {
    /// Makes the VM's control groups, at `path`, and puts it into them. `group` is its own, locked: whoever
    /// serves its guest waits for it.
    pub(super) fn hold(&self, group: &mut Option<Group>, path: Option<&Path>) -> Result<(), Error> {
        let limits = self.all_limits().pop().unwrap_or_default();
        let group = group.insert(make(path, &self.first, &limits, self.memory_mib)?);
        group.admit(self.machine.pid().raw()).map_err(Error::Bounds)
    }

    /// Has the host hold the VM to what its containers may have now, and to `more`.
    pub(super) fn bound(&self, more: &LinuxResources) -> Result<(), Error> {
        let Some(group) = &mut *lock(&self.group) else { return Ok(()) };
        let all = self.all_limits();
        group.limit(&cgroup::changed(&together(&all), more)).map_err(Error::Bounds)
    }

    /// Changes what a container may have, on both sides.
    pub(super) fn update(&self, id: &ContainerId, change: &LinuxResources) -> Result<(), Error> {
        let member = self.member(id)?;
        let more = outside(change);
        if *id != self.first {
            has_none(id, &more)?;
        }
        let old = lock(&member.limits).clone();
        *lock(&member.limits) = cgroup::changed(&old, change);
        let (container, resources) = (id.clone(), Box::new(inside(change.clone())));
        let changed =
            self.bound(&more).and_then(|()| self.order(&Request::Update { container, resources }));
        changed.inspect_err(|_| {
            // The first failure is what the caller learns.
            let _ = self.bound(&outside(&old));
            *lock(&member.limits) = old;
        })
    }
}

/// Refuses limits of the whole VM to a container that is not its first.
pub(super) fn has_none(id: &ContainerId, limits: &LinuxResources) -> Result<(), Error> {
    if outside(limits) != LinuxResources::default() {
        return Err(Error::WholeVm(id.clone()));
    }
    Ok(())
}

/// What the guest holds its container to.
pub(super) fn inside(mut limits: LinuxResources) -> LinuxResources {
    limits.set_block_io(None);
    if let Some(cpu) = limits.cpu_mut() {
        cpu.set_cpus(None).set_mems(None);
    }
    limits
}

/// What only the host can hold a VM to.
fn outside(limits: &LinuxResources) -> LinuxResources {
    let mut part = LinuxResources::default();
    part.set_block_io(limits.block_io().clone());
    let sets = limits.cpu().as_ref().map(|cpu| (cpu.cpus().clone(), cpu.mems().clone()));
    if let Some((cpus, mems)) = sets.filter(|(cpus, mems)| cpus.is_some() || mems.is_some()) {
        let mut cpu = LinuxCpu::default();
        cpu.set_cpus(cpus).set_mems(mems);
        part.set_cpu(Some(cpu));
    }
    part
}

/// What containers may have together: the sum of their quotas where each has one, and of their shares.
fn together(all: &[LinuxResources]) -> LinuxResources {
    let cpus = || all.iter().map(|limits| limits.cpu().as_ref());
    let mut sum = LinuxCpu::default();
    if cpus().flatten().any(|cpu| cpu.quota().is_some()) {
        let quotas = cpus().map(|cpu| quota(cpu?)).sum::<Option<i64>>();
        sum.set_quota(Some(quotas.unwrap_or(-1))).set_period(Some(PERIOD));
    }
    if cpus().flatten().any(|cpu| cpu.shares().is_some()) {
        let shares = |cpu: Option<&LinuxCpu>| cpu.and_then(LinuxCpu::shares).unwrap_or(SHARES);
        sum.set_shares(Some(cpus().map(shares).sum::<u64>().min(MAX_SHARES)));
    }
    let mut part = LinuxResources::default();
    if sum != LinuxCpu::default() {
        part.set_cpu(Some(sum));
    }
    part
}

/// Microseconds of each [`PERIOD`]; `None` without a limit.
fn quota(cpu: &LinuxCpu) -> Option<i64> {
    let quota = u64::try_from(cpu.quota()?).ok().filter(|quota| *quota > 0)?;
    let period = cpu.period().filter(|period| *period > 0).unwrap_or(PERIOD);
    i64::try_from(u128::from(quota) * u128::from(PERIOD) / u128::from(period)).ok()
}

/// What the machine needs, and no more.
fn machine(memory_mib: u32) -> LinuxResources {
    let (mut memory, mut threads) = (LinuxMemory::default(), LinuxPids::default());
    memory.set_limit(Some((i64::from(memory_mib) + OWN_MIB) << 20));
    threads.set_limit(THREADS);
    let mut part = LinuxResources::default();
    part.set_memory(Some(memory)).set_pids(Some(threads));
    part
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(text: Value) -> LinuxResources {
        serde_json::from_value(text).expect("limits")
    }

    fn sum(all: &[Value]) -> Value {
        let all: Vec<_> = all.iter().cloned().map(limits).collect();
        serde_json::to_value(together(&all)).expect("limits")["cpu"].clone()
    }

    #[test]
    fn containers_have_the_sum_of_their_quotas_if_each_has_one() {
        let (half, two) = (
            json!({ "cpu": { "quota": 25_000, "period": 50_000 } }),
            json!({ "cpu": { "quota": 200_000 } }),
        );
        assert_eq!(sum(&[half.clone(), two]), json!({ "quota": 250_000, "period": 100_000 }));
        assert_eq!(sum(&[half.clone(), json!({})]), json!({ "quota": -1, "period": 100_000 }));
        assert_eq!(
            sum(&[half, json!({ "cpu": { "quota": -1 } })]),
            json!({ "quota": -1, "period": 100_000 })
        );
        assert_eq!(sum(&[json!({}), json!({ "cpu": { "cpus": "1" } })]), Value::Null);
    }

    #[test]
    fn shares_are_a_containers_weight_among_all() {
        let pause = json!({ "cpu": { "shares": 2 } });
        assert_eq!(sum(&[pause.clone(), json!({})]), json!({ "shares": 1026 }));
        let most = json!({ "cpu": { "shares": MAX_SHARES } });
        assert_eq!(sum(&[most, pause]), json!({ "shares": MAX_SHARES }));
    }

    #[test]
    fn each_side_holds_what_it_can() {
        let asked = limits(json!({
            "cpu": { "quota": 5000, "cpus": "0", "mems": "0" },
            "memory": { "limit": 1 },
            "blockIO": { "weight": 10 },
        }));
        assert_eq!(
            inside(asked.clone()),
            limits(json!({ "cpu": { "quota": 5000 }, "memory": { "limit": 1 } }))
        );
        assert_eq!(
            outside(&asked),
            limits(json!({ "cpu": { "cpus": "0", "mems": "0" }, "blockIO": { "weight": 10 } }))
        );
        let id = "c1".parse().expect("an id");
        assert!(has_none(&id, &inside(asked.clone())).is_ok());
        assert!(matches!(has_none(&id, &asked), Err(Error::WholeVm(_))));
    }
}
