//! Seeding the kernel's random numbers.

use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags};

/// `_IOW('R', 0x03, int[2])`, random(4).
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
/// `_IO('R', 0x07)`, random(4).
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;
/// The most that is taken at a time.
const MAX_SEED: usize = 512;

/// The kernel's `struct rand_pool_info` with room for the seed.
#[repr(C)]
struct Pool {
    /// Bits of entropy that the seed is worth.
    entropy_count: libc::c_int,
    /// Its length in bytes.
    buf_size: libc::c_int,
    buf: [u8; MAX_SEED],
}

/// Mixes `seed` into the kernel's pool, credits all of it as entropy, and draws new keys from it, so
/// that two machines with the same memory give different numbers from here on.
///
/// # Errors
///
/// `InvalidInput` for more than 512 bytes; `EPERM` without `CAP_SYS_ADMIN`.
pub fn seed(seed: &[u8]) -> io::Result<()> {
    let length = libc::c_int::try_from(seed.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut pool = Pool { entropy_count: length * 8, buf_size: length, buf: [0; MAX_SEED] };
    pool.buf.get_mut(..seed.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(seed);
    let random = rustix::fs::open("/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: RNDADDENTROPY reads a header and `buf_size` bytes after it, which is not more than
    // `pool` holds.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, &raw const pool) })?;
    // SAFETY: RNDRESEEDCRNG has no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG) })
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
