//! Capabilities by name.

use rustix::thread::CapabilitySet;
use spec::oci::runtime::{Capabilities, Capability};

/// In order of number. See capabilities(7).
const ORDER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The kernel's set of these capabilities.
pub(crate) fn set_of(list: &Capabilities) -> CapabilitySet {
    let bit = |capability| ORDER.iter().position(|known| *known == capability);
    let bits = list.iter().filter_map(|capability| bit(*capability)).fold(0, |set, n| set | 1 << n);
    CapabilitySet::from_bits_retain(bits)
}

/// The set's names, separated by commas.
pub(crate) fn names(set: CapabilitySet) -> String {
    let held = ORDER.iter().enumerate().filter(|(number, _)| set.bits() & 1 << number != 0);
    held.map(|(_, name)| format!("CAP_{name}")).collect::<Vec<_>>().join(", ")
}

/// Every name.
pub(crate) fn all() -> impl Iterator<Item = String> {
    ORDER.iter().map(|name| format!("CAP_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (capability, bit) in [
            (Capability::Chown, CapabilitySet::CHOWN),
            (Capability::SysAdmin, CapabilitySet::SYS_ADMIN),
            (Capability::AuditRead, CapabilitySet::AUDIT_READ),
            (Capability::CheckpointRestore, CapabilitySet::CHECKPOINT_RESTORE),
        ] {
            assert_eq!(set_of(&[capability].into_iter().collect()), bit);
        }
        assert_eq!(names(CapabilitySet::KILL | CapabilitySet::BPF), "CAP_KILL, CAP_BPF");
    }
}
