//! Where the process's memory comes from, and the execution domain it is in.
//!
//! Spec: OCI runtime-spec, config-linux.md "Memory policy", "Personality"; set_mempolicy(2),
//! personality(2).

use spec::oci::runtime::{
    LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, MemoryPolicyFlagType,
    MemoryPolicyModeType,
};

use super::Error;
use crate::bitmap::Bitmap;
use crate::check;

/// Sets `linux.personality`.
pub(super) fn personality(personality: &LinuxPersonality) -> Result<(), Error> {
    let domain = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    sys::memory::set_personality(domain).map_err(Error::step("set linux.personality"))
}

/// Sets `linux.memoryPolicy`.
pub(super) fn policy(policy: &LinuxMemoryPolicy) -> Result<(), Error> {
    let nodes = nodes(policy)?;
    sys::memory::set_policy(mode(policy), nodes.words())
        .map_err(Error::step("set linux.memoryPolicy"))
}

/// The nodes that the policy names.
pub(crate) fn nodes(policy: &LinuxMemoryPolicy) -> Result<Bitmap, check::Error> {
    let text = policy.nodes().as_deref().unwrap_or_default();
    Bitmap::parse(text).map_err(|reason| check::Error::invalid("linux.memoryPolicy.nodes", reason))
}

/// The kernel's number, flags included. See `linux/mempolicy.h`.
fn mode(policy: &LinuxMemoryPolicy) -> i32 {
    let mode = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &MemoryPolicyFlagType| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    };
    policy.flags().iter().flatten().map(flag).fold(mode, |all, flag| all | flag)
}
