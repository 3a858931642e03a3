//! When and where the process runs: policy, processors, priority towards disks.
//!
//! Spec: OCI runtime-spec, config.md "Linux Process": `scheduler`, `ioPriority`, `execCPUAffinity`;
//! sched(7), ioprio_set(2).

use spec::oci::runtime::{IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process};
use spec::oci::runtime::{LinuxIOPriority, Scheduler};
use sys::schedule::Attributes;

use super::Error;
use crate::bitmap::Bitmap;
use crate::exec::affinity;

/// Sets the processors once the cgroups are joined: those of `process.execCPUAffinity.final` for an
/// exec. Where nothing is asked the caller's own confinement is lifted, so that the cpuset alone
/// decides; that this may fail is not worth more than a warning.
pub(super) fn confine(
    process: &Process,
    is_exec: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let (initial, last) = if is_exec { affinity(process)? } else { Default::default() };
    if !last.is_empty() {
        return sys::schedule::set_affinity(last.words())
            .map_err(Error::step("set process.execCPUAffinity.final"));
    }
    if initial.is_empty()
        && let Err(error) = sys::schedule::set_affinity(Bitmap::full().words())
    {
        warnings.push(format!("reset the processor affinity: {error}; the caller's stays"));
    }
    Ok(())
}

/// Sets `process.scheduler` and `process.ioPriority`, while this process may.
pub(super) fn apply(process: &Process) -> Result<(), Error> {
    if let Some(scheduler) = process.scheduler() {
        sys::schedule::set_attributes(&attributes(scheduler))
            .map_err(Error::step("set process.scheduler"))?;
    }
    if let Some(priority) = process.io_priority() {
        sys::schedule::set_group_io_priority(io_priority(priority))
            .map_err(Error::step("set process.ioPriority"))?;
    }
    Ok(())
}

/// In the kernel's numbers. See `linux/sched.h`.
fn attributes(scheduler: &Scheduler) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    attributes.flags =
        scheduler.flags().iter().flatten().fold(0, |all, flag| all | flag_bit(*flag));
    attributes.nice = scheduler.nice().unwrap_or(0);
    attributes.priority = scheduler.priority().unwrap_or(0).cast_unsigned();
    attributes.runtime = scheduler.runtime().unwrap_or(0);
    attributes.deadline = scheduler.deadline().unwrap_or(0);
    attributes.period = scheduler.period().unwrap_or(0);
    attributes
}

fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// The class and the level, which the checks hold to 0 to 7. See `linux/ioprio.h`.
fn io_priority(priority: &LinuxIOPriority) -> u16 {
    let class: u16 = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    class << 13 | u16::try_from(priority.priority() & 7).unwrap_or(0)
}
