//! Limits over limits: what a container has after an update, and what an update needs besides what it
//! says.

use serde_json::{Map, Value};
use spec::oci::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

/// Controllers that limits are set of, by their names on cgroup v2; devices are none there.
pub(super) fn controllers(resources: &LinuxResources) -> Vec<&'static str> {
    let huge = resources.hugepage_limits().as_ref().is_some_and(|list| !list.is_empty());
    let rdma = resources.rdma().as_ref().is_some_and(|map| !map.is_empty());
    let cpu = resources.cpu().as_ref();
    let set = cpu.is_some_and(|cpu| cpu.cpus().is_some() || cpu.mems().is_some());
    let table = [
        ("cpu", cpu.is_some_and(|cpu| *cpu != sets_only(cpu))),
        ("cpuset", set),
        ("memory", resources.memory().as_ref().is_some_and(|m| *m != LinuxMemory::default())),
        ("io", resources.block_io().is_some()),
        ("pids", resources.pids().is_some()),
        ("hugetlb", huge),
        ("rdma", rdma),
    ];
    table.into_iter().filter(|(_, used)| *used).map(|(name, _)| name).collect()
}

fn sets_only(cpu: &LinuxCpu) -> LinuxCpu {
    let mut sets = LinuxCpu::default();
    sets.set_cpus(cpu.cpus().clone()).set_mems(cpu.mems().clone());
    sets
}

/// Whether limits need a cgroup that is a domain, not threaded.
pub(super) fn needs_domain(resources: &LinuxResources) -> bool {
    let domain = ["memory", "io", "hugetlb", "cpu"];
    controllers(resources).iter().any(|name| domain.contains(name))
}

/// What there is after `change` was made to `old`.
pub(super) fn merged(old: Option<&LinuxResources>, change: &LinuxResources) -> LinuxResources {
    let Some(old) = old else { return change.clone() };
    let value = |resources| serde_json::to_value(resources).unwrap_or_default();
    let mut all = value(old);
    over(&mut all, value(change));
    let mut all: LinuxResources = serde_json::from_value(all).unwrap_or_else(|_| change.clone());
    // Memory without a limit is swap without a limit, see `setting`.
    let unlimited = change.memory().filter(|m| m.limit() == Some(-1) && m.swap().is_none());
    if let (Some(_), Some(memory)) = (unlimited, all.memory_mut()) {
        memory.set_swap(None);
    }
    all
}

/// Puts `new` over `old`: objects field by field, lists of limits of devices and page sizes entry by
/// entry, everything else as a whole.
fn over(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                match old.get_mut(&name) {
                    Some(known) if name != "devices" => over(known, value),
                    _ => drop(old.insert(name, value)),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for value in new {
                match old.iter_mut().find(|known| is_same(known, &value)) {
                    Some(known) => over(known, value),
                    None => old.push(value),
                }
            }
        }
        (old, new) => *old = new,
    }
}

fn is_same(left: &Value, right: &Value) -> bool {
    let key = |map: &Map<String, Value>| {
        ["major", "minor", "pageSize", "name"].map(|name| map.get(name).cloned())
    };
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => key(left) == key(right),
        _ => left == right,
    }
}

/// The change with what its values depend on: memory with memory plus swap, quota with period.
pub(super) fn completed(change: &LinuxResources, all: &LinuxResources) -> LinuxResources {
    let mut completed = change.clone();
    if let (Some(memory), Some(known)) = (completed.memory_mut(), all.memory())
        && (memory.limit().is_some() || memory.swap().is_some())
    {
        memory.set_limit(known.limit()).set_swap(known.swap());
    }
    if let (Some(cpu), Some(known)) = (completed.cpu_mut(), all.cpu())
        && (cpu.quota().is_some() || cpu.period().is_some())
    {
        cpu.set_quota(known.quota()).set_period(known.period());
    }
    completed
}
