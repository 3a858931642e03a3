//! The bounding set: the capabilities that a thread, and what it executes, can ever gain.
//!
//! Spec: capabilities(7) "Capability bounding set".

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// Takes all but `keep` off the calling thread's.
///
/// # Errors
///
/// `EPERM` without `CAP_SETPCAP`. See prctl(2) `PR_CAPBSET_DROP`.
pub fn limit(keep: CapabilitySet) -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // Past the last that the kernel knows.
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    Ok(())
}
