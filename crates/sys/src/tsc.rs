//! The processor's time stamp counter.

use std::io;
use std::time::{Duration, Instant};

/// The counter's rate in kHz, measured against the monotonic clock for `over`; the error is about a
/// microsecond in `over`.
///
/// # Errors
///
/// `Unsupported` on processors other than x86-64.
pub fn khz(over: Duration) -> io::Result<u64> {
    let (first, began) = (read()?, Instant::now());
    std::thread::sleep(over);
    let (last, took) = (read()?, began.elapsed());
    let ticks = u128::from(last.wrapping_sub(first));
    u64::try_from(ticks * 1_000_000 / took.as_nanos().max(1)).map_err(io::Error::other)
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::unnecessary_wraps, reason = "other processors have no such counter")]
fn read() -> io::Result<u64> {
    // SAFETY: RDTSC is part of every x86-64; Linux leaves it to user space unless prctl(PR_SET_TSC)
    // forbade it, in which case the process is killed, not corrupted.
    Ok(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn read() -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree_to_a_percent() {
        let Ok(first) = khz(Duration::from_millis(50)) else { return };
        let second = khz(Duration::from_millis(50)).unwrap();
        assert!(first.abs_diff(second) * 100 < first, "{first} kHz, then {second} kHz");
    }
}
